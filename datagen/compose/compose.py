"""One plan row and a draw to one scene as decided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datagen.compose.captions import describe, write_prompt
from datagen.compose.environment import draw_environment, draw_view_environment_map
from datagen.compose.layout import LayoutConfig, draw_layout
from datagen.compose.plan import ScenePlan, scene_rng
from datagen.raycast import Shape
from datagen.scene import Camera, Pose, SceneSpec, SubjectSpec, Vec3, ViewSpec

VIEW_ELEVATION_DEGREES = (5.0, 40.0)
FLAT_VIEW_ELEVATION_DEGREES = 30.0
"""A view of something with no height starts at this elevation: from the side it is a line."""

VIEW_TURN_DEGREES = 30.0
"""An identity view is turned at least this far from how the scene's camera sees the subject."""


def compose(plan: ScenePlan, draw: int, shapes: Sequence[Shape], config: LayoutConfig) -> SceneSpec:
    """Everything that there is to decide about a scene, from its plan row and ``draw`` alone.
    ``shapes``: one a subject. Raises ``layout.Refused``."""
    rng = scene_rng(plan.seed, plan.index, draw)
    layout = draw_layout(rng, plan.identities, shapes, config)
    subjects = tuple(
        SubjectSpec(
            index=index,
            identity=identity,
            caption=describe(identity),
            pose=pose,
            views=tuple(
                _draw_view(rng, identity.size, seen_azimuth(pose, layout.camera))
                for _ in range(config.identity_views)
            ),
        )
        for index, (identity, pose) in enumerate(
            zip(plan.identities, layout.poses, strict=True), start=1
        )
    )
    environment = draw_environment(rng, _reach(subjects, layout.camera))
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


def seen_azimuth(pose: Pose, camera: Camera) -> float:
    """From which side the camera sees a subject: 0 the front, rising as the subject turns
    counter-clockwise seen from above."""
    eye = np.array(camera.camera_to_world)[:2, 3] - np.array(pose.position[:2])
    from_front = np.arctan2(-eye[0], -eye[1])
    return float(np.angle(np.exp(1j * (pose.yaw + from_front))))


def _draw_view(rng: np.random.Generator, size: Vec3, seen: float) -> ViewSpec:
    low, high = VIEW_ELEVATION_DEGREES
    flatness = max(0.0, 1 - size[2] / max(size[:2]))
    low += flatness * (FLAT_VIEW_ELEVATION_DEGREES - low)
    turn = np.radians(rng.uniform(VIEW_TURN_DEGREES, 360 - VIEW_TURN_DEGREES))
    return ViewSpec(
        yaw=round(float(np.angle(np.exp(1j * (seen + turn)))), 5),
        elevation=round(float(np.radians(rng.uniform(low, high))), 5),
        environment_map=draw_view_environment_map(rng),
    )


def _reach(subjects: Sequence[SubjectSpec], camera: Camera) -> float:
    """How far from the origin the scene goes, on the ground, in metres."""
    eye = np.linalg.norm(np.array(camera.camera_to_world)[:2, 3])
    return float(
        max(
            eye,
            *(
                np.linalg.norm(subject.pose.position[:2]) + np.hypot(*subject.identity.size[:2]) / 2
                for subject in subjects
            ),
        )
    )
