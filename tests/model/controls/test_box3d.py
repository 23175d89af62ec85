"""Boxes as the camera sees them, held against Open3D's ray casting of the same boxes."""

from __future__ import annotations

import numpy as np
import open3d as o3d
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datagen.errors import UserError
from datagen.scene import Box3D
from model.controls.box3d import surface_depth

SIZE = (36, 48)
INTRINSICS = ((60.0, 0.0, 22.5), (0.0, 55.0, 19.0), (0.0, 0.0, 1.0))
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
EDGE = 1e-4
"""Metres by which a float32 ray caster may see a silhouette elsewhere."""


def make_box(center, size, turn=(0.0, 0.0, 0.0)) -> Box3D:
    rotation = Rotation.from_rotvec(turn).as_matrix().tolist()
    return Box3D(tuple(center), tuple(size), tuple(map(tuple, rotation)), estimated=False)


def cast(box: Box3D) -> np.ndarray:
    mesh = o3d.geometry.TriangleMesh.create_box(*box.size)
    mesh.translate(-np.array(box.size) / 2)
    mesh.rotate(np.array(box.rotation), (0, 0, 0))
    mesh.translate(box.center)
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    v, u = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    directions = np.stack([u, v, np.ones(SIZE)], axis=-1) @ np.linalg.inv(INTRINSICS).T
    rays = np.concatenate([np.zeros((*SIZE, 3)), directions], axis=-1).astype(np.float32)
    hit = scene.cast_rays(o3d.core.Tensor(rays))["t_hit"].numpy()
    return np.where(np.isfinite(hit), hit, 0)


def grown(box: Box3D, by: float) -> Box3D:
    x, y, z = box.size
    return Box3D(box.center, (x + by, y + by, z + by), box.rotation, box.estimated)


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


boxes = st.builds(
    make_box,
    center=st.tuples(numbers(-2, 2), numbers(-2, 2), numbers(-1, 6)),
    size=st.tuples(*[numbers(0.1, 3)] * 3),
    turn=st.tuples(*[numbers(-3, 3)] * 3),
)


@given(box=boxes)
@example(box=make_box((0.3, 0.2, 4), (1, 1.5, 2), (0.4, 1.1, -0.7)))
@example(box=make_box((-0.9, 0.8, 0.5), (1, 1, 4), (0.1, 0.2, 0.3)))  # across the camera plane
@example(box=make_box((0.1, 0, 0.3), (2, 2, 2), (0.5, 0.5, 0.5)))  # around the camera
@example(box=make_box((0, 0, -3), (2, 2, 2)))  # behind it
def test_surface_depth_agrees_with_open3d(box: Box3D) -> None:
    outside = np.abs(np.array(box.rotation).T @ box.center) - np.array(box.size) / 2
    assume(abs(outside.max()) > 0.01)  # else the eye lies on its surface
    ours, theirs = surface_depth(box, INTRINSICS, SIZE), cast(box)
    inner = surface_depth(grown(box, -EDGE), INTRINSICS, SIZE)
    outer = surface_depth(grown(box, EDGE), INTRINSICS, SIZE)
    # Pixels whose ray grazes the box within EDGE of its rim can be told either way.
    clear = (inner > 0) == (outer > 0)
    assert clear.mean() > 0.95
    np.testing.assert_array_equal((ours > 0)[clear], (theirs > 0)[clear])
    both = clear & (ours > 0)
    # A face nearly along the ray magnifies the rounding of either: judged where EDGE is small.
    steep = both & (np.abs(outer - inner) < 0.01 * ours)
    assert both.sum() - steep.sum() <= 0.05 * clear.size
    np.testing.assert_allclose(ours[steep], theirs[steep], rtol=1e-4)
    assert ours.dtype == np.float32


def test_surface_depth_of_a_box_that_faces_the_camera() -> None:
    intrinsics = ((10.0, 0.0, 8.0), (0.0, 10.0, 6.0), (0.0, 0.0, 1.0))
    depth = surface_depth(make_box((0, 0, 2.5), (0.8, 0.4, 1)), intrinsics, (12, 16))
    expected = np.zeros((12, 16))
    expected[5:7, 6:10] = 2  # 0.8 m and 0.4 m at 2 m: 4 and 2 pixels
    np.testing.assert_allclose(depth, expected)


def test_surface_depth_is_0_behind_the_camera() -> None:
    assert not surface_depth(make_box((0, 0, -2), (1, 1, 1)), INTRINSICS, SIZE).any()


def test_surface_depth_from_inside_is_that_of_the_far_wall() -> None:
    depth = surface_depth(make_box((0, 0, 0), (20, 20, 6)), INTRINSICS, SIZE)
    np.testing.assert_allclose(depth, 3)


def test_surface_depth_of_a_ray_that_lies_in_a_face() -> None:
    """The eye lies in the plane of the box's top, and a row of rays with it."""
    intrinsics = ((10.0, 0.0, 8.0), (0.0, 10.0, 6.5), (0.0, 0.0, 1.0))
    depth = surface_depth(make_box((0, 0.5, 3), (1, 1, 1)), intrinsics, (12, 16))
    assert np.isfinite(depth).all()
    assert depth[8, 8] == pytest.approx(2.5)
    assert not depth[:6].any()


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (make_box((0, 0, 3), (1, 0, 1)), "size"),
        (make_box((0, float("nan"), 3), (1, 1, 1)), "center"),
        (Box3D((0, 0, 3), (1, 1, 1), ((1, 0, 0), (0, 1, 0), (0, 0, -1)), False), "right-handed"),
        (Box3D((0, 0, 3), (1, 1, 1), ((2, 0, 0), (0, 1, 0), (0, 0, 1)), False), "orthonormal"),
    ],
)
def test_invalid_boxes_are_refused(box: Box3D, words: str) -> None:
    with pytest.raises(UserError, match=rf"box3d: .*{words}"):
        surface_depth(box, INTRINSICS, SIZE)


@pytest.mark.parametrize(
    "intrinsics",
    [
        ((0.0, 0.0, 8.0), (0.0, 10.0, 6.0), (0.0, 0.0, 1.0)),
        ((10.0, 0.0, 0.0), (0.0, 10.0, 0.0), (8.0, 6.0, 1.0)),  # transposed
        ((float("nan"), 0.0, 8.0), (0.0, 10.0, 6.0), (0.0, 0.0, 1.0)),
    ],
)
def test_invalid_intrinsics_are_refused(intrinsics) -> None:
    with pytest.raises(UserError, match="pinhole"):
        surface_depth(make_box((0, 0, 3), (1, 1, 1)), intrinsics, SIZE)
