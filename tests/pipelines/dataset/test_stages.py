"""The boundary around a stage's work."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagen.catalog.catalog import CatalogConfig
from datagen.compose.plan import PlanConfig, ScenePlan
from datagen.shards import codec
from datagen.shards.store import Store
from pipelines.dataset.config import DatasetConfig
from pipelines.dataset.stages import SceneRow, Stage, events_of, first_row
from tests import boxes
from tests.limits import largest_file

KEY = "000000"
CONFIG = DatasetConfig("boxes", CatalogConfig("procedural", assets=9), PlanConfig(1, 1, 0, 0))


class CommitStage(Stage):
    """Stores a scene of flat boxes, or fails first."""

    name = "commit"
    error: Exception | None = None

    def work(self, row: SceneRow) -> SceneRow:
        if self.error is not None:
            raise self.error
        self.store.commit(KEY, codec.encode(boxes.make_sample(KEY, 2, "train", seed=1)))
        return row | {"outcome": "done"}


@pytest.fixture
def row() -> SceneRow:
    return first_row(ScenePlan(0, KEY, "train", 1, ()), draw=0, attempt=0)


def test_a_full_disk_stops_the_job_and_names_the_file(row: SceneRow, tmp_path: Path) -> None:
    """It is no fault of the scene: the same would happen to all others, one attempt each."""
    stage = CommitStage(CONFIG, tmp_path / "cache", Store(str(tmp_path / "out")))
    with largest_file(1000):
        stopped = stage(row)
    assert stopped["outcome"] == "stop"
    assert f"{tmp_path}/out/scenes/{KEY}.tar: File too large; make room" in stopped["message"]
    assert events_of(stopped) == []
    assert stage(row)["outcome"] == "done"


def test_a_full_disk_stops_the_job_where_a_failure_cannot_be_recorded(
    row: SceneRow, tmp_path: Path
) -> None:
    stage = CommitStage(CONFIG, tmp_path / "cache", Store(str(tmp_path / "out")))
    stage.error = ValueError("a fault of this scene")
    with largest_file(10):
        stopped = stage(row)
    assert stopped["outcome"] == "stop"
    assert f"{tmp_path}/out/events/{KEY}.failed.0000.json: File too large" in stopped["message"]
    failed = stage(row)
    assert failed["outcome"] == "failed"
    assert [event.message for event in events_of(failed)] == ["a fault of this scene"]
