"""Composes a scene: from one row of the plan and a draw to a ``SceneSpec``, before rendering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from msgspec import Meta

from datagen.compose.captions import describe, write_prompt
from datagen.compose.environment import sample_environment, sample_view_environment_map
from datagen.compose.layout import LayoutConfig, sample_layout
from datagen.compose.plan import ScenePlan, scene_rng
from datagen.compose.props import sample_props
from datagen.raycast import Shape
from datagen.scene import Camera, Pose, SceneSpec, SubjectSpec, Vec3, ViewSpec

VIEW_ELEVATION_DEGREES = (5.0, 40.0)
"""Range of the elevation of an identity view's camera above the horizon."""

FLAT_VIEW_ELEVATION_DEGREES = 30.0
"""Lower end of that range for a subject without height, which is a line when seen from the side."""

VIEW_TURN_DEGREES = 30.0
"""Least angle between the azimuth of an identity view and that of the scene's own camera."""


@dataclass(frozen=True)
class ComposeConfig(LayoutConfig):
    """Size of the image, range of cameras, what each subject must show, and identity views."""

    identity_views: Annotated[int, Meta(ge=1, le=32)] = 2
    """Rendered identity views per subject, besides the crop from the image."""


def compose(
    plan: ScenePlan, draw: int, shapes: Sequence[Shape], config: ComposeConfig
) -> SceneSpec:
    """Decides everything about a scene, from its plan row and the number of the draw alone.

    Args:
        plan: the scene's row of the plan.
        draw: how many draws of this scene were rejected before.
        shapes: one shape per subject, in the order of ``plan.identities``.
        config: the image, the layout's limits and the number of identity views.

    Raises:
        LayoutRejected: no layout of this draw shows every subject; compose the next draw.
    """
    rng = scene_rng(plan.seed, plan.index, draw)
    layout = sample_layout(rng, plan.identities, shapes, config)
    subjects = tuple(
        SubjectSpec(
            index=index,
            identity=identity,
            caption=describe(identity),
            pose=pose,
            views=tuple(
                _sample_view(rng, identity.size, viewing_azimuth(pose, layout.camera))
                for _ in range(config.identity_views)
            ),
        )
        for index, (identity, pose) in enumerate(
            zip(plan.identities, layout.poses, strict=True), start=1
        )
    )
    group_radius = _group_radius(subjects)
    camera_distance = float(np.linalg.norm(np.array(layout.camera.camera_to_world)[:2, 3]))
    environment = sample_environment(
        rng,
        max(group_radius, camera_distance),
        group_radius,
        [identity.asset.category for identity in plan.identities],
    )
    environment = replace(
        environment, props=sample_props(rng, environment, subjects, shapes, layout.camera)
    )
    return SceneSpec(
        key=plan.key,
        split=plan.split,
        seed=plan.seed,
        draw=draw,
        camera=layout.camera,
        environment=environment,
        subjects=subjects,
        prompt=write_prompt(rng, subjects, layout.camera, environment),
    )


def viewing_azimuth(pose: Pose, camera: Camera) -> float:
    """The azimuth from which the camera sees a subject, in radians: 0 is the subject's front; it
    increases as the subject turns counter-clockwise seen from above."""
    to_eye = np.array(camera.camera_to_world)[:2, 3] - np.array(pose.position[:2])
    from_front = np.arctan2(-to_eye[0], -to_eye[1])
    return float(np.angle(np.exp(1j * (pose.yaw + from_front))))


def _sample_view(rng: np.random.Generator, size: Vec3, scene_azimuth: float) -> ViewSpec:
    """An identity view from another side than ``scene_azimuth``, that of the scene's camera."""
    low, high = VIEW_ELEVATION_DEGREES
    flatness = max(0.0, 1 - size[2] / max(size[:2]))
    low += flatness * (FLAT_VIEW_ELEVATION_DEGREES - low)
    turn = np.radians(rng.uniform(VIEW_TURN_DEGREES, 360 - VIEW_TURN_DEGREES))
    return ViewSpec(
        yaw=round(float(np.angle(np.exp(1j * (scene_azimuth + turn)))), 5),
        elevation=round(float(np.radians(rng.uniform(low, high))), 5),
        environment_map=sample_view_environment_map(rng),
    )


def _group_radius(subjects: Sequence[SubjectSpec]) -> float:
    """Radius in metres of the circle on the ground, around the world's origin, that holds every
    subject."""
    return float(
        max(
            np.linalg.norm(subject.pose.position[:2]) + np.hypot(*subject.identity.size[:2]) / 2
            for subject in subjects
        )
    )
