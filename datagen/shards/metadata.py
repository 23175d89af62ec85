"""``metadata.parquet``: what can be queried without opening the shards.

One row per scene, in the order of the shards, made from the JSON members alone. ``environment``
and ``provenance`` are JSON text, since their keys may differ between sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from datagen.bounds import MAX_SIDE
from datagen.errors import UserError
from datagen.scene import MAX_SUBJECTS, AssetCredit, SceneRecord, Subject
from datagen.shards.files import Folder
from datagen.shards.manifest import Manifest, bucket_of
from datagen.shards.tables import read_table

METADATA = "metadata.parquet"

_BOX = pa.list_(pa.int32(), 4)
_CREDIT = {"id": pa.string(), "source": pa.string(), "author": pa.string(), "license": pa.string()}
_LATER = {"size_guessed": pa.bool_(), "decimated_from": pa.int32(), "title": pa.string()}
"""Keys of an asset that the first sets do not have, in the order in which they came."""


def _schema(asset: dict[str, pa.DataType]) -> pa.Schema:
    subject = {
        "index": pa.int32(),
        "identity": pa.string(),
        "category": pa.string(),
        "caption": pa.string(),
        "box2d": _BOX,
        "box2d_amodal": _BOX,
        "visibility": pa.float64(),
        "truncation": pa.float64(),
        "area": pa.float64(),
        "asset": pa.struct(asset),
    }
    return pa.schema(
        {
            "key": pa.string(),
            "shard": pa.string(),
            "split": pa.string(),
            "bucket": pa.string(),
            "source": pa.string(),
            "width": pa.int32(),
            "height": pa.int32(),
            "n_subjects": pa.int32(),
            "prompt": pa.string(),
            "background": pa.string(),
            "subjects": pa.list_(pa.struct(subject)),
            "environment": pa.string(),
            "provenance": pa.string(),
        }
    )


SCHEMA = _schema(_CREDIT | _LATER)
_FORMER_SCHEMAS = [_schema(_CREDIT | dict(islice(_LATER.items(), n))) for n in range(len(_LATER))]


def read_metadata(folder: Folder, manifest: Manifest, keys: Sequence[str] | None) -> pa.Table:
    """The table of a set: a row per sample, with numbers within the bounds of the format. Whether
    they are those of the records, ``verify`` finds out.

    Args:
        folder: the set.
        manifest: its manifest.
        keys: of its samples, as the index has them; None where there is no sound index.

    Raises:
        UserError: the table is missing, damaged, or not that of manifest and index.
    """
    table = read_table(folder, manifest, METADATA, SCHEMA, *_FORMER_SCHEMAS)
    if table.schema != SCHEMA:
        table = _with_later_keys(table)
    fault = next(_faults(table, manifest, keys), "")
    if fault:
        raise UserError(f"{folder.url}/{METADATA}: {fault}; fetch or pack the set again")
    return table


def _with_later_keys(table: pa.Table) -> pa.Table:
    """A table of an earlier version with the defaults of ``AssetCredit`` for what it lacks."""
    rows = table.to_pylist()
    for subject in (subject for scene in rows for subject in scene["subjects"]):
        subject["asset"] = asdict(AssetCredit(**subject["asset"]))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _faults(table: pa.Table, manifest: Manifest, keys: Sequence[str] | None) -> Iterator[str]:
    if keys is not None and table["key"].to_pylist() != list(keys):
        yield "its keys are not those of the index"
    entries = {entry.file: entry for entry in manifest.shards}
    listed = pc.list_value_length(table["subjects"]).to_pylist()
    names = ("key", "shard", "split", "bucket", "n_subjects", "width", "height")
    columns = (table[name].to_pylist() for name in names)
    for n_listed, key, shard, *here, n, width, height in zip(listed, *columns, strict=True):
        entry = entries[shard]
        if here != [entry.split, entry.bucket]:
            yield f"{key} is of {here}, its shard is of {[entry.split, entry.bucket]}"
        if not 1 <= n <= MAX_SUBJECTS or n_listed != n:
            yield f"{key}: n_subjects is {n} of 1 to {MAX_SUBJECTS}, and {n_listed} are listed"
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            yield f"{key}: {width} x {height} pixels, expected 1 to {MAX_SIDE} a side"


def to_batch(shard: str, records: Iterable[SceneRecord]) -> pa.RecordBatch:
    """The rows of the scenes in one shard, as ``SCHEMA`` has them."""
    return pa.RecordBatch.from_pylist([row(shard, one) for one in records], schema=SCHEMA)


def row(shard: str, record: SceneRecord) -> dict[str, Any]:
    """The row of one scene, in the shard with this file name."""
    return {
        "key": record.key,
        "shard": shard,
        "split": record.split,
        "bucket": bucket_of(record.n_subjects),
        "source": record.source,
        "width": record.width,
        "height": record.height,
        "n_subjects": record.n_subjects,
        "prompt": record.prompt.full,
        "background": record.prompt.background,
        "subjects": [_subject(subject) for subject in record.subjects],
        "environment": _text(record.environment),
        "provenance": _text(record.provenance),
    }


def _subject(subject: Subject) -> dict[str, Any]:
    # asdict: msgspec leaves out what a record that it has decoded took from the defaults.
    plain: dict[str, Any] = msgspec.to_builtins(subject) | {"asset": asdict(subject.asset)}
    return {field.name: plain[field.name] for field in SCHEMA.field("subjects").type.value_type}


def _text(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
