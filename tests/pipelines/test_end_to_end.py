"""Both kinds of assets, from nothing to shards that other people's loaders read."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import webdataset
import yaml
from PIL import Image

from datagen.shards import codec
from datagen.shards.reader import open_shards
from datagen.shards.verify import verify

FURNITURE = "/usr/share/sweethome3d/furniture"
SMALL = {
    "name": "furnished",
    "catalog": {"provider": "sweethome3d", "path": FURNITURE, "assets": 120},
    "plan": {"seed": 3, "train": 3, "val": 1, "test": 1, "min_subjects": 1, "max_subjects": 4},
    "layout": {"width": 96, "height": 96},
    "render": {"samples": 4, "view_samples": 2, "identity_size": 48},
}


@pytest.fixture(scope="module")
def furnished(tmp_path_factory, job_of, asset_cache):
    """A small job on Debian's sweethome3d-furniture, which .ci/run and `make assets` install."""
    folder = tmp_path_factory.mktemp("furnished")
    preset = folder / "small.yaml"
    preset.write_text(yaml.safe_dump(SMALL))
    job = job_of(preset, asset_cache, folder / "out")
    code, text = job.run()
    assert code == 0, text
    return job


@pytest.fixture(params=["finished", "furnished"])
def job(request):
    return request.getfixturevalue(request.param)


def test_everything_planned_is_there_and_sound(job):
    shards = open_shards(str(job.out / "shards"))
    assert shards.manifest.missing == ()
    assert verify(str(job.out / "shards")) == ()
    for sample in shards:
        assert sample.image.std() > 5
        assert set(np.unique(sample.instances)) >= set(range(1, sample.record.n_subjects + 1))
        assert sample.record.prompt.full
        assert all(subject.asset.license for subject in sample.record.subjects)


def test_splits_share_no_asset_and_no_identity(job):
    seen: dict[str, str] = {}
    for sample in open_shards(str(job.out / "shards")):
        for subject in sample.record.subjects:
            assert seen.setdefault(subject.asset.id, sample.record.split) == sample.record.split
    identities = [
        s.identity for x in open_shards(str(job.out / "shards")) for s in x.record.subjects
    ]
    assert len(identities) == len(set(identities))


def test_stock_webdataset_reads_all_members_of_all_samples(job):
    ours = {sample.record.key: sample for sample in open_shards(str(job.out / "shards"))}
    tars = sorted(str(path) for path in (job.out / "shards").glob("*.tar"))
    for row in webdataset.WebDataset(tars, shardshuffle=False):
        sample = ours.pop(row["__key__"])
        theirs = codec.decode({name: row[name] for name in codec.MEMBERS}, row["__key__"])
        assert np.array_equal(theirs.depth, sample.depth)
        assert np.array_equal(theirs.instances, sample.instances)
    assert not ours


def test_stock_datasets_reads_all_members_of_all_samples(job, tmp_path):
    ours = {sample.record.key: sample for sample in open_shards(str(job.out / "shards"))}
    splits = {
        split: str(job.out / "shards" / f"{split}-*.tar") for split in ("train", "val", "test")
    }
    loaded = datasets.load_dataset("webdataset", data_files=splits, cache_dir=str(tmp_path))
    for split in splits:
        for row in loaded[split]:
            sample = ours.pop(row["__key__"])
            assert np.array_equal(np.asarray(row["depth.png"]), sample.depth)
            assert np.array_equal(np.asarray(row["instances.png"]), sample.instances)
            sheet = np.asarray(row["identities.webp"].convert("RGBA"))
            assert np.array_equal(sheet[..., 3], sample.identities[..., 3])
            assert isinstance(row["image.jpg"], Image.Image)
            assert row["json"]["prompt"]["full"] == sample.record.prompt.full
    assert not ours
