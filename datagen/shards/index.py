"""``index.parquet``: where each sample lies, for random access.

One row per sample, in the order of the shards: ``key``; ``shard``, the tar's file name;
``offset`` and ``length`` of the sample in the tar, in bytes; ``sha256`` of those bytes; and for
the data of each member ``NAME_offset`` (from the start of the tar) and ``NAME_size``, where NAME
is json, image, depth, instances or identities.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from datagen.errors import UserError
from datagen.shards import codec, tar
from datagen.shards.files import Folder
from datagen.shards.manifest import Manifest
from datagen.shards.tables import read_table

INDEX = "index.parquet"

_SHA256 = re.compile(r"[0-9a-f]{64}")

_NAMES = tuple(extension.partition(".")[0] for extension in codec.MEMBERS)
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
    + [
        pa.field(f"{name}_{what}", pa.int64(), nullable=False)
        for name in _NAMES
        for what in ("offset", "size")
    ]
)


@dataclass(frozen=True)
class IndexRow:
    """Where one sample lies. Offsets and sizes are bytes, from the start of the shard.

    Attributes:
        key: the sample's key.
        shard: file name of its tar.
        offset: of its first tar header.
        length: of the sample with headers and padding.
        sha256: of those ``length`` bytes; "" in a set without an index.
        spans: (offset, size) of each member's data, in the order of ``codec.MEMBERS``.
    """

    key: str
    shard: str
    offset: int
    length: int
    sha256: str
    spans: tuple[tuple[int, int], ...]


def locate(members: Sequence[tar.Member], shard: str, base: int = 0) -> IndexRow:
    """The row of a sample.

    Args:
        members: its five members.
        shard: file name of the tar that holds them.
        base: position in the shard from which the members' offsets count.
    """
    digest = hashlib.sha256()
    for member in members:
        digest.update(member.raw)
    return IndexRow(
        key=members[0].key,
        shard=shard,
        offset=base + members[0].offset,
        length=sum(len(member.raw) for member in members),
        sha256=digest.hexdigest(),
        spans=tuple((base + member.offset + tar.BLOCK, member.size) for member in members),
    )


def to_batch(rows: Iterable[IndexRow]) -> pa.RecordBatch:
    """Rows as ``SCHEMA`` has them."""
    records = []
    for row in rows:
        record: dict[str, str | int] = {
            "key": row.key,
            "shard": row.shard,
            "offset": row.offset,
            "length": row.length,
            "sha256": row.sha256,
        }
        for name, (start, size) in zip(_NAMES, row.spans, strict=True):
            record |= {f"{name}_offset": start, f"{name}_size": size}
        records.append(record)
    return pa.RecordBatch.from_pylist(records, schema=SCHEMA)


def read_index(folder: Folder, manifest: Manifest) -> tuple[IndexRow, ...]:
    """All rows, in the order of the shards: each key once, every place inside its shard.

    Raises:
        UserError: the index is missing, damaged, or not the manifest's.
    """
    table = read_table(folder, manifest, INDEX, SCHEMA)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    spans = zip(
        *(zip(columns[f"{n}_offset"], columns[f"{n}_size"], strict=True) for n in _NAMES),
        strict=True,
    )
    plain = (columns[name] for name in ("key", "shard", "offset", "length", "sha256"))
    rows = tuple(IndexRow(*row) for row in zip(*plain, spans, strict=True))
    sizes = {entry.file: entry.bytes for entry in manifest.shards}
    for row in rows:
        if fault := _fault(row, sizes[row.shard]):
            raise UserError(
                f"{folder.url}/{INDEX}: {row.key}: {fault}; fetch or pack the set again"
            )
    return rows


def _fault(row: IndexRow, shard_size: int) -> str:
    end = row.offset + row.length
    if not 0 <= row.offset < end <= shard_size:
        return f"bytes {row.offset} to {end}, its shard has {shard_size}"
    place = row.offset
    for name, (start, size) in zip(_NAMES, row.spans, strict=True):
        limit = codec.JSON_LIMIT if name == "json" else tar.MEMBER_LIMIT
        if not (start == place + tar.BLOCK and 0 <= size <= limit):
            return f"its {name} is {size} bytes at {start}, the sample is at {row.offset} to {end}"
        place = start + size + -size % tar.BLOCK
    if place != end:
        return f"its members end at {place}, the sample at {end}"
    return "" if _SHA256.fullmatch(row.sha256) else f"sha256 is {row.sha256!r}"
