"""Where subjects and camera go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from msgspec import Meta

from datagen.geometry import corners, look_at, mat3, mat4, pose_matrix, project, transform
from datagen.raycast import Shape, frame, nearest
from datagen.scene import OCCLUDED, Camera, Identity, Pose, Vec3
from datagen.shards.codec import MAX_SIDE
from datagen.validation import Share

PLACEMENT_TRIES = 60
PREVIEW_PIXELS = 128
MAX_TRUNCATION = 0.25


PictureSide = Annotated[int, Meta(ge=16, le=MAX_SIDE)]
FovDegrees = Annotated[float, Meta(ge=5, le=140)]
ElevationDegrees = Annotated[float, Meta(ge=0, le=85)]


@dataclass(frozen=True)
class LayoutConfig:
    """The picture, and what a layout must achieve in it."""

    width: PictureSide = 256
    """Of the picture, in pixels."""
    height: PictureSide = 256
    """Of the picture, in pixels."""
    fov_degrees: tuple[FovDegrees, FovDegrees] = (30.0, 60.0)
    """Range that the camera's field of view (horizontal) is drawn from."""
    elevation_degrees: tuple[ElevationDegrees, ElevationDegrees] = (8.0, 40.0)
    """Range that the camera's elevation is drawn from."""
    occluded_share: Share = 0.5
    """Share of multi-subject scenes in which a subject must hide part of another."""
    min_area: Annotated[float, Meta(ge=0, le=0.5)] = 0.012
    """As in the gate and a little stricter, measured here on a small ray-cast picture."""
    min_visibility: Share = 0.35
    """As in the gate and a little stricter, measured here on a small ray-cast picture."""
    tries: Annotated[int, Meta(ge=1, le=10_000)] = 40
    """Layouts drawn before the scene is refused."""
    identity_views: Annotated[int, Meta(ge=1, le=32)] = 2
    """Rendered views a subject, the crop apart."""


@dataclass(frozen=True)
class Layout:
    """A pose a subject, in order, and the camera that sees them. The subjects stand around the
    world's origin."""

    poses: tuple[Pose, ...]
    camera: Camera


class Refused(Exception):
    """A scene that no draw of this seed can lay out. ``reason`` is a stable phrase."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def draw_layout(
    rng: np.random.Generator,
    identities: Sequence[Identity],
    shapes: Sequence[Shape],
    config: LayoutConfig,
) -> Layout:
    """The first of ``config.tries`` draws that shows every subject; ``shapes``: one a subject.
    Raises Refused with the reason of the last."""
    occlude = len(identities) > 1 and rng.random() < config.occluded_share
    reason = ""
    for attempt in range(config.tries):
        azimuth = rng.uniform(-np.pi, np.pi)
        # Many subjects fill the picture only when they stand close: closer with every try.
        looseness = rng.uniform(0.65, 1.5 - 0.7 * attempt / config.tries)
        poses = _place(rng, [identity.size for identity in identities], azimuth, looseness, occlude)
        if poses is None:
            reason = "subjects do not fit"
            continue
        boxes = [
            transform(pose_matrix(pose), corners(identity.size))
            for pose, identity in zip(poses, identities, strict=True)
        ]
        layout = Layout(poses, _frame(rng, boxes, azimuth, config))
        reason = _objection(layout, shapes, boxes, occlude, config)
        if not reason:
            return layout
    raise Refused(reason)


def _place(
    rng: np.random.Generator,
    sizes: Sequence[Vec3],
    azimuth: float,
    looseness: float,
    occlude: bool,
) -> tuple[Pose, ...] | None:
    """Poses whose footprints keep apart, so that no two subjects interpenetrate. Footprints are
    drawn in the camera's ground frame (right, away), from a disc of ``looseness`` times the
    radius of one with their total area, and turned by ``azimuth`` into the world. With
    ``occlude`` the second subject goes behind the first or before it."""
    radius = looseness * np.sqrt(sum(x * y for x, y, _ in sizes))
    gap = 0.02 * max(max(size) for size in sizes)
    placed: list[tuple[np.ndarray, float]] = []
    footprints: list[np.ndarray] = []
    for i, size in enumerate(sizes):
        for _ in range(PLACEMENT_TRIES):
            if occlude and i == 1:
                across = rng.uniform(-0.4, 0.4) * (size[0] + sizes[0][0])
                reach = (np.hypot(*size[:2]) + np.hypot(*sizes[0][:2])) / 2
                away = rng.choice([-1, 1]) * rng.uniform(0.7, 1.6) * reach
                at = placed[0][0] + [across, away]
            else:
                turn, out = rng.uniform(-np.pi, np.pi), radius * np.sqrt(rng.random())
                at = out * np.array([np.cos(turn), np.sin(turn)])
            yaw = rng.uniform(-np.pi, np.pi)
            footprint = _footprint(at, yaw, size, gap)
            if not any(_overlap(footprint, other) for other in footprints):
                placed.append((at, yaw))
                footprints.append(footprint)
                break
        else:
            return None
    spots = np.array([at for at, _ in placed])
    centre = (spots.min(axis=0) + spots.max(axis=0)) / 2
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    to_world = np.array([[cos, -sin], [sin, cos]])
    poses = []
    for at, yaw in placed:
        x, y = to_world @ (at - centre)
        heading = np.angle(np.exp(1j * (yaw + azimuth)))
        poses.append(Pose((round(float(x), 5), round(float(y), 5), 0.0), round(float(heading), 5)))
    return tuple(poses)


def _footprint(at: np.ndarray, yaw: float, size: Vec3, gap: float) -> np.ndarray:
    """The ground rectangle (4, 2) of a subject, wider by half of ``gap`` on each side."""
    unit = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    cos, sin = np.cos(yaw), np.sin(yaw)
    return unit * (np.array(size[:2]) + gap) @ np.array([[cos, sin], [-sin, cos]]) + at


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Separating axis test of two rectangles (4, 2)."""
    for rectangle in (a, b):
        for axis in (rectangle[1] - rectangle[0], rectangle[2] - rectangle[1]):
            p, q = a @ axis, b @ axis
            if p.max() <= q.min() or q.max() <= p.min():
                return False
    return True


def _frame(
    rng: np.random.Generator, boxes: Sequence[np.ndarray], azimuth: float, config: LayoutConfig
) -> Camera:
    """A camera that looks along ``azimuth`` (0: along +y) and holds every box with a drawn
    margin, a negative one cutting into the outermost subject."""
    points = np.concatenate(boxes)
    target = (points.min(axis=0) + points.max(axis=0)) / 2
    elevation = np.radians(rng.uniform(*config.elevation_degrees))
    tangent = np.tan(np.radians(rng.uniform(*config.fov_degrees)) / 2)
    margin = rng.uniform(-0.05, 0.15)
    away = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            -np.cos(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    # A point at (x, y, z) of a camera that stands at the target needs |x| <= t (z + distance).
    local = transform(np.linalg.inv(look_at(target + away, target)), points)
    local[:, 2] -= 1.0
    half = tangent * (1 - margin) * np.array([1.0, config.height / config.width])
    distance = (np.abs(local[:, :2]) / half - local[:, 2:]).max()
    distance = max(distance, 0.1 - local[:, 2].min())
    focal = config.width / 2 / tangent
    intrinsics = [[focal, 0, config.width / 2], [0, focal, config.height / 2], [0, 0, 1]]
    pose = look_at(target + distance * away, target)
    return Camera(
        width=config.width,
        height=config.height,
        intrinsics=mat3(np.round(intrinsics, 6)),
        camera_to_world=mat4(np.round(pose, 8)),
    )


def _objection(
    layout: Layout,
    shapes: Sequence[Shape],
    boxes: Sequence[np.ndarray],
    occlude: bool,
    config: LayoutConfig,
) -> str:
    """What is wrong with a layout, on a ray-cast preview; empty when nothing is."""
    for box in boxes:
        x, y, depth = project(layout.camera, box).T
        outside = (x < 0) | (x > config.width) | (y < 0) | (y > config.height)
        if depth.min() < 0.05:
            return "subject at the lens"
        if outside.mean() > MAX_TRUNCATION:
            return "subject cut by the frame"
    camera = _preview(layout.camera)
    depths = [
        shape.depth(pose, camera, frame(camera))
        for shape, pose in zip(shapes, layout.poses, strict=True)
    ]
    seen = np.bincount(nearest(depths).ravel(), minlength=len(shapes) + 1)[1:]
    if seen.min() < config.min_area * depths[0].size:
        return "subject too small"
    visibility = seen / [np.count_nonzero(depth) for depth in depths]
    if visibility.min() < config.min_visibility:
        return "subject hidden"
    if occlude and visibility.min() >= OCCLUDED:
        return "nothing occluded"
    return ""


def _preview(camera: Camera) -> Camera:
    """The same camera with no more than ``PREVIEW_PIXELS`` an edge."""
    scale = min(PREVIEW_PIXELS / max(camera.width, camera.height), 1.0)
    intrinsics = np.array(camera.intrinsics)
    intrinsics[:2] *= scale
    return replace(
        camera,
        width=round(camera.width * scale),
        height=round(camera.height * scale),
        intrinsics=mat3(intrinsics),
    )
