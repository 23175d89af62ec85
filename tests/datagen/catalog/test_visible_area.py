"""Visible area and silhouette of assets."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from datagen.catalog.visible_area import visible_area


def box(size: tuple[float, float, float], at: tuple[float, float, float]):
    mesh = trimesh.creation.box(size)
    return np.asarray(mesh.vertices) + at, np.asarray(mesh.faces)


def test_an_enclosed_part_has_no_visible_area() -> None:
    shares = visible_area([box((1, 1, 1), (0, 0, 0)), box((0.9, 0.9, 0.9), (0, 0, 0))]).shares
    assert shares[1] < 0.01


def test_equal_parts_have_equal_shares() -> None:
    left, right = visible_area([box((1, 1, 1), (-2, 0, 0)), box((1, 1, 1), (2, 0, 0))]).shares
    assert left == pytest.approx(right, abs=0.01)
    assert left + right == pytest.approx(1)


def test_upper_part_is_visible_and_lower_part_is_not() -> None:
    slab = ((2.0, 0.01, 2.0), (0.0, 1.0, 0.0)), ((2.0, 0.01, 2.0), (0.0, 0.98, 0.0))
    top, bottom = visible_area([box(*slab[0]), box(*slab[1])]).shares
    assert top > 10 * bottom


def test_a_part_in_front_is_visible_from_the_front_only() -> None:
    """The first azimuth is the front, +z in glTF's frame."""
    body, door = box((1, 1, 1), (0, 0, 0)), box((1, 1, 0.02), (0, 0, 0.52))
    shares = visible_area([body, door]).azimuth_shares[1]
    assert shares.argmax() == 0
    assert shares[0] > 0.6
    assert shares[len(shares) // 2] < 0.05


def test_shares_do_not_depend_on_scale() -> None:
    parts = [box((1, 2, 1), (0, 0, 0)), box((1, 1, 1), (0.9, 0, 0.4))]
    small = [(vertices * 0.01, faces) for vertices, faces in parts]
    one, other = visible_area(parts), visible_area(small)
    np.testing.assert_allclose(one.shares, other.shares, atol=0.005)
    assert one.silhouette == pytest.approx(1e4 * other.silhouette, rel=0.01)


def test_silhouette_of_a_ball_is_the_area_of_a_disc() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.3)
    found = visible_area([(np.asarray(ball.vertices), np.asarray(ball.faces))]).silhouette
    assert found == pytest.approx(np.pi * 0.3**2, rel=0.05)


def test_silhouette_of_thin_bars() -> None:
    """A gate of two poles and a bar, 3 cm thick, hides a tenth of what its box does."""
    left, right = (box((0.03, 1, 0.03), (x, 0.5, 0)) for x in (-0.5, 0.5))
    gate = visible_area([left, right, box((1, 0.03, 0.03), (0, 1, 0))]).silhouette
    assert 3 * 0.03 * 0.6 < gate < 3 * 0.03 * 1.6
