"""Arrangement of subjects on the ground: close together, none inside another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from datagen.scene import Pose, Vec3

# Range of the gap between neighbours, as a share of the mean width of the subjects.
_GAP = (0.02, 0.2)
# Probability that a subject stands on its side of the group: the tall ones at the back, the low
# ones in front, where they hide nothing.
_SORTED = 0.8
# Standard deviation in radians of the angle between a subject's front and the camera.
_TURN = 1.0
# Halvings of the distance at which a subject touches its neighbours.
_HALVINGS = 7


@dataclass(frozen=True, eq=False)
class Arrangement:
    """How subjects are put together. ``order`` (N,): positions of the subjects in the order in
    which they are placed. By subject: ``angles`` (N,), the direction in radians from which it is
    moved towards the centre (0: from the camera's right, pi / 2: from behind); ``yaws`` (N,), how
    far it is turned from facing the camera. ``gap``: metres between neighbours."""

    order: np.ndarray
    angles: np.ndarray
    yaws: np.ndarray
    gap: float


def sample_arrangement(
    rng: np.random.Generator, sizes: Sequence[Vec3], occlude: bool
) -> Arrangement:
    """Samples an arrangement of subjects of these sizes (metres along their own axes); with
    ``occlude``, the second that is placed is in front of or behind the first."""
    extents = np.array(sizes)
    widths = np.hypot(extents[:, 0], extents[:, 1])
    order = np.argsort(-widths * extents[:, 2] * rng.uniform(0.6, 1.4, len(sizes)), kind="stable")
    height_rank = np.argsort(np.argsort(-extents[:, 2], kind="stable"), kind="stable")
    angles = rng.uniform(0, np.pi, len(sizes))
    if occlude:
        angles[order[1]] = np.pi / 2 + rng.uniform(-0.5, 0.5)
    behind = height_rank < len(sizes) / 2
    angles = np.where(behind == (rng.random(len(sizes)) < _SORTED), angles, -angles)
    yaws = rng.normal(0, _TURN, len(sizes))
    return Arrangement(order, angles, yaws, float(rng.uniform(*_GAP) * widths.mean()))


def vary(rng: np.random.Generator, arrangement: Arrangement) -> Arrangement:
    """A similar arrangement: one subject comes from another direction and is turned otherwise."""
    which = np.arange(len(arrangement.yaws)) == rng.integers(len(arrangement.yaws))
    return replace(
        arrangement,
        angles=arrangement.angles + which * rng.normal(0, 0.8),
        yaws=arrangement.yaws + which * rng.normal(0, 0.4),
        gap=arrangement.gap * rng.uniform(0.7, 1.1),
    )


def arrange(arrangement: Arrangement, sizes: Sequence[Vec3], azimuth: float) -> tuple[Pose, ...]:
    """Poses whose footprints do not overlap, so that no two subjects interpenetrate.

    Each subject is moved towards the centre until it is next to those that are there.

    Args:
        arrangement: order, directions and turns of the subjects.
        sizes: extent of each subject along its own axes, in metres.
        azimuth: direction in which the camera looks, in radians (0: along +y).

    Returns:
        One pose per subject; the footprints are centred on the world's origin.
    """
    yaws, gap = arrangement.yaws, arrangement.gap
    far = sum(np.hypot(x, y) + gap for x, y, _ in sizes)
    positions = np.zeros((len(sizes), 2))
    footprints: list[np.ndarray] = []
    for i in arrangement.order:
        direction = np.array([np.cos(arrangement.angles[i]), np.sin(arrangement.angles[i])])
        base = _footprint(np.zeros(2), yaws[i], sizes[i], gap)
        near, free = 0.0, far if footprints else 0.0
        for _ in range(_HALVINGS if footprints else 0):
            middle = (near + free) / 2
            if any(_overlap(base + middle * direction, other) for other in footprints):
                near = middle
            else:
                free = middle
        positions[i] = free * direction
        footprints.append(base + positions[i])
    corners = np.concatenate(footprints)
    positions -= (corners.min(axis=0) + corners.max(axis=0)) / 2
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    to_world = np.array([[cos, -sin], [sin, cos]])
    return tuple(
        Pose(
            (round(float(x), 5), round(float(y), 5), 0.0),
            round(float(np.angle(np.exp(1j * (yaw + azimuth)))), 5),
        )
        for (x, y), yaw in zip(positions @ to_world.T, yaws, strict=True)
    )


def footprints_overlap(first: Pose, first_size: Vec3, second: Pose, second_size: Vec3) -> bool:
    """Whether the ground rectangles of two things of these sizes (metres) overlap."""
    a, b = (
        _footprint(np.array(pose.position[:2]), pose.yaw, size, 0.0)
        for pose, size in ((first, first_size), (second, second_size))
    )
    return _overlap(a, b)


def _footprint(position: np.ndarray, yaw: float, size: Vec3, gap: float) -> np.ndarray:
    """The ground rectangle (4, 2) of a subject in metres, wider by half of ``gap`` on each side."""
    unit = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    cos, sin = np.cos(yaw), np.sin(yaw)
    return unit * (np.array(size[:2]) + gap) @ np.array([[cos, sin], [-sin, cos]]) + position


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Separating axis test of two rectangles (4, 2)."""
    for rectangle in (a, b):
        for axis in (rectangle[1] - rectangle[0], rectangle[2] - rectangle[1]):
            p, q = a @ axis, b @ axis
            if p.max() <= q.min() or q.max() <= p.min():
                return False
    return True
