"""Pack committed scenes to shards.

The result depends on the committed scenes and the order of the plan alone: however an earlier
attempt ended, a new one writes the same bytes. The stored members are concatenated as they are; of
their content only the JSON is read. One scene is in memory at a time, and the table rows of one
shard.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Meta

from datagen.errors import UserError
from datagen.scene import SPLITS, SceneRecord, Split
from datagen.shards import card, codec, croissant, index, metadata, tar
from datagen.shards.files import Folder
from datagen.shards.manifest import (
    MANIFEST,
    FileEntry,
    Manifest,
    ShardEntry,
    bucket_of,
    write_manifest,
)
from datagen.shards.store import Store

PlanKey = tuple[str, Split, int]
"""A planned scene: key, split, number of subjects."""


@dataclass(frozen=True)
class PackConfig:
    """How scenes are packed."""

    samples_per_shard: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    """Largest number of scenes in a tar."""


@dataclass(frozen=True)
class _Shard:
    file: str
    split: Split
    bucket: str
    scenes: tuple[PlanKey, ...]


def pack(
    store: Store,
    plan_keys: Sequence[PlanKey],
    config: PackConfig,
    out: str,
    *,
    name: str,
    config_digest: str,
    failures: Mapping[str, int] | None = None,
    exclude: Collection[str] = (),
) -> Manifest:
    """Write the folder ``out``: shards, tables, card, and the manifest last. Tars of an earlier
    packing that are not part of this one are removed.

    Args:
        store: holds the committed scenes.
        plan_keys: the planned scenes. Those that are not committed are left out, and named in the
            manifest.
        config: how scenes are packed.
        out: a path or an fsspec URL.
        name: of the set.
        config_digest: fingerprint of the configuration that the scenes were made by.
        failures: number of refused and failed scenes by reason, for the card.
        exclude: keys of committed scenes that are left out all the same.

    Returns:
        The manifest, as written.

    Raises:
        UserError: nothing is committed, or a committed scene is damaged.
        BadSample: a scene differs from its plan in split or number of subjects.
    """
    if config.samples_per_shard < 1:
        raise UserError(f"pack.samples_per_shard is {config.samples_per_shard}, expected 1 or more")
    if len({key for key, _, _ in plan_keys}) != len(plan_keys):
        raise ValueError("the plan holds a key twice")
    committed = store.committed().difference(exclude)
    shards = _partition([scene for scene in plan_keys if scene[0] in committed], config)
    if not shards:
        why = "all finished scenes are excluded" if exclude else "no finished scene to pack"
        raise UserError(f"{store.root}: {why}; expected at least one")
    folder = Folder(out)
    folder.remove(MANIFEST)
    folder.sweep()
    for stale in _tars(folder) - {shard.file for shard in shards}:
        folder.remove(stale)

    entries, keys = [], list[str]()
    with (
        _table(folder, index.INDEX, index.SCHEMA) as index_table,
        _table(folder, metadata.METADATA, metadata.SCHEMA) as metadata_table,
    ):
        for shard in shards:
            entry, rows, records = _write_shard(folder, store, shard)
            entries.append(entry)
            keys += [row.key for row in rows]
            index_table.write_batch(index.to_batch(rows))
            metadata_table.write_batch(metadata.to_batch(shard.file, records))

    counts = {split: sum(e.samples for e in entries if e.split == split) for split in SPLITS}
    manifest = Manifest(
        name=name,
        config_digest=config_digest,
        planned=len(plan_keys),
        missing=tuple(key for key, _, _ in plan_keys if key not in committed),
        samples=sum(counts.values()),
        splits={split: count for split, count in counts.items() if count},
        shards=tuple(entries),
        tables=tuple(_entry(folder, table) for table in (index.INDEX, metadata.METADATA)),
    )
    scenes = metadata.read_metadata(folder, manifest, keys)
    card.write_card(folder, manifest, scenes, failures or {})
    croissant.write_croissant(folder, manifest)
    write_manifest(folder, manifest)
    return manifest


def _partition(scenes: Sequence[PlanKey], config: PackConfig) -> list[_Shard]:
    """Shards of one split and one bucket each, scenes in plan order."""
    groups: dict[tuple[int, str], list[PlanKey]] = {}
    for scene in scenes:
        groups.setdefault((SPLITS.index(scene[1]), bucket_of(scene[2])), []).append(scene)
    size = config.samples_per_shard
    return [
        _Shard(
            file=f"{SPLITS[split]}-n{bucket}-{start // size:05d}.tar",
            split=SPLITS[split],
            bucket=bucket,
            scenes=tuple(group[start : start + size]),
        )
        for (split, bucket), group in sorted(groups.items())
        for start in range(0, len(group), size)
    ]


def _write_shard(
    folder: Folder, store: Store, shard: _Shard
) -> tuple[ShardEntry, list[index.IndexRow], list[SceneRecord]]:
    digest, offset = hashlib.sha256(), 0
    rows, records = [], []
    with folder.create(shard.file) as stream:
        for key, split, n_subjects in shard.scenes:
            fragment = store.read(key)
            try:
                members = codec.member_list(fragment)
                record = codec.decode_record(members[0].data, key)
            except codec.BadSample as error:
                raise UserError(
                    f"{store.root}/scenes/{key}.tar: damaged ({error}); delete it and run "
                    "`sigma dataset` again, which renders it again"
                ) from None
            if (record.split, record.n_subjects) != (split, n_subjects):
                raise codec.BadSample(
                    key,
                    "json",
                    f"is {record.split} with {record.n_subjects} subjects, "
                    f"planned was {split} with {n_subjects}",
                )
            rows.append(index.locate(members, shard.file, offset))
            records.append(record)
            stream.write(fragment)
            digest.update(fragment)
            offset += len(fragment)
        stream.write(tar.END)
        digest.update(tar.END)
    entry = ShardEntry(
        file=shard.file,
        bytes=offset + len(tar.END),
        sha256=digest.hexdigest(),
        split=shard.split,
        bucket=shard.bucket,
        samples=len(rows),
        subjects=dict(sorted(Counter(record.n_subjects for record in records).items())),
    )
    return entry, rows, records


def _tars(folder: Folder) -> set[str]:
    return {name for name in folder.names() if name.endswith(".tar")}


def _entry(folder: Folder, name: str) -> FileEntry:
    data = folder.read(name)
    return FileEntry(name, len(data), hashlib.sha256(data).hexdigest())


@contextmanager
def _table(folder: Folder, name: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    stream: BinaryIO
    with (
        folder.create(name) as stream,
        pq.ParquetWriter(stream, schema, compression="zstd") as writer,
    ):
        yield writer
