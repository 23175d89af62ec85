"""``index.parquet``: where each sample lies, for random access.

One row per sample, in the order of the shards: ``key``; ``shard``, the tar's file name;
``offset`` and ``length`` of the sample in the tar, in bytes; ``sha256`` of those bytes; and for
the data of each member ``NAME_offset`` (from the start of the tar) and ``NAME_size``, where NAME
is json, image, depth, instances or identities.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.errors import UserError
from datagen.shards import codec, tar
from datagen.shards.files import Folder
from datagen.shards.manifest import FileEntry, Manifest

INDEX = "index.parquet"

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
    """All rows, in the order of the shards.

    Raises:
        UserError: the index is missing, damaged, or not the manifest's.
    """
    table = read_table(folder, manifest, INDEX)
    if not table.schema.equals(SCHEMA):
        raise UserError(f"{folder.url}/{INDEX}: unexpected columns {table.schema.names}")
    columns = {name: table[name].to_pylist() for name in table.column_names}
    spans = zip(
        *(zip(columns[f"{n}_offset"], columns[f"{n}_size"], strict=True) for n in _NAMES),
        strict=True,
    )
    plain = (columns[name] for name in ("key", "shard", "offset", "length", "sha256"))
    rows = tuple(IndexRow(*row) for row in zip(*plain, spans, strict=True))
    stray = {row.shard for row in rows} - {entry.file for entry in manifest.shards}
    if stray:
        raise UserError(f"{folder.url}/{INDEX}: names {min(stray)}, which the manifest does not")
    return rows


def read_table(folder: Folder, manifest: Manifest, name: str) -> pa.Table:
    """Read a parquet table of a set: ``name`` is one of ``manifest.tables``.

    Raises:
        UserError: the table is missing, damaged, or not the one that the manifest lists.
    """
    where = f"{folder.url}/{name}"
    try:
        data = folder.read(name)
    except FileNotFoundError:
        raise UserError(f"{where}: missing; fetch or pack the set again") from None
    entry = FileEntry(name, len(data), hashlib.sha256(data).hexdigest())
    if entry not in manifest.tables:
        raise UserError(f"{where}: not the table of this manifest; fetch or pack the set again")
    try:
        return pq.ParquetFile(io.BytesIO(data)).read()  # read_table would import pandas: 0.5 s
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{where}: {error}") from None
