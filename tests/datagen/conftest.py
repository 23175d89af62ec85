"""A simple scene of a box and a ball, rendered once by Blender."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trimesh

from datagen.geometry import look_at, mat4
from datagen.raycast import Shape
from datagen.render.renderer import RenderConfig, Renderer, WorkerConfig
from datagen.render.rendering import Rendering
from datagen.scene import (
    Appearance,
    Asset,
    Camera,
    Environment,
    EnvironmentMap,
    Identity,
    Light,
    Pose,
    Prompt,
    SceneSpec,
    SubjectSpec,
    Surface,
    ViewSpec,
)

Y_UP = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Asset frame (z up) to the glTF frame (y up)."""


@dataclass(frozen=True)
class Stage:
    """A scene with everything that is needed to render and annotate it."""

    spec: SceneSpec
    models: tuple[Path, ...]
    shapes: tuple[Shape, ...]
    environment_mesh: Path


def write_glb(mesh: trimesh.Trimesh, color: tuple[int, int, int], path: Path) -> Path:
    mesh = mesh.copy()
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=[*color, 255], roughnessFactor=0.6, metallicFactor=0.0
    )
    mesh.visual = trimesh.visual.TextureVisuals(material=material)
    mesh.apply_transform(Y_UP)
    trimesh.Scene(mesh).export(path)
    return path


def make_identity(name: str, size: tuple[float, float, float]) -> Identity:
    asset = Asset(
        id=f"test/{name}",
        category=name,
        noun=name,
        size=size,
        silhouette=size[0] * size[2],
        parts=(),
        recolorable=False,
        source="tests",
        author="SIGMA-SET27K authors",
        license="CC0-1.0",
        digest=name,
    )
    return Identity(id=f"id-{name}", asset=asset, appearance=Appearance(1.0, ()))


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A red box (0.4 x 0.6 x 0.8 m) that occludes part of a blue ball (0.6 m)."""
    folder = tmp_path_factory.mktemp("stage")
    box = trimesh.creation.box((0.4, 0.6, 0.8))
    box.apply_translation((0, 0, 0.4))
    ball = trimesh.creation.icosphere(4, 0.3)
    ball.apply_translation((0, 0, 0.3))
    ground = trimesh.creation.box((40, 40, 0.1))
    ground.apply_translation((0, 0, -0.05))
    width, height, focal = 160, 120, 180.0
    camera = Camera(
        width=width,
        height=height,
        intrinsics=((focal, 0.0, width / 2), (0.0, focal, height / 2), (0.0, 0.0, 1.0)),
        camera_to_world=mat4(look_at(np.array([0.4, -2.6, 1.2]), np.array([0.0, 0.0, 0.3]))),
    )
    views = (
        ViewSpec(0.0, 0.2, EnvironmentMap("studio", 0.0, 1.0)),
        ViewSpec(np.pi / 2, 0.2, EnvironmentMap("sunset", 1.0, 1.0)),
    )
    subjects = (
        SubjectSpec(
            1, make_identity("box", (0.4, 0.6, 0.8)), "a box", Pose((-0.2, -0.2, 0.0), 0.4), views
        ),
        SubjectSpec(
            2, make_identity("ball", (0.6, 0.6, 0.6)), "a ball", Pose((0.1, 0.6, 0.0), 0.0), views
        ),
    )
    spec = SceneSpec(
        key="000001",
        split="train",
        seed=7,
        draw=0,
        camera=camera,
        environment=Environment(
            place="test",
            phrase="on the ground",
            environment_map=EnvironmentMap("forest", 0.5, 0.5),
            lights=(Light("sun", (0, 0, 5), (0.3, 0.5, -1.0), 1.5, 0.05, (1.0, 1.0, 1.0)),),
            ground=Surface("concrete", "gray"),
            room=(),
        ),
        subjects=subjects,
        prompt=Prompt("a box and a ball on the ground", "the ground"),
    )
    return Stage(
        spec=spec,
        models=(
            write_glb(box, (200, 30, 30), folder / "box.glb"),
            write_glb(ball, (30, 40, 200), folder / "ball.glb"),
        ),
        shapes=(Shape(box), Shape(ball)),
        environment_mesh=write_glb(ground, (120, 110, 100), folder / "ground.glb"),
    )


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    """A renderer shared by the tests that do not kill its worker."""
    renderer = Renderer(RenderConfig(samples=8, view_samples=4, identity_size=64), WorkerConfig())
    yield renderer
    renderer.close()


@pytest.fixture(scope="session")
def rendered(renderer: Renderer, stage: Stage) -> Rendering:
    return Rendering.from_npz(renderer.render(stage.spec, stage.models, stage.environment_mesh))
