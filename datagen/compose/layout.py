"""Layout of a scene: where its subjects stand and where the camera is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from msgspec import Meta

from datagen.bounds import MAX_SIDE
from datagen.compose.arrangement import Arrangement, arrange, sample_arrangement, vary
from datagen.compose.framing import View, place_camera, sample_view
from datagen.errors import UserError
from datagen.geometry import mat3, pose_matrix, transform
from datagen.raycast import Shape, visible_index
from datagen.scene import OCCLUDED, Camera, Identity, Pose
from datagen.validation import Share

PREVIEW_PIXELS = 80
"""Longer edge of the ray-cast image on which a layout is checked."""

INDEPENDENT_TRIES = 0.4
"""Share of the tries that are independent of each other."""

RETREATS = 3
"""Steps in which the camera moves away until the subjects cover the wanted share."""

KEEP_VIEW = 0.5
"""Probability that a variation keeps the view of the best layout so far."""

FEW_SUBJECTS = 4
"""Up to this number of subjects, each must have ``LayoutConfig.min_area``; more subjects share the
area of this number."""

SLENDER = 0.25
"""Silhouette of a subject over its squared longest side, below which its least area is smaller in
proportion: a floor lamp as high as the image cannot cover much of it."""

MIN_AREA = 0.012
"""Visible area below which no subject may fall, as a share of the image. A little stricter than the
default of gate.min_area, because it is measured on a small ray-cast image."""

MIN_TRUNCATION, MAX_TRUNCATION = 0.03, 0.4
"""Range of the share of its silhouette that a subject loses where the frame cuts it."""

PictureSide = Annotated[int, Meta(ge=16, le=MAX_SIDE)]
FovDegrees = Annotated[float, Meta(ge=5, le=140)]
ElevationDegrees = Annotated[float, Meta(ge=0, le=85)]
Coverage = Annotated[float, Meta(ge=0, le=0.95)]


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
    coverage: tuple[Coverage, Coverage] = (0.35, 0.6)
    """Range of the share of the image that all subjects cover together; sampled uniformly. If no
    layout covers so much, as of a floor lamp, the one of all tries is used that covers most."""
    occluded_share: Share = 0.5
    """Share of the scenes with several subjects in which one subject must occlude another."""
    truncated_share: Share = 0.0
    """Share of the subjects that the frame cuts, at most one in a scene. It loses 3% to 40% of its
    silhouette; of all others, nothing is outside the image."""
    min_area: Annotated[float, Meta(ge=0, le=0.5)] = 0.04
    """Least visible area of each subject as a share of the image, in scenes of up to four subjects.
    In a scene of n > 4 it is 4 / n of this, and it is smaller for slender subjects. If no layout
    gives it to all subjects, the one of all tries is used that comes nearest, down to 1.2%."""
    min_visibility: Share = 0.35
    """Least visible share of each subject's silhouette. A little stricter than
    gate.min_visibility, because it is measured on a small ray-cast image before the scene is
    rendered."""
    tries: Annotated[int, Meta(ge=1, le=10_000)] = 80
    """Layouts to try before this draw of the scene is rejected, or gets the best of them."""

    def __post_init__(self) -> None:
        """Raises:
        UserError: a range whose larger value comes first.
        """
        for key in ("fov_degrees", "elevation_degrees", "coverage"):
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
    """Samples layouts and returns the first that shows every subject large enough and covers a
    share of the image that is sampled from ``config.coverage``; if there is none, the best. The
    first tries are independent of each other; later ones vary the best so far.

    Args:
        rng: source of randomness.
        identities: the subjects, in order.
        shapes: one shape per subject, scaled, in the same order.
        config: the image, the range of cameras and the limits.

    Raises:
        LayoutRejected: none of ``config.tries`` layouts will do; the reason is that of the last.
    """
    sizes = [identity.size for identity in identities]
    occlude = len(identities) > 1 and rng.random() < config.occluded_share
    cut = rng.random() < config.truncated_share * len(identities)
    coverage = rng.uniform(*config.coverage)
    limits = _Limits(_min_areas(identities, config.min_area), config.min_visibility, occlude)
    best: _Candidate | None = None
    reason = ""
    for attempt in range(config.tries):
        view = sample_view(rng, config.fov_degrees, config.elevation_degrees, cut)
        arrangement = sample_arrangement(rng, sizes, occlude)
        if best is not None and attempt >= INDEPENDENT_TRIES * config.tries:
            arrangement = vary(rng, best.arrangement)
            view = best.view if rng.random() < KEEP_VIEW else view
        poses = arrange(arrangement, sizes, view.azimuth)
        hulls = [
            transform(pose_matrix(pose), shape.hull)
            for pose, shape in zip(poses, shapes, strict=True)
        ]
        camera, which = place_camera(view, hulls, config.width, config.height)
        seen, reason = _inspect(Layout(poses, camera), shapes, which, limits)
        enough = seen.covered >= coverage
        retreat = 1.0
        for _ in range(RETREATS if enough and not reason else 0):
            # From further away, the subjects cover less: about in proportion to the squared
            # distance, but those near the camera faster.
            retreat = max(retreat * float(np.sqrt(seen.covered / coverage)), 1.0)
            camera, which = place_camera(view, hulls, config.width, config.height, retreat)
            seen, reason = _inspect(Layout(poses, camera), shapes, which, limits)
        if reason:
            continue
        if best is None or seen.score > best.seen.score:
            best = _Candidate(Layout(poses, camera), arrangement, view, seen)
        if enough and seen.large_enough == 1:
            break
    if best is None:
        raise LayoutRejected(reason)
    return best.layout


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A layout that shows every subject, what it was made from, and what is seen of it."""

    layout: Layout
    arrangement: Arrangement
    view: View
    seen: _Seen


@dataclass(frozen=True)
class _Seen:
    """How well an image shows its subjects. ``large_enough``: the smallest ratio of a subject's
    visible area to its wanted area, at most 1. ``covered``: share of the image that all subjects
    cover."""

    large_enough: float
    covered: float

    @property
    def score(self) -> float:
        """The larger, the better."""
        return self.large_enough * self.covered


@dataclass(frozen=True, eq=False)
class _Limits:
    """What a layout must show: ``areas`` (N,), the wanted visible area of each subject as a share
    of the image; ``visibility``, the least visible share of each silhouette; whether one subject
    must ``occlude`` another."""

    areas: np.ndarray
    visibility: float
    occlude: bool


def _min_areas(identities: Sequence[Identity], min_area: float) -> np.ndarray:
    """The wanted visible area (N,) of each subject, as ``LayoutConfig.min_area`` says."""
    fill = np.array([(item.apparent_size / max(item.size)) ** 2 for item in identities])
    shares: np.ndarray = np.minimum(fill / SLENDER, 1) * min(FEW_SUBJECTS / len(identities), 1)
    return min_area * shares


def _inspect(
    layout: Layout, shapes: Sequence[Shape], cut: int, limits: _Limits
) -> tuple[_Seen, str]:
    """Ray-casts a preview of a layout.

    Args:
        layout: the poses and the camera.
        shapes: one shape per subject, in order.
        cut: position of the subject that the frame is to cut; -1 for none.
        limits: what the layout must show.

    Returns:
        What is seen, and why the layout is rejected: empty for a good one.
    """
    camera = _preview(layout.camera)
    depths = [
        shape.depth_in_image(pose, camera) for shape, pose in zip(shapes, layout.poses, strict=True)
    ]
    visible = np.bincount(visible_index(depths).ravel(), minlength=len(shapes) + 1)[1:]
    areas = visible / depths[0].size
    silhouettes = np.array([np.count_nonzero(depth) for depth in depths])
    wanted = np.maximum(limits.areas, 1e-6)
    seen = _Seen(float(min((areas / wanted).min(), 1.0)), float(areas.sum()))
    if (areas < np.minimum(limits.areas, MIN_AREA)).any():
        return seen, "subject too small"
    visibility = (visible / np.maximum(silhouettes, 1)).min()
    if visibility < limits.visibility:
        return seen, "subject hidden"
    if limits.occlude and visibility >= OCCLUDED:
        return seen, "nothing occluded"
    if cut >= 0:
        extent = shapes[cut].extent(layout.poses[cut], camera)
        if extent is None:
            return seen, "subject at the lens"
        whole = np.count_nonzero(shapes[cut].depth(layout.poses[cut], camera, extent))
        if not MIN_TRUNCATION <= 1 - silhouettes[cut] / max(whole, 1) <= MAX_TRUNCATION:
            return seen, "not cut as wanted"
    return seen, ""


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
