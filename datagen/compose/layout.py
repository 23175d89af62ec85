"""Layout of a scene: where its subjects stand and where the camera is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from msgspec import Meta

from datagen.errors import UserError
from datagen.geometry import corners, look_at, mat3, mat4, pose_matrix, project, transform
from datagen.raycast import Shape, image_window, visible_index
from datagen.scene import MAX_SIDE, OCCLUDED, Camera, Identity, Pose, Vec3
from datagen.validation import Share

PLACEMENT_TRIES = 60
"""Positions sampled for a subject before the layout is given up."""

PREVIEW_PIXELS = 128
"""Longer edge of the ray-cast image on which a layout is checked."""

MAX_TRUNCATION = 0.25
"""Largest share of the corners of a subject's box that may project outside the image."""


PictureSide = Annotated[int, Meta(ge=16, le=MAX_SIDE)]
FovDegrees = Annotated[float, Meta(ge=5, le=140)]
ElevationDegrees = Annotated[float, Meta(ge=0, le=85)]


@dataclass(frozen=True)
class LayoutConfig:
    """Size of the image, range of cameras, and what each subject must show in the image."""

    width: PictureSide = 256
    """Width of the image in pixels."""
    height: PictureSide = 256
    """Height of the image in pixels."""
    fov_degrees: tuple[FovDegrees, FovDegrees] = (30.0, 60.0)
    """Range of the camera's horizontal field of view, in degrees; sampled uniformly."""
    elevation_degrees: tuple[ElevationDegrees, ElevationDegrees] = (8.0, 40.0)
    """Range of the camera's elevation above the horizon, in degrees; sampled uniformly."""
    occluded_share: Share = 0.5
    """Share of the scenes with several subjects in which one subject must occlude another."""
    min_area: Annotated[float, Meta(ge=0, le=0.5)] = 0.012
    """Least visible area of each subject as a share of the image. A little stricter than
    gate.min_area, because it is measured on a small ray-cast image before the scene is rendered."""
    min_visibility: Share = 0.35
    """Least visible share of each subject's silhouette. A little stricter than
    gate.min_visibility, because it is measured on a small ray-cast image before the scene is
    rendered."""
    tries: Annotated[int, Meta(ge=1, le=10_000)] = 40
    """Layouts to try before this draw of the scene is rejected."""

    def __post_init__(self) -> None:
        """Raises:
        UserError: a range whose larger value comes first.
        """
        for key in ("fov_degrees", "elevation_degrees"):
            low, high = getattr(self, key)
            if low > high:
                raise UserError(
                    f"layout.{key}: [{low:g}, {high:g}], expected the smaller value first"
                )


@dataclass(frozen=True)
class Layout:
    """One pose per subject, in order, and the camera. The subjects stand around the world's
    origin."""

    poses: tuple[Pose, ...]
    camera: Camera


class LayoutRejected(Exception):
    """No layout of this draw shows every subject. ``reason`` is a stable phrase to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def sample_layout(
    rng: np.random.Generator,
    identities: Sequence[Identity],
    shapes: Sequence[Shape],
    config: LayoutConfig,
) -> Layout:
    """Samples layouts and returns the first that shows every subject.

    Args:
        rng: source of randomness.
        identities: the subjects, in order.
        shapes: one shape per subject, scaled, in the same order.
        config: the image, the range of cameras and the limits.

    Raises:
        LayoutRejected: none of ``config.tries`` layouts will do; the reason is that of the last.
    """
    occlude = len(identities) > 1 and rng.random() < config.occluded_share
    reason = ""
    for attempt in range(config.tries):
        azimuth = rng.uniform(-np.pi, np.pi)
        # Many subjects fill the image only if they stand close together: closer with every try.
        looseness = rng.uniform(0.65, 1.5 - 0.7 * attempt / config.tries)
        sizes = [identity.size for identity in identities]
        poses = _sample_poses(rng, sizes, azimuth, looseness, occlude)
        if poses is None:
            reason = "subjects do not fit"
            continue
        boxes = [
            transform(pose_matrix(pose), corners(identity.size))
            for pose, identity in zip(poses, identities, strict=True)
        ]
        layout = Layout(poses, _sample_camera(rng, boxes, azimuth, config))
        reason = _rejection_reason(layout, shapes, boxes, occlude, config)
        if not reason:
            return layout
    raise LayoutRejected(reason)


def _sample_poses(
    rng: np.random.Generator,
    sizes: Sequence[Vec3],
    azimuth: float,
    looseness: float,
    occlude: bool,
) -> tuple[Pose, ...] | None:
    """Poses whose footprints do not overlap, so that no two subjects interpenetrate; None where no
    position is found for a subject.

    Positions are sampled in the camera's ground frame (right, away from the camera), in a disc
    whose radius is ``looseness`` times that of a disc with the footprints' total area, then
    rotated by ``azimuth`` into the world. With ``occlude`` the second subject is put behind or in
    front of the first.
    """
    radius = looseness * np.sqrt(sum(x * y for x, y, _ in sizes))
    gap = 0.02 * max(max(size) for size in sizes)
    placed: list[tuple[np.ndarray, float]] = []
    footprints: list[np.ndarray] = []
    for i, size in enumerate(sizes):
        for _ in range(PLACEMENT_TRIES):
            if occlude and i == 1:
                right = rng.uniform(-0.4, 0.4) * (size[0] + sizes[0][0])
                radii = (np.hypot(*size[:2]) + np.hypot(*sizes[0][:2])) / 2
                away = rng.choice([-1, 1]) * rng.uniform(0.7, 1.6) * radii
                position = placed[0][0] + [right, away]
            else:
                angle, distance = rng.uniform(-np.pi, np.pi), radius * np.sqrt(rng.random())
                position = distance * np.array([np.cos(angle), np.sin(angle)])
            yaw = rng.uniform(-np.pi, np.pi)
            footprint = _footprint(position, yaw, size, gap)
            if not any(_overlap(footprint, other) for other in footprints):
                placed.append((position, yaw))
                footprints.append(footprint)
                break
        else:
            return None
    positions = np.array([position for position, _ in placed])
    centre = (positions.min(axis=0) + positions.max(axis=0)) / 2
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    to_world = np.array([[cos, -sin], [sin, cos]])
    poses = []
    for position, yaw in placed:
        x, y = to_world @ (position - centre)
        world_yaw = round(float(np.angle(np.exp(1j * (yaw + azimuth)))), 5)
        poses.append(Pose((round(float(x), 5), round(float(y), 5), 0.0), world_yaw))
    return tuple(poses)


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


def _sample_camera(
    rng: np.random.Generator, boxes: Sequence[np.ndarray], azimuth: float, config: LayoutConfig
) -> Camera:
    """A camera that looks along ``azimuth`` (0: along +y). Its image holds every box (8, 3) with a
    sampled margin; a negative margin cuts into the outermost subject."""
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
    # In the frame of a camera at the target, a point (x, y, z) is inside the image of a camera that
    # is ``distance`` further back if |x| <= half * (z + distance).
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


def _rejection_reason(
    layout: Layout,
    shapes: Sequence[Shape],
    boxes: Sequence[np.ndarray],
    occlude: bool,
    config: LayoutConfig,
) -> str:
    """Why a layout is rejected, measured on a ray-cast preview; empty for a good layout."""
    for box in boxes:
        x, y, depth = project(layout.camera, box).T
        outside = (x < 0) | (x > config.width) | (y < 0) | (y > config.height)
        if depth.min() < 0.05:
            return "subject at the lens"
        if outside.mean() > MAX_TRUNCATION:
            return "subject cut by the frame"
    camera = _preview(layout.camera)
    depths = [
        shape.depth(pose, camera, image_window(camera))
        for shape, pose in zip(shapes, layout.poses, strict=True)
    ]
    visible = np.bincount(visible_index(depths).ravel(), minlength=len(shapes) + 1)[1:]
    if visible.min() < config.min_area * depths[0].size:
        return "subject too small"
    visibility = visible / [np.count_nonzero(depth) for depth in depths]
    if visibility.min() < config.min_visibility:
        return "subject hidden"
    if occlude and visibility.min() >= OCCLUDED:
        return "nothing occluded"
    return ""


def _preview(camera: Camera) -> Camera:
    """The same camera with at most ``PREVIEW_PIXELS`` along the image's longer edge."""
    scale = min(PREVIEW_PIXELS / max(camera.width, camera.height), 1.0)
    intrinsics = np.array(camera.intrinsics)
    intrinsics[:2] *= scale
    return replace(
        camera,
        width=round(camera.width * scale),
        height=round(camera.height * scale),
        intrinsics=mat3(intrinsics),
    )
