"""Packed sets of flat boxes to train on, and how to break them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.scene import Sample
from datagen.shards import codec, index, tar
from datagen.shards.files import Folder
from datagen.shards.manifest import FileEntry, read_manifest, write_manifest
from datagen.shards.reader import open_shards
from tests import boxes

TRAIN = {1: 3, 2: 6, 3: 4, 6: 3}
"""Training scenes by their number of subjects."""


def make_set(root: Path, per_shard: int = 2) -> Path:
    """Keys count up: training scenes of 1, 2, 3 and 6 subjects, then val of 1, 2 and 2."""
    counts = [(n, "train") for n, number in TRAIN.items() for _ in range(number)]
    counts += [(1, "val"), (2, "val"), (2, "val")]
    samples = [
        with_marked_crops(boxes.make_sample(f"{i:06d}", n, split, seed=i))  # type: ignore[arg-type]
        for i, (n, split) in enumerate(counts)
    ]
    boxes.pack_samples(samples, root, per_shard)
    return root / "shards"


def with_marked_crops(sample: Sample) -> Sample:
    """Crops are blue, other views are red, of one shade a subject, with a green of the scene's."""
    sheet = np.zeros_like(sample.identities)
    sheet[..., 3] = 255
    for i in range(sample.record.n_subjects):
        rows = slice(i * boxes.CELL, (i + 1) * boxes.CELL)
        sheet[rows, : boxes.CELL, 2] = 255
        sheet[rows, boxes.CELL :, 0] = 250 - 20 * i
        sheet[rows, boxes.CELL :, 1] = 5 * int(sample.record.key)
    return replace(sample, identities=sheet)


def cut(shards: Path, key: str) -> None:
    """Cuts the shard just before the sample, where a tar reader sees nothing wrong."""
    row = row_of(shards, key)
    path = shards / row.shard
    path.write_bytes(path.read_bytes()[: row.offset])


def overwrite(shards: Path, key: str, change: Callable[[bytes], bytes]) -> None:
    """Changes a sample's bytes where they lie, behind the back of index and manifest."""
    row = row_of(shards, key)
    path = shards / row.shard
    data = path.read_bytes()
    fragment = change(data[row.offset : row.offset + row.length])
    assert len(fragment) == row.length
    path.write_bytes(data[: row.offset] + fragment + data[row.offset + row.length :])


def forge(shards: Path, key: str, member: str, data: bytes) -> None:
    """Replaces a member of a sample, with index and manifest that vouch for it."""
    folder = Folder(str(shards))
    manifest = read_manifest(folder)
    rows = index.read_index(folder, manifest)
    shard = row_of(shards, key).shard
    forged, fragments, offset = [], [], 0
    for row in rows:
        if row.shard != shard:
            forged.append(row)
            continue
        fragment = folder.read(shard, row.offset, row.offset + row.length)
        if row.key == key:
            members = codec.members(fragment) | {member: data}
            fragment = b"".join(tar.member(key, name, members[name]) for name in codec.MEMBERS)
        forged.append(index.locate(codec.member_list(fragment), shard, offset))
        fragments.append(fragment)
        offset += len(fragment)
    (shards / shard).write_bytes(b"".join(fragments) + tar.END)
    pq.write_table(pa.Table.from_batches([index.to_batch(forged)]), shards / index.INDEX)
    vouch(shards)


def vouch(shards: Path) -> None:
    """Makes the manifest tell of the files as they are."""
    folder = Folder(str(shards))
    manifest = read_manifest(folder)

    def as_it_is(entry: FileEntry) -> dict[str, object]:
        data = folder.read(entry.file)
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    entries = tuple(replace(e, **as_it_is(e)) for e in manifest.shards)  # type: ignore[arg-type]
    tables = tuple(replace(e, **as_it_is(e)) for e in manifest.tables)  # type: ignore[arg-type]
    write_manifest(folder, replace(manifest, shards=entries, tables=tables))


def row_of(shards: Path, key: str) -> index.IndexRow:
    folder = Folder(str(shards))
    return next(r for r in index.read_index(folder, read_manifest(folder)) if r.key == key)


def only_crops(shards: Path, key: str) -> None:
    """Leaves a sample the crops of its picture as its only identity views."""
    members = open_shards(str(shards)).members(key)
    sample = codec.decode(members, key)
    record = replace(
        sample.record,
        subjects=tuple(replace(s, views=s.views[:1]) for s in sample.record.subjects),
    )
    blue = np.ascontiguousarray(sample.identities[:, : sample.identities.shape[1] // 2])
    crops = codec.members(codec.encode(replace(sample, record=record, identities=blue)))
    for name in ("json", "identities.webp"):
        forge(shards, key, name, crops[name])
