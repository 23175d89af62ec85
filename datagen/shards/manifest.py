"""``manifest.json``: which files make up a packed set, and what they hold.

It is written last. A folder without it was never finished.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from datagen.errors import UserError
from datagen.scene import FORMAT_VERSION, Split
from datagen.shards.files import Folder

MANIFEST = "manifest.json"
BUCKETS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (7, 10))

_FILE = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*", re.ASCII)


def bucket_of(n_subjects: int) -> str:
    """The bucket of a scene with so many subjects: "01" to "04", "05-06", "07-10"."""
    low, high = next((low, high) for low, high in BUCKETS if low <= n_subjects <= high)
    return f"{low:02d}" if low == high else f"{low:02d}-{high:02d}"


@dataclass(frozen=True)
class FileEntry:
    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardEntry(FileEntry):
    """One tar, of one split and one bucket. ``subjects``: scenes by their number of subjects."""

    split: Split
    bucket: str
    samples: int
    subjects: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """``missing``: keys of the ``planned`` scenes that are not in the shards. ``tables``: the
    files beside the shards that must match them."""

    format_version: int = FORMAT_VERSION
    name: str
    config_digest: str
    planned: int
    missing: tuple[str, ...]
    samples: int
    splits: dict[Split, int]
    shards: tuple[ShardEntry, ...]
    tables: tuple[FileEntry, ...]


def write_manifest(folder: Folder, manifest: Manifest) -> None:
    text = msgspec.json.encode(manifest)
    folder.write(MANIFEST, msgspec.json.format(text, indent=1) + b"\n")


def read_manifest(folder: Folder) -> Manifest:
    """Raises UserError where the folder is none of shards, or none that this code reads."""
    where = f"{folder.url}/{MANIFEST}"
    try:
        text = folder.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder.url}: {_why_none(folder)}") from None
    try:
        version = msgspec.json.decode(text, type=_Version).format_version
        if version != FORMAT_VERSION:
            raise UserError(f"{where}: format version {version}, expected {FORMAT_VERSION}")
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise UserError(f"{where}: {error}; fetch or pack the set again") from None
    entries: tuple[FileEntry, ...] = (*manifest.shards, *manifest.tables)
    for entry in entries:
        if not _FILE.fullmatch(entry.file):
            raise UserError(f"{where}: {entry.file!r} is no plain file name")
    return manifest


def _why_none(folder: Folder) -> str:
    """Of a place without a manifest: what it is instead, and what to do."""
    if not folder.exists():
        return "there is no such folder; expected one of shards"
    if Folder(f"{folder.url.rstrip('/')}/shards").exists(MANIFEST):
        return f"not a folder of shards, but {folder.url.rstrip('/')}/shards is: give that"
    return (
        f"not a folder of shards: it has no {MANIFEST}; give the folder that the tars are in, "
        "and if they are there, finish packing it"
    )


@dataclass(frozen=True)
class _Version:
    format_version: int
