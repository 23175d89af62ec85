"""Frames, transforms and projections.

Matrices are numpy arrays (4, 4), points are rows (N, 3), lengths are metres. The frames (world,
OpenCV camera, asset) are those of ``datagen.scene``.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from datagen.scene import Camera, Mat3, Mat4, Pose, Vec3


def pose_matrix(pose: Pose) -> np.ndarray:
    """The transform (4, 4) from the asset frame to the world."""
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    matrix = np.eye(4)
    matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    matrix[:3, 3] = pose.position
    return matrix


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The pose of a level camera that looks at a point.

    Args:
        eye: position of the camera (3,) in the world.
        target: the world point (3,) that is projected to the centre of the image.

    Returns:
        The transform (4, 4) from the OpenCV camera frame to the world.
    """
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(forward, right), forward, eye], axis=1)
    return matrix


def world_to_camera(camera: Camera) -> np.ndarray:
    """The transform (4, 4) from the world to the OpenCV camera frame."""
    return np.linalg.inv(np.array(camera.camera_to_world))


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The points (N, 3) transformed by a rigid or affine matrix (4, 4)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def corners(size: Vec3) -> np.ndarray:
    """The corners (8, 3), in the asset frame, of a box of this size that stands on the origin."""
    unit = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)])
    return unit * size


def project(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Projects world points (N, 3) into the image.

    Returns:
        (N, 3) rows of x and y in pixels and z-depth in metres. A depth <= 0 is behind the camera.
    """
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
    """The points that the masked pixels show.

    Args:
        intrinsics: of the camera, in pixels.
        depth: z-depth (H, W) in metres.
        mask: (H, W) bool with P True pixels.

    Returns:
        (P, 3) points in the camera frame, in row-major order of the pixels.
    """
    rows, columns = np.nonzero(mask)
    pixels = np.column_stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
    return (pixels @ np.linalg.inv(np.array(intrinsics)).T) * depth[mask][:, None]


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The smallest box around the True pixels: [x_min, y_min, x_max, y_max] in pixels, half-open.
    ``mask`` (H, W) has at least one True pixel."""
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


def is_rotation(matrices: np.ndarray) -> bool:
    """Whether a (3, 3) matrix, or each of several (..., 3, 3), is orthonormal and right-handed."""
    error = np.abs(matrices @ matrices.swapaxes(-1, -2) - np.eye(3)).max()
    return bool(error <= 1e-4 and np.all(np.linalg.det(matrices) > 0))


def mat3(matrix: np.ndarray) -> Mat3:
    """A (3, 3) array as records hold it: rows of Python floats."""
    return cast(Mat3, _rows(matrix))


def mat4(matrix: np.ndarray) -> Mat4:
    """A (4, 4) array as records hold it: rows of Python floats."""
    return cast(Mat4, _rows(matrix))


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.asarray(matrix, float).tolist())
