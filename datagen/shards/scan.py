"""Find a set of shards for looking at it, with or without an index.

Without manifest, index or metadata, the tars are scanned: headers and JSON members only. What is
damaged is reported, and the rest can be looked at. (Training needs the index: it proves every
sample by its checksum.)
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import pyarrow as pa

from datagen.errors import UserError
from datagen.scene import SPLITS, Split
from datagen.shards import codec, metadata, tar
from datagen.shards.files import Folder, absolute
from datagen.shards.index import INDEX, IndexRow
from datagen.shards.manifest import MANIFEST, Manifest, ShardEntry, read_manifest
from datagen.shards.reader import ShardSet, open_shards


@dataclass(frozen=True, eq=False)
class Found:
    """A set that was found.

    Attributes:
        shards: the set.
        table: as ``metadata.parquet``; a sample whose JSON is damaged has no subjects there.
        problems: what is missing or could not be scanned, one line each.
    """

    shards: ShardSet
    table: pa.Table
    problems: tuple[str, ...] = ()


def find(path: str) -> Found:
    """Find the set at ``path``: a folder, an fsspec URL, or one tar.

    Raises:
        UserError: there is no sample, or the set's tables are damaged.
    """
    if path.endswith(".tar"):
        parent, name = posixpath.split(path)
        return _scan(Folder(parent or "."), [name], name.removesuffix(".tar"))
    folder = Folder(path)
    names = folder.names()
    tars = [name for name in names if name.endswith(".tar")]
    if tars and not {MANIFEST, INDEX, metadata.METADATA} <= set(names):
        found = _scan(folder, tars, posixpath.basename(absolute(path)))
        return replace(found, problems=(*found.problems, *_not_copied(folder, names)))
    shards = open_shards(path)
    return Found(shards, metadata.read_metadata(folder, shards.manifest, shards.keys()))


def _not_copied(folder: Folder, names: Sequence[str]) -> Iterator[str]:
    """Shards that the manifest lists and the folder does not have, if there is a manifest: a copy
    that was not finished."""
    if MANIFEST not in names:
        return
    try:
        manifest = read_manifest(folder)
    except UserError as error:
        yield str(error)
        return
    for entry in manifest.shards:
        if entry.file not in names:
            yield f"{entry.file}: missing, though the manifest lists it; {entry.samples} scenes"


def _scan(folder: Folder, names: Sequence[str], set_name: str) -> Found:
    rows: dict[str, IndexRow] = {}
    scenes: list[dict[str, Any]] = []
    problems, entries = [], []
    for name in names:
        counted: Counter[int] = Counter()
        try:
            with folder.open(name) as stream:
                for row, data in _samples(name, stream):
                    if row.key in rows:
                        problems.append(f"{name}: {row.key} is in {rows[row.key].shard} already")
                        continue
                    rows[row.key] = row
                    scenes.append(_metadata_row(row, data))
                    counted[scenes[-1]["n_subjects"]] += 1
        except tar.BadTar as damage:
            problems.append(f"{name}: {damage}; samples behind it cannot be found")
        except OSError as error:
            problems.append(f"{name}: {error.strerror or error}")
        split: Split = next((split for split in SPLITS if name.startswith(split)), "train")
        entry = ShardEntry(name, 0, "", split, "", counted.total(), dict(counted))
        entries.append(entry)
    if not rows:
        why = "; ".join(problems) or "they are empty"
        raise UserError(f"{folder.url}: no sample in {', '.join(names)}: {why}")
    manifest = Manifest(
        name=set_name,
        config_digest="",
        planned=len(rows),
        missing=(),
        samples=len(rows),
        splits={},
        shards=tuple(entries),
        tables=(),
    )
    table = pa.Table.from_pylist(scenes, schema=metadata.SCHEMA)
    return Found(ShardSet(folder, manifest, rows), table, tuple(problems))


def _samples(name: str, stream: BinaryIO) -> Iterator[tuple[IndexRow, bytes]]:
    """The row of each sample in a tar, and its JSON. Raises BadTar, after the samples before the
    damage were yielded."""
    members: list[tar.Member] = []
    data = b""
    try:
        for member in tar.walk_headers(stream):
            if members and member.key != members[0].key:
                yield _row(name, members), data
                members, data = [], b""
            if member.extension == codec.MEMBERS[0] and member.size <= codec.JSON_LIMIT:
                data = stream.read(member.size)
            members.append(member)
    except tar.BadTar:
        if members:
            yield _row(name, members), data
        raise
    if members:
        yield _row(name, members), data


def _row(shard: str, members: Sequence[tar.Member]) -> IndexRow:
    """Where a sample with these members lies; a member that is missing has no bytes."""
    first, last = members[0], members[-1]
    spans = {one.extension: (one.offset + tar.BLOCK, one.size) for one in members}
    return IndexRow(
        key=first.key,
        shard=shard,
        offset=first.offset,
        length=last.offset + tar.BLOCK + last.size + -last.size % tar.BLOCK - first.offset,
        sha256="",
        spans=tuple(spans.get(extension, (first.offset, 0)) for extension in codec.MEMBERS),
    )


def _metadata_row(row: IndexRow, data: bytes) -> dict[str, Any]:
    """The metadata of one sample; zeros and empty texts where its JSON is damaged."""
    try:
        return metadata.row(row.shard, codec.decode_record(data, row.key))
    except codec.BadSample:
        nothing: dict[str, Any] = {
            field.name: 0 if pa.types.is_integer(field.type) else "" for field in metadata.SCHEMA
        }
        unknown = dict.fromkeys(("split", "source"), "unknown")
        return nothing | unknown | {"key": row.key, "shard": row.shard, "subjects": []}
