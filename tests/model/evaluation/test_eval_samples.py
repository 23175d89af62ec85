"""Held-out scenes read for evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datagen.errors import UserError
from model.controls.control_image import InputSpec
from model.controls.control_sampling import EXACT
from model.data.shard_index import open_shard_index
from model.evaluation.eval_samples import load_eval_samples
from tests.model.sets import forge, only_crops, overwrite

FORMAT = InputSpec(size=24, identity_size=8)
KEYS = tuple(f"{i:06d}" for i in range(16))


def test_load_eval_samples_leaves_out_damaged_scenes_and_returns_their_errors(shards: Path) -> None:
    overwrite(shards, "000004", lambda data: data[:-9] + b"\xff" * 9)
    forge(shards, "000010", "image.jpg", b"")
    sound, damaged = load_eval_samples(open_shard_index(str(shards)), KEYS, FORMAT)
    assert {sample.key for sample in sound} == set(KEYS) - {"000004", "000010"}
    assert {error.key for error in damaged} == {"000004", "000010"}


def test_load_eval_samples_with_mixed_granularities(made: Path) -> None:
    """All other random choices stay the same."""
    source = open_shard_index(str(made))
    alike, _ = load_eval_samples(source, KEYS, FORMAT)
    mixed, _ = load_eval_samples(source, KEYS, FORMAT, draws=replace(EXACT, mixed_share=1.0))
    assert all(len(set(sample.granularities)) == 1 for sample in alike)
    assert any(len(set(sample.granularities)) > 2 for sample in mixed)
    for one, other in zip(alike, mixed, strict=True):
        assert len(other.granularities) == other.n_subjects
        assert one.granularities[0] == other.granularities[0]
        assert np.array_equal(one.sheet, other.sheet)


def test_load_eval_samples_refuses_a_scene_whose_only_views_are_crops(shards: Path) -> None:
    only_crops(shards, "000003")
    source = open_shard_index(str(shards))
    with pytest.raises(UserError, match="its only identity view is the crop"):
        load_eval_samples(source, ["000003"], FORMAT)
