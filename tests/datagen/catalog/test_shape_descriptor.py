"""Shapes: one whatever the order, the triangulation, the rounding, the unit and the pose."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.catalog.shape_descriptor import equal_shapes, shape_descriptor


def furniture(rng: np.random.Generator) -> np.ndarray:
    """Triangles (F, 3, 3) of a few boxes and a ball, at random."""
    meshes = [trimesh.creation.box(rng.uniform(0.05, 1, 3)) for _ in range(4)]
    meshes.append(trimesh.creation.icosphere(2, rng.uniform(0.1, 0.4)))
    for mesh in meshes:
        mesh.apply_translation(rng.uniform(-1, 1, 3))
    return np.concatenate([mesh.triangles for mesh in meshes])


def are_equal(one: np.ndarray, other: np.ndarray) -> bool:
    found = equal_shapes({"one": shape_descriptor(one), "other": shape_descriptor(other)})
    assert set(found.values()) <= {"one", "other"}
    return found["other"] == "one"


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_what_is_no_shape_does_not_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    triangles = furniture(rng)
    assert are_equal(triangles, rng.permutation(triangles)[:, [1, 2, 0]])
    assert are_equal(triangles, np.round(triangles, 4))  # an OBJ file of four decimals
    assert are_equal(triangles, triangles.astype(np.float32).astype(float))
    assert are_equal(triangles, triangles * 100 + [3, -2, 9])  # centimetres
    assert are_equal(triangles, triangles[:, :, [0, 2, 1]] * [1, 1, -1])  # z up
    finer = trimesh.remesh.subdivide(
        triangles.reshape(-1, 3), np.arange(triangles.size // 3).reshape(-1, 3)
    )
    assert are_equal(triangles, finer[0][finer[1]])


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_other_shapes_differ(seed: int) -> None:
    rng = np.random.default_rng(seed)
    triangles = furniture(rng)
    assert not are_equal(triangles, furniture(rng))
    assert not are_equal(triangles, triangles * [1, 1.02, 1])  # 2% higher
    moved = triangles.copy()
    moved[:12] += [0.05, 0, 0]  # one box elsewhere
    assert not are_equal(triangles, moved)


def test_flat_and_symmetric_shapes_have_descriptors() -> None:
    ball, cube = trimesh.creation.icosphere(3), trimesh.creation.box((1, 1, 1))
    sheet = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]]], float)
    descriptors = {
        name: shape_descriptor(np.asarray(triangles))
        for name, triangles in (
            ("ball", ball.triangles),
            ("cube", cube.triangles),
            ("sheet", sheet),
        )
    }
    assert np.isfinite(list(descriptors.values())).all()
    assert equal_shapes(descriptors) == {"ball": "ball", "cube": "cube", "sheet": "sheet"}
    assert equal_shapes({}) == {}


def test_second_moments_of_a_square_are_known() -> None:
    """Of a square, a third of the sum of squares lies along neither axis of the plane."""
    square = np.array([[[0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 0, 0], [1, 1, 0], [0, 1, 0]]], float)
    assert shape_descriptor(square)[:3] == pytest.approx((0.0, 0.5, 0.5), abs=1e-6)
