"""Read ``index.parquet`` and ``metadata.parquet``: typed, whole and bounded."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.errors import UserError
from datagen.shards import tar
from datagen.shards.files import Folder
from datagen.shards.manifest import FileEntry, Manifest

TABLE_LIMIT = 2**32
"""Bytes of a table in memory. A column of one long text, repeated, is small as a file."""

_ROWS = 256
"""Rows that are decoded before the size is looked at again."""


def read_table(folder: Folder, manifest: Manifest, name: str, *schemas: pa.Schema) -> pa.Table:
    """Read a table of a set.

    Args:
        folder: the set.
        manifest: its manifest, of which ``name`` is one of ``tables``.
        name: file name of the table.
        schemas: columns that the table may have, today's and earlier ones; others are left out.

    Returns:
        A table of one of ``schemas`` without nulls: a row per sample, in the order of the shards,
        each with a key of its own.

    Raises:
        UserError: the table is missing, damaged, not the one that the manifest lists, or breaks
            one of these promises.
    """
    where = f"{folder.url}/{name}"
    entry = next((entry for entry in manifest.tables if entry.file == name), None)
    stale = UserError(f"{where}: not the table of this manifest; fetch or pack the set again")
    if entry is None:
        raise stale
    try:
        data = folder.read_whole(name, entry.bytes)
    except FileNotFoundError:
        raise UserError(f"{where}: missing; fetch or pack the set again") from None
    except OSError as error:
        raise UserError(
            f"{where}: {error.strerror or error}; fetch or pack the set again"
        ) from None
    if FileEntry(name, len(data), hashlib.sha256(data).hexdigest()) != entry:
        raise stale
    try:
        table = _decoded(data, manifest, schemas)
        fault = next(_faults(table, manifest), "")
    except (pa.ArrowException, OSError, _Unfit) as error:
        fault = " ".join(str(error).split())
    if fault:
        raise UserError(f"{where}: {fault}; fetch or pack the set again")
    return table


class _Unfit(Exception):
    """A table that is not decoded, and why."""


def _decoded(data: bytes, manifest: Manifest, schemas: Sequence[pa.Schema]) -> pa.Table:
    with pq.ParquetFile(io.BytesIO(data)) as file:  # pq.read_table would import pandas: 0.5 s
        misfits = [_misfit(file.schema_arrow, schema) for schema in schemas]
        if all(misfits):
            raise _Unfit(misfits[0])
        schema = schemas[misfits.index("")]
        samples = sum(entry.samples for entry in manifest.shards)
        if file.metadata.num_rows != samples:
            raise _Unfit(f"has {file.metadata.num_rows} rows, the manifest {samples} samples")
        batches, size = [], 0
        for batch in file.iter_batches(_ROWS, columns=schema.names):
            batches.append(batch.select(schema.names))
            size += batch.nbytes
            if size > TABLE_LIMIT:
                raise _Unfit(f"takes more than {TABLE_LIMIT} bytes of memory")
    for field in schema:
        if any(_has_null(batch[field.name]) for batch in batches):
            raise _Unfit(f"column {field.name} has a null")
    table = pa.Table.from_batches(
        [pa.RecordBatch.from_arrays(b.columns, schema=schema) for b in batches], schema
    )
    table.validate(full=True)  # text is UTF-8
    return table


def _misfit(found: pa.Schema, schema: pa.Schema) -> str:
    """Why a table with the columns ``found`` is none of ``schema``; empty if it is."""
    for field in schema:
        if (times := found.names.count(field.name)) != 1:
            return f"has {times} columns {field.name}, not one"
        if (kind := found.field(field.name).type) != field.type:
            return f"column {field.name} is {kind}, expected {field.type}"
    return ""


def _has_null(array: pa.Array) -> bool:
    """Whether a null is in an array, however deep."""
    if array.null_count:
        return True
    if pa.types.is_struct(array.type):
        return any(map(_has_null, array.flatten()))
    nested = pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type)
    return nested and _has_null(array.flatten())


def _faults(table: pa.Table, manifest: Manifest) -> Iterator[str]:
    keys, shards = table["key"].to_pylist(), table["shard"].to_pylist()
    yield from (f"{key!r} is not a key" for key in keys if not tar.is_key(key))
    yield from (f"lists {key} {times} times" for key, times in Counter(keys).items() if times > 1)
    expected = [entry.file for entry in manifest.shards for _ in range(entry.samples)]
    for key, shard, listed in zip(keys, shards, expected, strict=True):
        if shard != listed:
            yield f"{key} is in {shard}, by the number of samples of each shard in {listed}"
