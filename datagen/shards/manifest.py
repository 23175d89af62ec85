"""``manifest.json``: which files a packed set consists of, and what they hold.

It is written last: packing of a folder without a manifest was not finished.
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
    """The bucket of scenes with ``n_subjects`` subjects: "01" to "04", "05-06", "07-10"."""
    low, high = next((low, high) for low, high in BUCKETS if low <= n_subjects <= high)
    return f"{low:02d}" if low == high else f"{low:02d}-{high:02d}"


@dataclass(frozen=True)
class FileEntry:
    """A file of the set: name, size in bytes, checksum."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardEntry(FileEntry):
    """One tar: scenes of one split and one bucket. ``subjects``: number of scenes by subject
    count."""

    split: Split
    bucket: str
    samples: int
    subjects: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What ``manifest.json`` holds, key for key.

    Attributes:
        format_version: of the shard format.
        name: of the set.
        config_digest: fingerprint of the configuration that the scenes were made by.
        planned: number of scenes of the plan.
        missing: keys of the planned scenes that are not in the shards.
        samples: number of samples in the shards.
        splits: number of samples by split.
        shards: the tars, in the order of their samples.
        tables: the files beside the shards that must match them: index and metadata.
    """

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
    """Write ``manifest.json`` into ``folder``."""
    text = msgspec.json.encode(manifest)
    folder.write(MANIFEST, msgspec.json.format(text, indent=1) + b"\n")


def read_manifest(folder: Folder) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        UserError: ``folder`` is not a folder of shards, or its manifest is damaged or of another
            format version.
    """
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
            raise UserError(f"{where}: {entry.file!r} is not a plain file name")
    return manifest


def _why_none(folder: Folder) -> str:
    """Why a folder has no manifest, and what to do."""
    if not folder.exists():
        return "there is no such folder; expected a folder of shards"
    if Folder(f"{folder.url.rstrip('/')}/shards").exists(MANIFEST):
        return f"not a folder of shards, but {folder.url.rstrip('/')}/shards is: give that one"
    return (
        f"not a folder of shards: it has no {MANIFEST}; give the folder that holds the tars, "
        "or, if this is it, finish packing it"
    )


@dataclass(frozen=True)
class _Version:
    format_version: int
