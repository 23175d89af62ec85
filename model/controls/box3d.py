"""Ray casting of one solid box by a pinhole camera: its silhouette and the depth of its surface."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from datagen.errors import UserError
from datagen.geometry import is_rotation, project_camera_points
from datagen.scene import Box3D, Mat3


def surface_depth(box: Box3D, intrinsics: Mat3, size: tuple[int, int]) -> np.ndarray:
    """Depth of the surface of a box, ray-cast through the centre of every pixel.

    Args:
        box: In the camera frame (OpenCV: x right, y down, z forward), in metres.
        intrinsics: ((fx, 0, cx), (0, fy, cy), (0, 0, 1)) in pixels.
        size: (height, width) of the frame in pixels.

    Returns:
        (H, W) float32, z-depth in metres of the nearest surface in front of the camera, 0 where the
        ray misses the box. Seen from inside the box it is the surface through which the ray leaves.

    Raises:
        UserError: the box or the intrinsics are not valid.
    """
    _check(box, intrinsics)
    half, rotation = np.array(box.size) / 2, np.array(box.rotation)
    rows, columns = _window(box, intrinsics, size)
    # Rays have z = 1 in the camera frame, so that the ray parameter is the z-depth. In the frame of
    # the box its faces are three pairs of planes (slabs); a point is in the box if it is in all of
    # the slabs.
    to_box = rotation.T @ np.linalg.inv(np.array(intrinsics))
    eye = -rotation.T @ np.array(box.center)
    x = np.arange(columns.start, columns.stop) + 0.5
    y = np.arange(rows.start, rows.stop)[:, None] + 0.5
    enter, leave = np.full((len(y), len(x)), -np.inf), np.full((len(y), len(x)), np.inf)
    # A ray that lies in a face divides 0 by 0; NaN compares as a miss.
    with np.errstate(divide="ignore", invalid="ignore"):
        for axis in range(3):
            along = to_box[axis, 0] * x + to_box[axis, 1] * y + to_box[axis, 2]
            low, high = (-half[axis] - eye[axis]) / along, (half[axis] - eye[axis]) / along
            enter = np.maximum(enter, np.minimum(low, high))
            leave = np.minimum(leave, np.maximum(low, high))
        depth = np.where(enter > 0, enter, leave)
        hit = (enter <= leave) & (leave > 0)
    whole = np.zeros(size, np.float32)
    whole[rows, columns] = np.where(hit, depth, 0)
    return whole


def _check(box: Box3D, intrinsics: Mat3) -> None:
    numbers = np.array([*box.center, *box.size])
    if not np.isfinite(numbers).all() or min(box.size) <= 0:
        raise UserError(
            f"box3d: center {list(box.center)}, size {list(box.size)}; "
            "expected metres, each size above 0"
        )
    if not is_rotation(np.array(box.rotation)):
        raise UserError(
            f"box3d: rotation {box.rotation} is not a rotation matrix; "
            "expected three orthonormal rows of a right-handed frame"
        )
    (fx, _, _), (lower, fy, _), last = intrinsics
    if not (0 < fx < math.inf and 0 < fy < math.inf and lower == 0 and tuple(last) == (0, 0, 1)):
        raise UserError(
            f"intrinsics: {intrinsics} are not those of a pinhole camera; "
            "expected ((fx, 0, cx), (0, fy, cy), (0, 0, 1)) in pixels"
        )


def _window(box: Box3D, intrinsics: Mat3, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the frame that the box can project to: mostly a small part of it."""
    height, width = size
    signs = np.array(list(product((-0.5, 0.5), repeat=3)))
    corners = signs * box.size @ np.array(box.rotation).T + box.center
    if corners[:, 2].min() <= 0:
        return slice(0, height), slice(0, width)
    pixels = project_camera_points(corners, intrinsics)
    left, top = np.clip(np.floor(pixels.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(pixels.max(axis=0)), 0, (width, height)).astype(int)
    return slice(top, bottom), slice(left, right)
