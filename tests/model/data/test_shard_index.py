"""Bytes of samples: the right ones, or what is wrong with them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.errors import UserError
from datagen.shards import codec, tar
from datagen.shards.codec import BadSample
from datagen.shards.files import Folder
from datagen.shards.manifest import read_manifest
from datagen.shards.metadata import METADATA, SCHEMA, read_metadata
from datagen.shards.reader import open_shards
from model.data.shard_index import open_shard_index
from tests.model.sets import TRAIN, cut, overwrite, vouch


def test_verified_members_of_every_sample(made: Path) -> None:
    index = pickle.loads(pickle.dumps(open_shard_index(str(made))))
    samples = list(open_shards(str(made)))
    assert list(index.rows) == [sample.record.key for sample in samples]
    for sample in samples:
        members = index.verified_members(sample.record.key)
        assert members["json"] == codec.encode_record(sample.record)
        assert (codec.decode(members).depth == sample.depth).all()
        assert index.counts[sample.record.key] == sample.record.n_subjects
        assert index.sides[sample.record.key] == 64


def test_pools_are_a_splits_keys_by_subject_count_and_shard(made: Path) -> None:
    index = open_shard_index(str(made))
    pools = index.pools("train")
    assert {n: sum(map(len, shards)) for n, shards in pools.items()} == TRAIN
    assert pools[2] == [["000003", "000004"], ["000005", "000006"], ["000007", "000008"]]
    for n, shards in pools.items():
        for keys in shards:
            assert len({index.rows[key].shard for key in keys}) == 1
            assert all(index.counts[key] == n for key in keys)
    with pytest.raises(UserError, match="no scenes of split test, it has train, val"):
        index.pools("test")


def test_successors_have_the_same_split_and_subject_count(made: Path) -> None:
    index = open_shard_index(str(made))
    assert list(index.successors("000007")) == ["000008", *(f"00000{i}" for i in (3, 4, 5, 6))]


def test_the_fingerprint_depends_on_the_data_only(made: Path, shards: Path) -> None:
    fingerprint = open_shard_index(str(made)).fingerprint
    (shards / "README.md").write_text("edited")
    assert open_shard_index(str(shards)).fingerprint == fingerprint
    overwrite(shards, "000002", lambda data: data[:-1] + b"x")
    vouch(shards)
    assert open_shard_index(str(shards)).fingerprint != fingerprint


def test_a_shard_truncated_between_samples(shards: Path) -> None:
    index = open_shard_index(str(shards))
    cut(shards, "000004")
    assert index.verified_members("000003")
    with pytest.raises(BadSample, match=r"000004: train-n02-00000\.tar is truncated"):
        index.verified_members("000004")


def test_a_missing_member_is_named(shards: Path) -> None:
    index = open_shard_index(str(shards))
    members = index.verified_members("000003")
    fragment = b"".join(
        tar.member("000003", name.replace("depth.png", "depth.npy"), data)
        for name, data in members.items()
    )
    overwrite(shards, "000003", lambda _: fragment)
    with pytest.raises(BadSample, match=r"000003: train-n02-00000\.tar: has members .*depth\.npy"):
        index.verified_members("000003")


def test_a_flipped_bit_is_found_by_the_checksum(shards: Path) -> None:
    index = open_shard_index(str(shards))
    row = index.rows["000003"]
    start, size = row.spans[codec.MEMBERS.index("depth.png")]
    at = start - row.offset + size // 2
    overwrite(shards, "000003", lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(
        BadSample,
        match=r"000003: depth\.png: cannot be decoded: .*"
        r"its bytes in train-n02-00000\.tar are not those of the index",
    ):
        index.verified_members("000003")


def test_bytes_that_decode_but_are_not_those_of_the_index(shards: Path) -> None:
    """The padding behind the last member: no decoder reads it, the checksum covers it."""
    index = open_shard_index(str(shards))
    overwrite(shards, "000003", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(
        BadSample, match=r"000003: its bytes in train-n02-00000\.tar are not those of the index"
    ):
        index.verified_members("000003")


def test_a_missing_shard_is_a_user_error(shards: Path) -> None:
    index = open_shard_index(str(shards))
    (shards / "train-n02-00000.tar").unlink()
    with pytest.raises(UserError, match=r"train-n02-00000\.tar: missing, though the manifest"):
        index.verified_members("000003")


def test_a_file_that_cannot_be_read_is_tried_again(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datagen.shards.reader.WAITS", (0.0, 0.0))
    index = open_shard_index(str(shards))
    tar = shards / "train-n02-00000.tar"
    tar.unlink()
    tar.mkdir()
    with pytest.raises(UserError, match=r"train-n02-00000\.tar: cannot be read, tried 3 times"):
        index.verified_members("000003")


def test_tables_must_agree(shards: Path) -> None:
    table = pq.read_table(shards / METADATA)
    pq.write_table(table.slice(1), shards / METADATA)
    vouch(shards)
    with pytest.raises(UserError, match=r"metadata\.parquet: has 18 rows, the manifest 19 samples"):
        open_shard_index(str(shards))
    swapped = [0, 1, 2, 4, 3, *range(5, len(table))]  # two scenes of one shard
    pq.write_table(table.take(swapped), shards / METADATA)
    vouch(shards)
    with pytest.raises(UserError, match=r"metadata\.parquet: its keys are not those of the index"):
        open_shard_index(str(shards))


def test_a_folder_without_a_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder of shards"):
        open_shard_index(str(tmp_path))


@pytest.mark.parametrize("absent", [("title",), ("size_guessed", "decimated_from", "title")])
def test_the_metadata_of_earlier_versions_are_read(absent: tuple[str, ...], shards: Path) -> None:
    today = open_shard_index(str(shards))
    rows = pq.read_table(shards / METADATA).to_pylist()
    for subject in (subject for row in rows for subject in row["subjects"]):
        for name in absent:
            del subject["asset"][name]
    types = {field.name: field.type for field in SCHEMA}
    subject_type = types["subjects"].value_type
    asset = pa.struct([f for f in subject_type.field("asset").type if f.name not in absent])
    types["subjects"] = pa.list_(
        pa.struct([f if f.name != "asset" else pa.field("asset", asset) for f in subject_type])
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types)), shards / METADATA)
    vouch(shards)
    assert open_shard_index(str(shards)).counts == today.counts
    folder = Folder(str(shards))
    table = read_metadata(folder, read_manifest(folder), None)
    assert table.schema == SCHEMA
    assets = [subject["asset"] for row in table.to_pylist() for subject in row["subjects"]]
    assert all(found["title"] == "" for found in assets)
