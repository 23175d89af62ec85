"""Sets of flat boxes, for what packs, reads and checks them."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from datagen.scene import Sample, Split
from datagen.shards.manifest import Manifest
from tests import boxes

os.environ["HF_HUB_OFFLINE"] = "1"  # `datasets` reads it once, when it is imported

MakeSample = Callable[..., Sample]
PackSamples = Callable[[Sequence[Sample], Path], Manifest]


@pytest.fixture(scope="session")
def make_sample() -> MakeSample:
    return boxes.make_sample


@pytest.fixture(scope="session")
def pack_samples() -> PackSamples:
    """Commits samples below a root, and packs them to its ``shards``, two a shard."""
    return boxes.pack_samples


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Every bucket, every split: nine scenes, eight shards."""
    counts = [1, 2, 1, 3, 4, 1, 10, 6, 2]
    splits: list[Split] = ["train"] * 6 + ["val", "test", "train"]
    return [
        boxes.make_sample(f"{i:06d}", n, split, seed=i)
        for i, (n, split) in enumerate(zip(counts, splits, strict=True))
    ]


@pytest.fixture(scope="session")
def _packed(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packed")
    boxes.pack_samples(samples, root)
    return root / "shards"


@pytest.fixture
def packed(_packed: Path, tmp_path: Path) -> Path:
    """A folder of shards of ``samples``, to do with as one likes."""
    return Path(shutil.copytree(_packed, tmp_path / "shards"))


@pytest.fixture
def bucket() -> Iterator[str]:
    """URL of an empty bucket of a real HTTP server that speaks S3."""
    with boxes.s3_folder() as url:
        yield url


@pytest.fixture(scope="session")
def edit_subject() -> Callable[..., Sample]:
    return boxes.edit_subject
