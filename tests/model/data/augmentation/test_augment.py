"""Flips keep everything true, and augmentation comes as often as asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.scene import Sample
from datagen.shards.consistency import check_sample
from model.controls.control_sampling import (
    ControlSamplingConfig,
    sample_controls,
    sample_granularities,
)
from model.controls.kinds import region_of
from model.controls.regions import Granularity
from model.data.augmentation.augment import NO_AMODAL, AugmentConfig, augment, flipped
from tests.model.data.augmentation.scenes import CELL, SIZE, scene

EVERY: tuple[Granularity, ...] = ("mask", "mask_depth", "box3d", "box2d")
NEVER = AugmentConfig(recompose=0.0, recolor=0.0, flip=0.0)
ALWAYS = AugmentConfig(recompose=1.0, recolor=1.0, flip=1.0)

scenes = st.builds(scene, n=st.integers(1, 6), seed=st.integers(0, 9))
seeds = st.integers(0, 2**32)


def near(p: float, draws: int) -> object:
    """Within four standard deviations of a share ``p`` of so many draws."""
    return pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / draws))


def pool(n: int = 3) -> list[Sample]:
    return [scene(f"{i}", n, i) for i in range(4)]


def same(one: Sample, other: Sample) -> bool:
    names = ("image", "depth", "instances", "identities")
    return one.record == other.record and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in names
    )


# Flips


@given(sample=scenes)
def test_flipping_twice_gives_the_sample_back(sample: Sample) -> None:
    once, twice = flipped(sample), flipped(flipped(sample))
    unpacked = tuple(replace(s, amodal_rle=NO_AMODAL) for s in sample.record.subjects)
    assert same(twice, replace(sample, record=replace(sample.record, subjects=unpacked)))
    assert not same(once, twice)


@given(sample=scenes)
def test_flipped_record_agrees_with_flipped_pixels(sample: Sample) -> None:
    """Depth through the camera lies in the 3D boxes, boxes are tight, rotations are rotations."""
    mirrored = flipped(sample)
    np.testing.assert_array_equal(mirrored.image, sample.image[:, ::-1])
    np.testing.assert_array_equal(mirrored.instances, sample.instances[:, ::-1])
    told = [fault for fault in check_sample(mirrored) if "amodal mask is empty" not in fault]
    assert told == []


@given(sample=scenes, granularity=st.sampled_from(EVERY))
def test_flipped_controls_are_mirrored(sample, granularity) -> None:
    mirrored = flipped(sample)
    for index in range(1, sample.record.n_subjects + 1):
        one, other = (region_of(s, index, granularity) for s in (sample, mirrored))
        np.testing.assert_array_equal(other.mask[:, ::-1], one.mask)
        np.testing.assert_allclose(other.depth[:, ::-1], one.depth, rtol=1e-5)


@given(sample=scenes)
def test_flipped_box3d_keeps_its_front_and_top(sample: Sample) -> None:
    for old, new in zip(sample.record.subjects, flipped(sample).record.subjects, strict=True):
        for axis in (1, 2):
            was = np.array(old.box3d.center) + np.array(old.box3d.rotation)[:, axis]
            now = np.array(new.box3d.center) + np.array(new.box3d.rotation)[:, axis]
            np.testing.assert_allclose(now, was * [-1, 1, 1])
        assert np.linalg.det(new.box3d.rotation) == pytest.approx(1)
        assert [view.azimuth for view in new.views] == [-view.azimuth for view in old.views]


@given(sample=scenes)
def test_flipped_camera_pose_keeps_the_ground_level(sample: Sample) -> None:
    """A mirrored point of the camera frame is the mirrored point of the world."""
    pose, other = (np.array(s.record.camera.camera_to_world) for s in (sample, flipped(sample)))
    points = np.random.default_rng(0).normal(size=(20, 3))
    world = points @ pose[:3, :3].T + pose[:3, 3]
    mirrored = (points * [-1, 1, 1]) @ other[:3, :3].T + other[:3, 3]
    np.testing.assert_allclose(mirrored, world * [-1, 1, 1], atol=1e-12)


@given(sample=scenes)
def test_flipped_identity_views_are_mirrored_in_place(sample: Sample) -> None:
    mirrored = flipped(sample).identities
    for top in range(0, len(mirrored), CELL):
        for left in range(0, mirrored.shape[1], CELL):
            at = np.s_[top : top + CELL, left : left + CELL]
            np.testing.assert_array_equal(mirrored[at], sample.identities[at][:, ::-1])


def test_flipped_prompt_and_captions_exchange_left_and_right() -> None:
    sample = scene(n=3)
    assert "to the left of" in sample.record.prompt.full
    assert flipped(sample).record.prompt.full == sample.record.prompt.full.replace("left", "right")


def test_flipped_subject_is_another_identity() -> None:
    sample = scene(n=3)
    names = [{s.identity for s in one.record.subjects} for one in (sample, flipped(sample))]
    assert not names[0] & names[1]


# Chances


def test_augment_with_probability_0_changes_nothing() -> None:
    samples = pool()
    assert augment(samples, np.random.default_rng(0), NEVER) is samples[0]


@given(n=st.integers(1, 8), seed=seeds)
def test_augment_with_all_augmentations_keeps_record_true_and_subject_count(
    n: int, seed: int
) -> None:
    samples = pool(n)
    sample = augment(samples, np.random.default_rng(seed), ALWAYS)
    assert sample.record.key == samples[0].record.key
    assert sample.record.n_subjects == n
    assert sample.image.shape == (SIZE, SIZE, 3)
    told = [fault for fault in check_sample(sample) if "amodal mask is empty" not in fault]
    assert told == []
    for array in (sample.image, sample.depth, sample.instances, sample.identities):
        assert array.flags.c_contiguous
    rng = np.random.default_rng(seed)
    sample_controls(
        sample, sample_granularities(n, ControlSamplingConfig(), rng), ControlSamplingConfig(), rng
    )


def test_augment_is_reproducible_from_its_generator() -> None:
    def draws(seed: int) -> list[Sample]:
        rng = np.random.default_rng(seed)
        return [augment(pool(), rng, AugmentConfig()) for _ in range(8)]

    assert all(same(*pair) for pair in zip(draws(1), draws(1), strict=True))
    assert not all(same(*pair) for pair in zip(draws(1), draws(2), strict=True))


def test_augment_applies_each_augmentation_with_its_probability() -> None:
    samples, rng, draws = pool(), np.random.default_rng(0), 400
    config = AugmentConfig(recompose=0.3, recolor=0.4, flip=0.25)
    seen = [augment(samples, rng, config).record.subjects for _ in range(draws)]
    assert np.mean([any(s.box3d.estimated for s in one) for one in seen]) == near(0.3, draws)
    assert np.mean(["mirrored" in one[0].identity for one in seen]) == near(0.25, draws)
    recolored = [s.caption == "a ball" for one in seen for s in one]
    assert np.mean(recolored) == near(0.4, 3 * draws)


def test_augment_does_not_recolor_natural_categories() -> None:
    sample = scene(n=3)
    subjects = list(sample.record.subjects)
    subjects[1] = replace(subjects[1], category="person")
    person = replace(sample, record=replace(sample.record, subjects=tuple(subjects)))
    changed = augment([person], np.random.default_rng(0), replace(NEVER, recolor=1.0))
    kept = np.array(
        [(changed.image == sample.image)[sample.instances == i].all() for i in (1, 2, 3)]
    )
    assert kept.tolist() == [False, True, False]
    assert changed.record.subjects[1] == subjects[1]


def test_augment_keeps_the_layout_where_no_subject_can_be_cut_out() -> None:
    """Hidden in the picture, and only one other view: nothing would be left to refer to."""
    sample = scene(n=2, columns=2)
    subjects = tuple(replace(s, visibility=0.5) for s in sample.record.subjects)
    hidden = replace(sample, record=replace(sample.record, subjects=subjects))
    assert augment([hidden], np.random.default_rng(0), replace(NEVER, recompose=1.0)) is hidden
