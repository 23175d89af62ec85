"""What tests of the model share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.model.sets import make_set


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models here are so small that threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed set of flat boxes, to be left as it is."""
    return make_set(tmp_path_factory.mktemp("set"))


@pytest.fixture
def shards(made: Path, tmp_path: Path) -> Path:
    """A set to break."""
    return Path(shutil.copytree(made, tmp_path / "shards"))
