"""3D boxes for cut-outs: rotation from the view, size from the outline."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import cast

import numpy as np

from datagen.scene import Box3D, Mat3, View

_PAIRS = np.array(list(combinations(range(3), 2))).T


def outline(mask: np.ndarray) -> np.ndarray:
    """Points whose convex hull contains the mask (H, W): the corners of the first and of the last
    set pixel of each row, (P, 2) as (x, y) in pixels."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    ends = np.array([[first, rows], [first, rows + 1], [last, rows], [last, rows + 1]])
    return ends.swapaxes(1, 2).reshape(-1, 2)


def posed_boxes(
    boxes: Sequence[Box3D],
    views: Sequence[View],
    outlines: Sequence[np.ndarray],
    depths: Sequence[float],
    intrinsics: Mat3,
) -> list[Box3D]:
    """Boxes of N subjects, rotated relative to the camera as in their views.

    Args:
        boxes: Only their proportions are used.
        views: Azimuth and elevation of each subject.
        outlines: (P, 2) in pixels, per subject; P may differ.
        depths: Depth of the middle of each box, in metres.
        intrinsics: Of the camera, in pixels.

    Returns:
        Boxes in the camera frame, in metres, whose silhouettes just contain the outlines, marked as
        estimated.
    """
    # Shorter outlines are padded with their last point.
    every = np.arange(max(map(len, outlines)))
    points = np.array([one[np.minimum(every, len(one) - 1)] for one in outlines])
    flat = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=2)
    rays = flat @ np.linalg.inv(np.array(intrinsics)).T
    middles = (rays.min(axis=1) + rays.max(axis=1)) / 2
    rotations = _toward(middles) @ np.array([_turned(view) for view in views])
    sizes = np.array([box.size for box in boxes])
    middles[:, :2] = _best_middles(rays[..., :2], middles, rotations * sizes[:, None])
    centers = middles * np.array(depths)[:, None]
    # The point of a ray at t is in the box scaled by the largest of |t * a - b| over the three
    # axes. Over t, this largest value is least where two of the three are equal.
    a = rays @ rotations / sizes[:, None] * 2
    b = (centers[:, None] @ rotations / sizes[:, None] * 2)[:, :, None]
    i, j = _PAIRS
    a_i, a_j, b_i, b_j = a[..., i], a[..., j], b[..., i], b[..., j]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.concatenate(
            [(b_i - b_j)[:, :, 0] / (a_i - a_j), (b_i + b_j)[:, :, 0] / (a_i + a_j)], axis=2
        )
        larger = np.abs(t[..., None] * a[:, :, None] - b).max(axis=3)
    factors = 1.002 * np.nanmin(larger, axis=2).max(axis=1)
    sizes *= factors[:, None]
    turns = (tuple(map(tuple, rotation)) for rotation in rotations.tolist())
    return [
        Box3D(tuple(center), tuple(size), cast(Mat3, rotation), estimated=True)
        for center, size, rotation in zip(centers.tolist(), sizes.tolist(), turns, strict=True)
    ]


def _best_middles(points: np.ndarray, middles: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Middles (N, 2) of the silhouettes of boxes, by least squares, in the plane at z = 1.

    Seen from far away, a box is the intersection of three strips, each along one of its ``edges``
    (N, 3, 3, as columns). The middle line of a strip is halfway between the outermost ``points``
    (N, P, 2) of the outline on its two sides.
    """
    flat = edges[:, :2] - middles[:, :2, None] * edges[:, 2:]
    across = np.stack([-flat[:, 1], flat[:, 0]], axis=2)
    along = points @ across.swapaxes(1, 2)
    halfway = (along.min(axis=1) + along.max(axis=1)) / 2
    return (np.linalg.pinv(across) @ halfway[..., None])[..., 0]


def _toward(rays: np.ndarray) -> np.ndarray:
    """The axes (N, 3, 3), as columns, of level cameras that look along ``rays`` (N, 3)."""
    z = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    x = np.stack([z[:, 2], np.zeros(len(z)), -z[:, 0]], axis=1)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=2)


def _turned(view: View) -> list[list[float]]:
    """Axes of the subject (right, back, up), as columns, in the frame of a camera that looks at
    it."""
    sin, cos = np.sin(view.azimuth), np.cos(view.azimuth)
    up, level = np.sin(view.elevation), np.cos(view.elevation)
    return [[cos, -sin, 0.0], [-up * sin, -up * cos, -level], [level * sin, level * cos, -up]]
