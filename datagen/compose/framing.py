"""Framing: the camera whose image holds all subjects, as large as the frame allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from datagen.geometry import look_at, mat3, mat4
from datagen.scene import Camera

Side = Literal["left", "right", "bottom"]

# Range of the margin around the subjects, as a share of the image.
_MARGIN = (0.02, 0.06)
# Range of the position of the subjects in the space that is left beside and above them: 0.5 is the
# centre.
_OFFSET = (0.25, 0.75)
# Range of the share of its extent that a subject cut by the frame has outside.
_CUT = (0.12, 0.32)
# Least distance of a subject from the camera's plane, and of the camera from the ground, in metres.
_NEAREST, _LOWEST = 0.1, 0.02


@dataclass(frozen=True)
class View:
    """Everything about a camera but its position. ``azimuth`` (0: it looks along +y) and
    ``elevation`` above the horizon in radians; ``tangent`` of half its horizontal field of view;
    ``margin`` as a share of the image; ``offset``: where the subjects are in the space that is left
    (x, y); ``cut``: the side of the frame that cuts a subject, with the share of its extent that is
    outside."""

    azimuth: float
    elevation: float
    tangent: float
    margin: float
    offset: tuple[float, float]
    cut: tuple[Side, float] | None


def sample_view(
    rng: np.random.Generator,
    fov_degrees: tuple[float, float],
    elevation_degrees: tuple[float, float],
    cut: bool,
) -> View:
    """Samples a view; with ``cut``, the frame is to cut a subject."""
    sides: tuple[Side, ...] = ("left", "right", "bottom")
    return View(
        azimuth=rng.uniform(-np.pi, np.pi),
        elevation=np.radians(rng.uniform(*elevation_degrees)),
        tangent=np.tan(np.radians(rng.uniform(*fov_degrees)) / 2),
        margin=rng.uniform(*_MARGIN),
        offset=(rng.uniform(*_OFFSET), rng.uniform(*_OFFSET)),
        cut=(sides[int(rng.integers(len(sides)))], rng.uniform(*_CUT)) if cut else None,
    )


def place_camera(
    view: View, hulls: Sequence[np.ndarray], width: int, height: int, retreat: float = 1.0
) -> tuple[Camera, int]:
    """The nearest camera of a view whose image holds every point, but for those that are cut.

    Args:
        view: the camera without its position.
        hulls: points (P, 3) of each subject in the world, the vertices of its convex hull.
        width: of the image in pixels.
        height: of the image in pixels.
        retreat: factor on the distance between camera and subjects.

    Returns:
        The camera, and the position in ``hulls`` of the subject that is cut; -1 for none.
    """
    elevation = view.elevation
    away = np.array(
        [
            np.sin(view.azimuth) * np.cos(elevation),
            -np.cos(view.azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    points = np.concatenate(hulls)
    center = (points.min(axis=0) + points.max(axis=0)) / 2
    pose = look_at(center + away, center)
    owner = np.repeat(np.arange(len(hulls)), [len(hull) for hull in hulls])
    local = (points - center) @ pose[:3, :3]
    z = local[:, 2]
    half = view.tangent * np.array([1.0, height / width])
    inner = half * (1 - view.margin)
    # A camera at (x, y, -d) sees the point (u, v, z) above the left side of its frame if
    # u - x >= -half * (z + d), or x - half * d <= u + half * z; likewise for the other sides. So
    # each side has a limit that does not depend on the position: the least distance follows.
    low = (local[:, :2] - inner * z[:, None]).max(axis=0)
    high = (local[:, :2] + inner * z[:, None]).min(axis=0)
    low_edge, high_edge, cut = inner.copy(), inner.copy(), -1
    if view.cut:
        side, share = view.cut
        axis = 1 if side == "bottom" else 0
        # How far each point reaches across the side that cuts; there is no margin on this side.
        sign = -1 if side == "left" else 1
        reach = sign * local[:, axis] - half[axis] * z
        cut = int(owner[reach.argmax()])
        own = reach[owner == cut]
        limit = max(own.max() - share * np.ptp(own), reach[owner != cut].max(initial=-np.inf))
        if side == "left":
            high[axis], high_edge[axis] = -limit, half[axis]
        else:
            low[axis], low_edge[axis] = limit, half[axis]
    distance = max(((low - high) / (low_edge + high_edge)).max(), _NEAREST - z.min()) * retreat
    first, last = low - low_edge * distance, high + high_edge * distance
    position = first + np.array(view.offset) * (last - first)
    if view.cut:
        axis, bound = {"left": (0, last), "right": (0, first), "bottom": (1, first)}[view.cut[0]]
        position[axis] = bound[axis]
    # Image rows go down: a camera further along them is lower.
    lowest = (center[2] + distance * away[2] - _LOWEST) / np.cos(elevation)
    pose[:3, 3] = center + pose[:3, :3] @ np.array(
        [position[0], min(position[1], lowest), -distance]
    )
    focal = width / 2 / view.tangent
    intrinsics = [[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]]
    camera = Camera(
        width=width,
        height=height,
        intrinsics=mat3(np.round(intrinsics, 6)),
        camera_to_world=mat4(np.round(pose, 8)),
    )
    return camera, cut
