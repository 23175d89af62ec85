"""``metadata.parquet``: what can be queried without opening the shards.

One row per scene, in the order of the shards, made from the JSON members alone. ``environment``
and ``provenance`` are JSON text, since their keys may differ between sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pyarrow as pa

from datagen.scene import SceneRecord, Subject
from datagen.shards.manifest import bucket_of

METADATA = "metadata.parquet"

_BOX = pa.list_(pa.int32(), 4)
_SUBJECT = pa.struct(
    {
        "index": pa.int32(),
        "identity": pa.string(),
        "category": pa.string(),
        "caption": pa.string(),
        "box2d": _BOX,
        "box2d_amodal": _BOX,
        "visibility": pa.float64(),
        "truncation": pa.float64(),
        "area": pa.float64(),
        "asset": pa.struct(
            {
                "id": pa.string(),
                "source": pa.string(),
                "author": pa.string(),
                "license": pa.string(),
                "size_guessed": pa.bool_(),
                "decimated_from": pa.int32(),
            }
        ),
    }
)
SCHEMA = pa.schema(
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
        "subjects": pa.list_(_SUBJECT),
        "environment": pa.string(),
        "provenance": pa.string(),
    }
)


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
    plain: dict[str, Any] = msgspec.to_builtins(subject)
    return {field.name: plain[field.name] for field in _SUBJECT}


def _text(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
