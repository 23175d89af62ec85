"""One new colour in the picture and on the references, and nothing else touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.catalog.looks.colors import lab
from datagen.color import linear_to_srgb, srgb_to_linear
from datagen.scene import Sample
from model.data.augmentation.recolor import draw_mixing, recolored
from tests.model.data.augmentation.scenes import CELL, COLORS, scene

seeds = st.integers(0, 2**32)
scenes = st.builds(scene, n=st.integers(1, 5), seed=st.integers(0, 4))


@st.composite
def some_of_a_scene(draw: st.DrawFn) -> tuple[Sample, set[int]]:
    sample = draw(scenes)
    return sample, draw(st.sets(st.integers(1, sample.record.n_subjects), min_size=1))


def block(sample: Sample, index: int, column: int) -> np.ndarray:
    return sample.identities[(index - 1) * CELL : index * CELL, column * CELL : (column + 1) * CELL]


def mean_lab(rgb: np.ndarray) -> np.ndarray:
    return lab(rgb.reshape(-1, 3) / 255).mean(axis=0)


@given(drawn=some_of_a_scene(), seed=seeds)
def test_all_but_the_subjects_is_the_same_to_the_bit(drawn, seed) -> None:
    sample, indices = drawn
    changed = recolored(sample, indices, np.random.default_rng(seed))
    others = ~np.isin(sample.instances, list(indices))
    np.testing.assert_array_equal(changed.image[others], sample.image[others])
    np.testing.assert_array_equal(changed.instances, sample.instances)
    np.testing.assert_array_equal(changed.depth, sample.depth)
    np.testing.assert_array_equal(changed.identities[..., 3], sample.identities[..., 3])
    rows = np.repeat(np.arange(sample.record.n_subjects) + 1, CELL)
    same = (sample.identities[..., 3] == 0) | ~np.isin(rows, list(indices))[:, None]
    np.testing.assert_array_equal(changed.identities[same], sample.identities[same])


@given(drawn=some_of_a_scene(), seed=seeds)
def test_picture_and_references_change_alike(drawn, seed) -> None:
    sample, indices = drawn
    changed = recolored(sample, indices, np.random.default_rng(seed))
    for index in indices:
        visible = sample.instances == index
        moved = mean_lab(changed.image[visible]) - mean_lab(sample.image[visible])
        for column in range(3):
            old, new = block(sample, index, column), block(changed, index, column)
            opaque = old[..., 3] > 250
            reference = mean_lab(new[opaque][:, :3]) - mean_lab(old[opaque][:, :3])
            # Not more apart than light and marks make them.
            assert np.linalg.norm(moved - reference) < 0.03 + 0.35 * np.linalg.norm(moved)


@given(sample=scenes, seed=seeds)
def test_soft_edges_take_the_colour_of_what_they_belong_to(sample: Sample, seed: int) -> None:
    changed = recolored(sample, {1}, np.random.default_rng(seed))
    old, new = block(sample, 1, 1), block(changed, 1, 1)
    soft = (old[..., 3] > 0) & (old[..., 3] < 128)
    opaque = old[..., 3] == 255
    assert soft.any()
    after = {tuple(rgb): tuple(to) for rgb, to in zip(old[opaque][:, :3], new[opaque], strict=True)}
    for rgb, to in zip(old[soft][:, :3], new[soft], strict=True):
        assert after[tuple(rgb)][:3] == tuple(to)[:3]


def test_most_changes_can_be_seen_and_each_subject_has_its_own() -> None:
    rng, sample = np.random.default_rng(0), scene(n=3)
    moves = []
    for _ in range(60):
        changed = recolored(sample, {1, 2, 3}, rng)
        moves.append(
            [
                mean_lab(changed.image[sample.instances == i])
                - mean_lab(sample.image[sample.instances == i])
                for i in (1, 2, 3)
            ]
        )
    apart = np.linalg.norm(moves, axis=2)
    assert np.median(apart) > 0.1
    assert np.mean(apart > 0.04) > 0.9
    assert abs(np.corrcoef(apart[:, 0], apart[:, 1])[0, 1]) < 0.4


@given(seed=seeds)
def test_mixing_is_new_paint(seed: int) -> None:
    """Light goes in, no more comes out, and none is negative: nothing is clipped."""
    mixing = draw_mixing(np.random.default_rng(seed))
    assert mixing.min() >= 0
    assert mixing.sum(axis=1).max() <= 1 + 1e-6
    assert mixing.sum(axis=1).max() > 0.999, "one channel is not dimmed at all"
    assert abs(np.linalg.det(mixing)) > 1e-4, "no two colours become one"


@given(seed=seeds)
def test_shading_keeps_its_shape(seed: int) -> None:
    """Half the light on a painted surface is half the light after."""
    sample = scene(n=1)
    bright = np.full_like(sample.image, 1)
    bright[:] = COLORS["orange"]
    dim = np.round(255 * linear_to_srgb(0.5 * srgb_to_linear(bright / 255))).astype(np.uint8)
    after = [
        srgb_to_linear(
            recolored(replace(sample, image=image), {1}, np.random.default_rng(seed)).image / 255
        )
        for image in (bright, dim)
    ]
    visible = sample.instances == 1
    np.testing.assert_allclose(after[1][visible], 0.5 * after[0][visible], rtol=0.03, atol=0.003)


@given(drawn=some_of_a_scene(), seed=seeds)
def test_words_say_nothing_of_colours_that_are_gone(drawn, seed) -> None:
    sample, indices = drawn
    record = recolored(sample, indices, np.random.default_rng(seed)).record
    for old, new in zip(sample.record.subjects, record.subjects, strict=True):
        if old.index in indices:
            assert new.caption == "a ball"
            assert new.identity.startswith(f"{old.identity}-")
        else:
            assert new == old
        kept = replace(new, caption=old.caption, identity=old.identity)
        assert kept == old
    assert [record.prompt.full.count(s.caption) >= 1 for s in record.subjects[1:]] == [True] * (
        len(record.subjects) - 1
    )
    assert "left" not in record.prompt.full
    assert record.prompt.full.lower().startswith(record.subjects[0].caption)
    assert record.prompt.full.endswith(f" in {sample.record.prompt.background}.")
    assert record.prompt.background == sample.record.prompt.background


def test_none_chosen_nothing_changes() -> None:
    sample = scene()
    assert recolored(sample, (), np.random.default_rng(0)) is sample


def test_one_generator_one_colour() -> None:
    first, again, other = (
        recolored(scene(), {1, 2}, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.image, again.image)
    assert first.record == again.record
    assert (first.image != other.image).any()
    assert first.record.subjects[0].identity != other.record.subjects[0].identity


@pytest.mark.parametrize("rgb", [(0, 0, 0), (1, 2, 3), (30, 30, 30), (255, 255, 255)])
def test_no_colour_is_out_of_range(rgb: tuple[int, int, int]) -> None:
    sample = scene(n=1)
    image = np.full_like(sample.image, 0)
    image[:] = rgb
    for seed in range(20):
        changed = recolored(replace(sample, image=image), {1}, np.random.default_rng(seed)).image
        assert changed[sample.instances == 1].max() <= max(rgb) + 1
