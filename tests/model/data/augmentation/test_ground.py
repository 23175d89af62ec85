"""Ground is found from depth alone, and what stood on it leaves no trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.augmentation.ground import FARTHEST, cleared, ground_of, shade
from tests.model.data.augmentation.scenes import SIZE, environment_mesh, scene


@given(n=st.integers(1, 10), seed=st.integers(0, 9))
def test_ground_of_has_the_rendered_depth(n: int, seed: int) -> None:
    ground = ground_of(scene(n=n, seed=seed))
    _, depth = environment_mesh()
    rows = np.arange(np.ceil(ground.top), SIZE).astype(int)
    assert len(rows) > SIZE / 3
    np.testing.assert_allclose(ground.depth(rows + 0.5), depth[rows, 0] / 1000, rtol=0.01)
    assert ground.depth(np.array(ground.top)) <= 1.01 * FARTHEST * ground.depth(np.array(SIZE))


def test_ground_of_ignores_walls() -> None:
    sample = scene()
    depth = sample.depth.copy()
    depth[:40] = depth[40]
    assert ground_of(replace(sample, depth=depth)).top == pytest.approx(40, abs=2)


@pytest.mark.parametrize("depth", [0, 3000], ids=["none", "flat"])
def test_ground_of_without_visible_ground_is_nearer_further_down(depth: int) -> None:
    sample = scene()
    ground = ground_of(replace(sample, depth=np.full_like(sample.depth, depth)))
    far, near = ground.depth(np.array([ground.top, ground.bottom]))
    assert 0 < near < far < np.inf
    assert 0 < ground.top < ground.bottom == SIZE


@given(n=st.integers(1, 6), seed=st.integers(0, 9), moved=st.integers(0, SIZE - 1))
def test_cleared_restores_the_place_without_the_subject(n, seed, moved) -> None:
    """Wherever it was, at the edge of the frame too."""
    sample = scene(n=n, seed=seed)
    sample = replace(
        sample,
        image=np.roll(sample.image, moved, axis=1),
        depth=np.roll(sample.depth, moved, axis=1),
        instances=np.roll(sample.instances, moved, axis=1),
    )
    image, depth = cleared(sample, np.zeros_like(sample.instances, bool))
    empty, ground = environment_mesh()
    np.testing.assert_allclose(image.astype(int), empty, atol=2)
    np.testing.assert_allclose(depth.astype(int), ground, rtol=0.001, atol=2)


@given(seed=st.integers(0, 9))
def test_cleared_keeps_the_pixels_that_stay(seed: int) -> None:
    sample = scene(n=4, seed=seed)
    stay = np.isin(sample.instances, [2, 3])
    image, depth = cleared(sample, stay)
    np.testing.assert_array_equal(image[stay], sample.image[stay])
    np.testing.assert_array_equal(depth[stay], sample.depth[stay])
    gone = (sample.instances > 0) & ~stay
    assert np.ptp(image[gone].astype(int), axis=1).max() <= 30, "the place is grey"


def test_cleared_fills_rows_without_known_pixels_from_other_rows() -> None:
    sample = scene(n=1)
    instances, image = sample.instances.copy(), sample.image.copy()
    instances[30:34], image[30:34] = 1, (250, 0, 0)
    clean, depth = cleared(
        replace(sample, image=image, instances=instances), np.zeros_like(instances, bool)
    )
    empty, ground = environment_mesh()
    np.testing.assert_allclose(clean.astype(int), empty, atol=12)
    np.testing.assert_allclose(depth[36:].astype(int), ground[36:], rtol=0.001, atol=2)


def test_cleared_of_a_picture_full_of_subjects_is_its_mean_colour() -> None:
    sample = scene(n=1)
    clean, depth = cleared(
        replace(sample, instances=np.ones_like(sample.instances)),
        np.zeros_like(sample.instances, bool),
    )
    assert np.ptp(clean, axis=(0, 1)).max() == 0
    assert not depth.any()


def test_cleared_removes_shadows_beside_subjects_and_keeps_dark_places() -> None:
    sample = scene(n=1)
    image, (empty, _) = sample.image.copy(), environment_mesh()
    dark = np.roll(sample.instances > 0, (4, 3), axis=(0, 1)) & (sample.instances == 0)
    dark[58:62, 2:6] = True
    image[dark] = 0.5 * image[dark]
    empty[58:62, 2:6] = image[58:62, 2:6]
    clean, _ = cleared(replace(sample, image=image), np.zeros_like(dark))
    np.testing.assert_allclose(clean.astype(int), empty, atol=6)


def test_shade_darkens_below_the_object_and_only_where_allowed() -> None:
    image = np.full((SIZE, SIZE, 3), 200, np.uint8)
    where = np.ones((SIZE, SIZE), bool)
    where[:, :32] = False
    shade(image, (slice(20, 40), slice(24, 40)), where)
    assert image[39, 33].max() < 130
    assert (image[:, :32] == 200).all()
    assert (image[:30] == 200).all()
    assert (image[50:] == 200).all()
