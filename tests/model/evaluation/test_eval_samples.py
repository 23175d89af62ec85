"""Held-out scenes as a report takes them from a set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datagen.errors import UserError
from model.controls.control_sampling import EXACT
from model.controls.regions import Format
from model.data.shard_index import open_shard_index
from model.evaluation.evaluate import cases
from tests.model.sets import forge, only_crops, overwrite

FORMAT = Format(size=24, identity_size=8)
KEYS = tuple(f"{i:06d}" for i in range(16))


def test_damaged_scenes_are_left_out_and_named(shards: Path) -> None:
    overwrite(shards, "000004", lambda data: data[:-9] + b"\xff" * 9)
    forge(shards, "000010", "image.jpg", b"")
    sound, damaged = cases(open_shard_index(str(shards)), KEYS, FORMAT)
    assert {case.key for case in sound} == set(KEYS) - {"000004", "000010"}
    assert {error.key for error in damaged} == {"000004", "000010"}


def test_of_mixed_controls_each_subject_has_its_own(made: Path) -> None:
    """What else is drawn stays."""
    source = open_shard_index(str(made))
    alike, _ = cases(source, KEYS, FORMAT)
    mixed, _ = cases(source, KEYS, FORMAT, draws=replace(EXACT, mixed_share=1.0))
    assert all(len(set(case.granularities)) == 1 for case in alike)
    assert any(len(set(case.granularities)) > 2 for case in mixed)
    for one, other in zip(alike, mixed, strict=True):
        assert len(other.granularities) == other.n_subjects
        assert one.granularities[0] == other.granularities[0]
        assert np.array_equal(one.sheet, other.sheet)


def test_crops_of_the_image_are_no_references(shards: Path) -> None:
    only_crops(shards, "000003")
    source = open_shard_index(str(shards))
    with pytest.raises(UserError, match="its only identity view is the crop"):
        cases(source, ["000003"], FORMAT)
