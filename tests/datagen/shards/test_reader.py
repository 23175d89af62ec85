import pickle
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import webdataset
from PIL import Image

from datagen.errors import UserError
from datagen.scene import Sample
from datagen.shards import codec
from datagen.shards.codec import BadSample
from datagen.shards.manifest import Manifest
from datagen.shards.reader import open_shards
from datagen.shards.verify import verify

PackSamples = Callable[..., Manifest]


def same(one: Sample, other: Sample) -> bool:
    return (
        codec.encode_record(one.record) == codec.encode_record(other.record)
        and np.array_equal(one.depth, other.depth)
        and np.array_equal(one.instances, other.instances)
        and np.array_equal(one.identities[..., 3], other.identities[..., 3])
        and bool(np.abs(one.image.astype(int) - other.image).mean() < 3)
    )


def test_random_access_by_key(packed: Path, samples: list[Sample]) -> None:
    shards = pickle.loads(pickle.dumps(open_shards(str(packed))))
    assert len(shards) == len(samples)
    assert sorted(shards.keys()) == [sample.record.key for sample in samples]
    for sample in reversed(samples):
        assert same(shards.sample(sample.record.key), sample)
        assert shards.record(sample.record.key).subjects[0].caption == "a box"
    with pytest.raises(KeyError):
        shards.sample("000099")


def test_iteration_in_the_order_of_the_shards(packed: Path, samples: list[Sample]) -> None:
    shards = open_shards(str(packed))
    by_key = {sample.record.key: sample for sample in samples}
    found = list(shards)
    assert tuple(sample.record.key for sample in found) == shards.keys()
    assert all(same(sample, by_key[sample.record.key]) for sample in found)


def test_a_folder_without_a_valid_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a folder of shards.*no manifest\.json"):
        open_shards(str(tmp_path))
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        open_shards(str(tmp_path / "nowhere"))
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "manifest.json").touch()
    with pytest.raises(UserError, match="shards is: give that"):
        open_shards(str(tmp_path))
    (tmp_path / "manifest.json").write_text('{"format_version": 2}')
    with pytest.raises(UserError, match="format version 2, expected 1"):
        open_shards(str(tmp_path))
    (tmp_path / "manifest.json").write_text('{"format_version": 1, "name": 3}')
    with pytest.raises(UserError, match=r"manifest\.json: Expected `str`.*\$\.name"):
        open_shards(str(tmp_path))


def test_a_manifest_with_paths_out_of_its_folder_is_refused(packed: Path) -> None:
    manifest = packed / "manifest.json"
    manifest.write_text(manifest.read_text().replace("train-n03-00000.tar", "../../etc/passwd"))
    with pytest.raises(UserError, match="not a plain file name"):
        open_shards(str(packed))


def test_an_index_that_does_not_match_the_manifest_is_refused(packed: Path) -> None:
    index = packed / "index.parquet"
    data = bytearray(index.read_bytes())
    data[len(data) // 2] ^= 1
    index.write_bytes(data)
    with pytest.raises(UserError, match=r"index\.parquet: not the table of this manifest"):
        open_shards(str(packed))
    index.unlink()
    with pytest.raises(UserError, match=r"index\.parquet: missing"):
        open_shards(str(packed))


def test_a_truncated_shard_is_an_error(packed: Path) -> None:
    """Cut exactly at a sample boundary, where a plain tar reader sees nothing wrong."""
    shards = open_shards(str(packed))
    tar = packed / "train-n01-00000.tar"
    tar.write_bytes(tar.read_bytes()[: shards.rows["000002"].offset])
    for read in (lambda: shards.sample("000002"), lambda: list(shards)):
        with pytest.raises(BadSample, match=r"000002: train-n01-00000\.tar is truncated"):
            read()
    tar.unlink()
    for read in (lambda: shards.sample("000000"), lambda: list(shards)):
        with pytest.raises(UserError, match=r"train-n01-00000\.tar: missing"):
            read()


@pytest.mark.slow
def test_on_s3(bucket: str, samples: list[Sample], pack_samples: PackSamples, packed: Path) -> None:
    from datagen.shards.pack import PackConfig, pack
    from datagen.shards.store import Store

    store = Store(bucket)
    for sample in samples:
        store.commit(sample.record.key, codec.encode(sample))
    keys = [(s.record.key, s.record.split, s.record.n_subjects) for s in samples]
    url = f"{bucket}/shards"
    for _ in range(2):
        manifest = pack(store, keys, PackConfig(2), url, name="Boxes", config_digest="abc")
    shards = open_shards(url)
    assert manifest == shards.manifest == open_shards(str(packed)).manifest
    assert same(shards.sample("000004"), samples[4])
    assert len(list(shards)) == len(samples)
    assert verify(url) == ()


def test_webdataset_reads_the_shards(packed: Path, samples: list[Sample]) -> None:
    tars = sorted(str(path) for path in packed.glob("*.tar"))
    by_key = {sample.record.key: sample for sample in samples}
    found = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert sorted(sample["__key__"] for sample in found) == sorted(by_key)
    for sample in found:
        members = {name: sample[name] for name in codec.MEMBERS}
        assert same(codec.decode(members, sample["__key__"]), by_key[sample["__key__"]])


@pytest.mark.parametrize("way", ["webdataset", "folder"])
def test_hugging_face_datasets_reads_the_shards(
    packed: Path, samples: list[Sample], tmp_path: Path, way: str
) -> None:
    """By the builder's name, and by the folder alone, whose card says where things are."""
    cache = str(tmp_path / "cache")
    splits = ("train", "val", "test")
    if way == "webdataset":
        files = {split: str(packed / f"{split}-*.tar") for split in splits}
        loaded = datasets.load_dataset("webdataset", data_files=files, cache_dir=cache)
    else:
        loaded = datasets.load_dataset(str(packed), cache_dir=cache)
    by_key = {sample.record.key: sample for sample in samples}
    assert {split: len(loaded[split]) for split in splits} == {"train": 7, "val": 1, "test": 1}
    for split in splits:
        for row in loaded[split]:
            sample = by_key.pop(row["__key__"])
            assert np.array_equal(np.asarray(row["depth.png"]), sample.depth)
            assert np.array_equal(np.asarray(row["instances.png"]), sample.instances)
            sheet = np.asarray(row["identities.webp"].convert("RGBA"))
            assert np.array_equal(sheet[..., 3], sample.identities[..., 3])
            assert isinstance(row["image.jpg"], Image.Image)
            assert row["image.jpg"].size == (96, 64)
            assert len(row["json"]["subjects"]) == sample.record.n_subjects
            assert row["json"]["prompt"]["full"] == sample.record.prompt.full
            assert row["json"]["split"] == split
    assert not by_key


def test_hugging_face_cache_tells_sets_apart(
    samples: list[Sample], pack_samples: PackSamples, tmp_path: Path
) -> None:
    """Two sets in folders of one name, and one that is packed again, share a cache."""

    def keys(root: Path) -> tuple[list[str], str]:
        folder, cache = str(root / "shards"), str(tmp_path / "cache")
        loaded = datasets.load_dataset(folder, split="train", cache_dir=cache)
        return sorted(loaded["__key__"]), loaded.cache_files[0]["filename"]

    one, other = tmp_path / "one", tmp_path / "other"
    pack_samples(samples[:4], one)
    pack_samples(samples[2:6], other)
    expected = [sample.record.key for sample in samples]
    first, cached = keys(one)
    assert first == expected[:4]
    assert keys(other)[0] == expected[2:6]
    assert keys(one) == (first, cached)
    pack_samples(samples[:3], one)
    assert keys(one)[0] == expected[:3]
