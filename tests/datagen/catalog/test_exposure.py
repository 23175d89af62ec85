"""What is hidden does not count, whatever its surface."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from datagen.catalog.exposure import seen_shares


def box(size: tuple[float, float, float], at: tuple[float, float, float]):
    mesh = trimesh.creation.box(size)
    return np.asarray(mesh.vertices) + at, np.asarray(mesh.faces)


def test_what_is_inside_is_not_seen() -> None:
    shares = seen_shares([box((1, 1, 1), (0, 0, 0)), box((0.9, 0.9, 0.9), (0, 0, 0))])
    assert shares[1] < 0.01


def test_twins_share_alike() -> None:
    left, right = seen_shares([box((1, 1, 1), (-2, 0, 0)), box((1, 1, 1), (2, 0, 0))])
    assert left == pytest.approx(right, abs=0.01)
    assert left + right == pytest.approx(1)


def test_tops_are_seen_and_undersides_are_not() -> None:
    slab = ((2.0, 0.01, 2.0), (0.0, 1.0, 0.0)), ((2.0, 0.01, 2.0), (0.0, 0.98, 0.0))
    top, bottom = seen_shares([box(*slab[0]), box(*slab[1])])
    assert top > 10 * bottom


def test_units_do_not_matter() -> None:
    parts = [box((1, 2, 1), (0, 0, 0)), box((1, 1, 1), (0.9, 0, 0.4))]
    small = [(vertices * 0.01, faces) for vertices, faces in parts]
    np.testing.assert_allclose(seen_shares(parts), seen_shares(small), atol=0.005)
