"""Frames and projections. Matrices are numpy arrays (4, 4), points are rows (N, 3)."""

from __future__ import annotations

from typing import cast

import numpy as np

from datagen.scene import Camera, Mat3, Mat4, Pose, Vec3


def pose_matrix(pose: Pose) -> np.ndarray:
    """Asset frame to world."""
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    matrix = np.eye(4)
    matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    matrix[:3, 3] = pose.position
    return matrix


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """OpenCV camera to world, level, for a camera at ``eye`` that sees ``target`` in its centre."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(forward, right), forward, eye], axis=1)
    return matrix


def world_to_camera(camera: Camera) -> np.ndarray:
    return np.linalg.inv(np.array(camera.camera_to_world))


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def corners(size: Vec3) -> np.ndarray:
    """The eight corners (8, 3) of a box that stands on the origin, in its own frame."""
    unit = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)])
    return unit * size


def project(camera: Camera, points: np.ndarray) -> np.ndarray:
    """World points to (x, y, depth): pixels, pixels, metres. Depth <= 0 is behind the camera."""
    local = transform(world_to_camera(camera), points)
    return np.column_stack([project_camera_points(local, camera.intrinsics), local[:, 2]])


def project_camera_points(points: np.ndarray, intrinsics: Mat3) -> np.ndarray:
    """Project points with a pinhole camera.

    Args:
        points: (N, 3), metres in the camera frame (x right, y down, z forward), z not 0.
        intrinsics: (3, 3), in pixels.

    Returns:
        (N, 2): x and y in pixels, which may lie outside the image. Points behind the camera
        (z < 0) are mirrored through its centre: callers look at z.
    """
    pixels = points @ np.array(intrinsics).T
    return np.asarray(pixels[:, :2] / pixels[:, 2:])


def back_project(intrinsics: Mat3, depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Camera-frame points (P, 3) of the pixels in ``mask``. ``depth`` (H, W) in metres."""
    rows, columns = np.nonzero(mask)
    pixels = np.column_stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
    return (pixels @ np.linalg.inv(np.array(intrinsics)).T) * depth[mask][:, None]


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """[x_min, y_min, x_max, y_max] of the True pixels, half-open. ``mask`` has some."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def resize_nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample an image whose values are labels or depth, which must not be blended: a mean of
    two subjects' values would be the value of a third.

    Args:
        image: (H, W) or (H, W, C), any dtype.
        size: (height, width) of the result.

    Returns:
        An image of ``size``: each pixel is the old pixel under the centre of the new one.
    """
    # The centre of each new pixel, in whole numbers, so that rounding errors cannot occur.
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(size, image.shape[:2], strict=True)
    )
    return image[rows[:, None], columns]


def is_rotation(matrix: np.ndarray) -> bool:
    """Whether a (3, 3) matrix is orthonormal and right-handed."""
    orthonormal = np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-4)
    return bool(orthonormal and np.linalg.det(matrix) > 0)


def mat3(matrix: np.ndarray) -> Mat3:
    """As a record holds it: rows of Python floats."""
    return cast(Mat3, _rows(matrix))


def mat4(matrix: np.ndarray) -> Mat4:
    return cast(Mat4, _rows(matrix))


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.asarray(matrix, float).tolist())
