"""``manifest.json``: which files a packed set consists of, and what they hold.

It is written last: packing of a folder without a manifest was not finished.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from datagen.errors import UserError
from datagen.scene import FORMAT_VERSION, MAX_SUBJECTS, Split
from datagen.shards.files import Folder

MANIFEST = "manifest.json"
BUCKETS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (7, 10))

MANIFEST_LIMIT = 2**26  # bytes
MAX_SAMPLES = 10**8  # of a set

Bytes = Annotated[int, Meta(ge=0, le=2**50)]
Samples = Annotated[int, Meta(ge=0, le=MAX_SAMPLES)]
Subjects = Annotated[int, Meta(ge=1, le=MAX_SUBJECTS)]
Text = Annotated[str, Meta(max_length=256)]

_FILE = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*", re.ASCII)


def bucket_of(n_subjects: int) -> str:
    """The bucket of scenes with ``n_subjects`` subjects: "01" to "04", "05-06", "07-10"."""
    low, high = next((low, high) for low, high in BUCKETS if low <= n_subjects <= high)
    return f"{low:02d}" if low == high else f"{low:02d}-{high:02d}"


@dataclass(frozen=True)
class FileEntry:
    """A file of the set: name, size in bytes, checksum."""

    file: Text
    bytes: Bytes
    sha256: Text


@dataclass(frozen=True)
class ShardEntry(FileEntry):
    """One tar: scenes of one split and one bucket. ``subjects``: number of scenes by subject
    count."""

    split: Split
    bucket: Text
    samples: Samples
    subjects: dict[Subjects, Samples]


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
    name: Text
    config_digest: Text
    planned: Samples
    missing: tuple[Text, ...]
    samples: Samples
    splits: dict[Split, Samples]
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
        text = folder.read_whole(MANIFEST, MANIFEST_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder.url}: {_why_none(folder)}") from None
    except OSError as error:
        raise UserError(
            f"{where}: {error.strerror or error}; fetch or pack the set again"
        ) from None
    try:
        version = msgspec.json.decode(text, type=_Version).format_version
        if version != FORMAT_VERSION:
            raise UserError(f"{where}: format version {version}, expected {FORMAT_VERSION}")
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{where}: {error}; fetch or pack the set again") from None
    if fault := next(_file_faults(manifest), ""):
        raise UserError(f"{where}: {fault}; fetch or pack the set again")
    return manifest


def _file_faults(manifest: Manifest) -> Iterator[str]:
    files = [entry.file for entry in (*manifest.shards, *manifest.tables)]
    yield from (f"{file!r} is not a plain file name" for file in files if not _FILE.fullmatch(file))
    yield from (
        f"lists {file} {times} times" for file, times in Counter(files).items() if times > 1
    )


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
