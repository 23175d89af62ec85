"""Ground and walls of an environment as a GLB."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trimesh

from datagen.compose.environment import sample_environment
from datagen.compose.props import prop_kinds
from datagen.render.environment_mesh import _seed, write_environment_mesh
from datagen.scene import (
    Environment,
    EnvironmentMap,
    Light,
    Pose,
    Prop,
    Room,
    Surface,
    Table,
)

OPEN = replace(
    sample_environment(np.random.default_rng(0), 2.0, 1.0, ["bush"]),
    ground=Surface("sand", "beige", 1.5),
    room=(),
    table=(),
)
PROPS = tuple(
    Prop(kind, (0.3, 0.2, 0.4), Pose((x, 1.0, 0.0), 0.0), "#808080")
    for x, kind in enumerate(prop_kinds())
)
INSIDE = replace(OPEN, room=(Room((6.0, 4.0), 2.5, Surface("pastel", "green", 2.0)),))


def meshes_of(environment: Environment, folder: Path) -> dict[str, trimesh.Trimesh]:
    path = folder / "environment_mesh.glb"
    write_environment_mesh(environment, path, 512)
    return dict(trimesh.load_scene(path).geometry)


def test_outdoor_ground_is_flat_and_wide(tmp_path: Path) -> None:
    meshes = meshes_of(OPEN, tmp_path)
    assert list(meshes) == ["ground"]
    ground = meshes["ground"]
    assert np.allclose(ground.vertices[:, 1], 0)
    assert np.allclose(ground.face_normals, [0, 1, 0])
    assert ground.extents[[0, 2]].min() >= 60
    assert np.hypot(*(ground.bounds[1, [0, 2]])) < 65.5


def test_walls_enclose_the_ground_and_face_inward(tmp_path: Path) -> None:
    meshes = meshes_of(INSIDE, tmp_path)
    walls = meshes["walls"]
    assert np.allclose(walls.bounds, np.array([[-3, 0, -2], [3, 2.5, 2]]))
    assert np.allclose(meshes["ground"].extents, [6, 0, 4])
    to_center = -walls.triangles_center * [1, 0, 1]
    assert (np.einsum("ij,ij->i", to_center, walls.face_normals) > 0).all()
    assert meshes["skirting"].bounds[1, 1] < 0.2


def test_a_table_is_at_the_ground_and_the_room_below_it(tmp_path: Path) -> None:
    table = Table((1.2, 0.8), 0.74, Surface("planks", "brown", 1.5))
    meshes = meshes_of(replace(INSIDE, table=(table,)), tmp_path)
    assert np.allclose(meshes["ground"].bounds, [[-0.6, 0, -0.4], [0.6, 0, 0.4]])
    assert np.allclose(meshes["floor"].bounds, [[-3, -0.74, -2], [3, -0.74, 2]])
    assert np.allclose(meshes["walls"].bounds[:, 1], [-0.74, 2.5 - 0.74])
    low, high = meshes["table"].bounds
    assert low[1] == pytest.approx(-0.74)
    assert high[1] < 0, "the top, with its texture, is the ground"


def test_every_kind_of_prop_fills_its_box(tmp_path: Path) -> None:
    meshes = meshes_of(replace(OPEN, props=PROPS), tmp_path)
    for number, prop in enumerate(PROPS):
        parts = [mesh for name, mesh in meshes.items() if name.startswith(f"prop {number}.")]
        bounds = np.array([mesh.bounds for mesh in parts])
        low, high = bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)
        x, _, _ = prop.pose.position
        assert np.allclose(low, [x - 0.15, 0, -1.1], atol=0.02), prop.kind
        assert np.allclose(high, [x + 0.15, 0.4, -0.9], atol=0.02), prop.kind


def test_texture_repeats_follow_the_span(tmp_path: Path) -> None:
    meshes = meshes_of(INSIDE, tmp_path)
    for name, span in (("ground", 1.5), ("walls", 2.0)):
        mesh = meshes[name]
        metres = np.linalg.norm(
            mesh.vertices[mesh.edges[:, 0]] - mesh.vertices[mesh.edges[:, 1]], axis=1
        )
        uv = mesh.visual.uv
        repeats = np.linalg.norm(uv[mesh.edges[:, 0]] - uv[mesh.edges[:, 1]], axis=1)
        assert np.allclose(repeats * span, metres, atol=1e-3)


@pytest.mark.parametrize("name", ["baseColorTexture", "metallicRoughnessTexture", "normalTexture"])
def test_ground_and_walls_have_textures(name: str, tmp_path: Path) -> None:
    for part in ("ground", "walls"):
        texture = getattr(meshes_of(INSIDE, tmp_path)[part].visual.material, name)
        assert texture.size == (512, 512)
        assert np.asarray(texture).std() > 0


@pytest.mark.slow
def test_environment_mesh_bytes_are_deterministic_across_processes(tmp_path: Path) -> None:
    here, there = tmp_path / "here.glb", tmp_path / "there.glb"
    write_environment_mesh(INSIDE, here, 512)
    code = (
        "import sys, msgspec; from pathlib import Path; from datagen.scene import Environment\n"
        "from datagen.render.environment_mesh import write_environment_mesh\n"
        "environment = msgspec.json.decode(sys.argv[1], type=Environment)\n"
        "write_environment_mesh(environment, Path(sys.argv[2]), 512)"
    )
    subprocess.run(
        [sys.executable, "-c", code, msgspec.json.encode(INSIDE).decode(), str(there)], check=True
    )
    assert here.read_bytes() == there.read_bytes()
    write_environment_mesh(replace(INSIDE, phrase="another"), there, 512)
    assert here.read_bytes() != there.read_bytes()


def test_texture_size_follows_the_image_size(tmp_path: Path) -> None:
    edges = {}
    for pixels in (64, 256, 2048):
        write_environment_mesh(OPEN, tmp_path / "environment_mesh.glb", pixels)
        ground = trimesh.load_scene(tmp_path / "environment_mesh.glb").geometry["ground"]
        edges[pixels] = ground.visual.material.baseColorTexture.size[0]
    assert edges[64] == 128
    assert edges[256] == edges[2048]


def test_texture_seed_is_that_of_the_first_datasets() -> None:
    """Another seed gives the same scenes other grounds, as a renamed field once did."""
    environment = Environment(
        "p",
        "q",
        EnvironmentMap("forest", 0.5, 0.25),
        (Light("sun", (0, 0, 5), (0.3, 0.5, -1.0), 1.5, 0.05, (1.0, 1.0, 1.0)),),
        Surface("concrete", "gray"),
        (),
    )
    assert bytes(_seed(environment)[:8]).hex() == "04b5c8e525d01e32"
