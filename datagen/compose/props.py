"""Props: small things in the background that are no subjects and never hide one.

To add a kind, add an entry to assets/props.yaml; no code is needed, except for a new form
(``datagen.render.props``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from scipy import ndimage

from datagen import resources
from datagen.compose.arrangement import footprints_overlap
from datagen.geometry import corners, pose_matrix, project, transform
from datagen.raycast import Shape
from datagen.scene import Camera, Environment, Pose, Prop, SubjectSpec, Vec3

Form = Literal["box", "picture", "rock", "rod", "tuft"]

# Positions sampled for a prop before it is left out.
_TRIES = 12
# Furthest prop on the ground, as a factor on the distance between the camera and the origin.
_FARTHEST = 2.5
# Nearest prop to the camera, as a share of that distance.
_NEAREST = 0.35
# Height in metres above the floor of the centre of a picture on a wall.
_EYE_LEVEL = 1.5


@dataclass(frozen=True)
class PropEntry:
    """One entry of assets/props.yaml."""

    form: Form
    places: tuple[str, ...]
    count: tuple[int, int]
    size: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    colors: tuple[str, ...]
    like: tuple[str, ...] = ()


@cache
def prop_kinds() -> dict[str, PropEntry]:
    """Every kind of prop by name."""
    return resources.load("props.yaml", dict[str, PropEntry])


def sample_props(
    rng: np.random.Generator,
    environment: Environment,
    subjects: Sequence[SubjectSpec],
    shapes: Sequence[Shape],
    camera: Camera,
) -> tuple[Prop, ...]:
    """Samples the props of a scene: in the image, inside no subject and hiding none.

    Args:
        rng: source of randomness.
        environment: the place.
        subjects: the subjects, posed.
        shapes: one shape per subject, scaled, in order.
        camera: the scene's camera.
    """
    categories = {subject.identity.asset.category for subject in subjects}
    depths = [
        shape.depth_in_image(subject.pose, camera)
        for shape, subject in zip(shapes, subjects, strict=True)
    ]
    # One pixel more on every side: a renderer may draw a rim where another does not.
    farthest = ndimage.grey_dilation(np.maximum.reduce(depths), size=3)
    taken = [(subject.pose, subject.identity.size) for subject in subjects]
    props: list[Prop] = []
    for kind, entry in prop_kinds().items():
        if environment.place not in entry.places or categories & {kind, *entry.like}:
            continue
        for _ in range(int(rng.integers(entry.count[0], entry.count[1] + 1))):
            color = entry.colors[int(rng.integers(len(entry.colors)))]
            x, y, z = (round(float(rng.uniform(*extent)), 4) for extent in entry.size)
            size = (x, y, z)
            for _ in range(_TRIES):
                on_wall = entry.form == "picture"
                pose = (
                    _on_wall(rng, environment, size)
                    if on_wall
                    else _on_ground(rng, environment, size, camera)
                )
                if pose is None or not _is_clear(pose, size, camera, farthest):
                    continue
                if any(footprints_overlap(pose, size, *other) for other in taken):
                    continue
                taken.append((pose, size))
                props.append(Prop(kind, size, pose, color))
                break
    return tuple(props)


def _on_ground(
    rng: np.random.Generator, environment: Environment, size: Vec3, camera: Camera
) -> Pose | None:
    """A pose below a random pixel of the image; None where there is no ground, too near or too far
    to be a detail of the scene, or no space in the room or on the table."""
    matrix = np.array(camera.camera_to_world)
    (focal_x, _, center_x), (_, focal_y, center_y), _ = camera.intrinsics
    u, v = rng.uniform(0, camera.width), rng.uniform(0, camera.height)
    yaw = round(float(rng.uniform(-np.pi, np.pi)), 5)
    ray = matrix[:3, :3] @ [(u - center_x) / focal_x, (v - center_y) / focal_y, 1.0]
    distance = float(np.linalg.norm(matrix[:3, 3]))
    if ray[2] >= 0:
        return None
    along = -matrix[2, 3] / ray[2]
    if not _NEAREST * distance < along < _FARTHEST * distance:
        return None
    x, y = (round(float(value), 5) for value in (matrix[:3, 3] + along * ray)[:2])
    margin = np.hypot(*size[:2]) / 2
    for length, width in [item.size for item in environment.table or environment.room]:
        if abs(x) + margin > length / 2 or abs(y) + margin > width / 2:
            return None
    return Pose((x, y, 0.0), yaw)


def _on_wall(rng: np.random.Generator, environment: Environment, size: Vec3) -> Pose | None:
    """A pose on one of the four walls, its front to the room; None where there are no walls."""
    turn, share = int(rng.integers(4)), rng.uniform(-0.8, 0.8)
    for room in environment.room:
        half = np.array(room.size) / 2
        yaw = turn * np.pi / 2
        # The back of an asset is at +y.
        outward = np.round([-np.sin(yaw), np.cos(yaw)])
        along = np.array([outward[1], -outward[0]])
        x, y = outward * (half - size[1] / 2) + along * (half - size[0] / 2) * share
        floor = -sum(table.height for table in environment.table)
        bottom = floor + _EYE_LEVEL - size[2] / 2
        return Pose(
            (round(float(x), 5), round(float(y), 5), round(bottom, 5)),
            round(float(np.angle(np.exp(1j * yaw))), 5),
        )
    return None


def _is_clear(pose: Pose, size: Vec3, camera: Camera, farthest: np.ndarray) -> bool:
    """Whether a box is in the image and in front of no subject.

    Args:
        pose: of the box.
        size: of the box in metres.
        camera: the scene's camera.
        farthest: (H, W) z-depth of the farthest subject at each pixel, 0 where there is none.
    """
    x, y, depth = project(camera, transform(pose_matrix(pose), corners(size))).T
    if depth.min() <= 0.05:
        return False
    left, top = max(int(x.min()), 0), max(int(y.min()), 0)
    right, bottom = min(int(x.max()) + 1, camera.width), min(int(y.max()) + 1, camera.height)
    if left >= right or top >= bottom:
        return False
    return bool(farthest[top:bottom, left:right].max() < depth.min())
