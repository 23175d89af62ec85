from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trimesh

from datagen.compose.environment import draw_environment
from datagen.render.environment_mesh import write_environment_mesh
from datagen.scene import Environment, Room, Surface

OPEN = replace(
    draw_environment(np.random.default_rng(0), 2.0), ground=Surface("sand", "beige", 1.5), room=()
)
INSIDE = replace(OPEN, room=(Room((6.0, 4.0), 2.5, Surface("pastel", "green", 2.0)),))


def built(environment: Environment, folder: Path) -> dict[str, trimesh.Trimesh]:
    path = folder / "environment_mesh.glb"
    write_environment_mesh(environment, path, 512)
    return dict(trimesh.load_scene(path).geometry)


def test_open_ground_is_flat_and_wide(tmp_path: Path) -> None:
    meshes = built(OPEN, tmp_path)
    assert list(meshes) == ["ground"]
    ground = meshes["ground"]
    assert np.allclose(ground.vertices[:, 1], 0)
    assert np.allclose(ground.face_normals, [0, 1, 0])
    assert ground.extents[[0, 2]].min() >= 60
    assert np.hypot(*(ground.bounds[1, [0, 2]])) < 65.5


def test_walls_stand_around_the_ground_and_face_inward(tmp_path: Path) -> None:
    meshes = built(INSIDE, tmp_path)
    walls = meshes["walls"]
    assert np.allclose(walls.bounds, np.array([[-3, 0, -2], [3, 2.5, 2]]))
    assert np.allclose(meshes["ground"].extents, [6, 0, 4])
    toward = -walls.triangles_center * [1, 0, 1]
    assert (np.einsum("ij,ij->i", toward, walls.face_normals) > 0).all()
    assert meshes["skirting"].bounds[1, 1] < 0.2


def test_a_texture_spans_what_the_surface_says(tmp_path: Path) -> None:
    meshes = built(INSIDE, tmp_path)
    for name, span in (("ground", 1.5), ("walls", 2.0)):
        mesh = meshes[name]
        metres = np.linalg.norm(
            mesh.vertices[mesh.edges[:, 0]] - mesh.vertices[mesh.edges[:, 1]], axis=1
        )
        uv = mesh.visual.uv
        repeats = np.linalg.norm(uv[mesh.edges[:, 0]] - uv[mesh.edges[:, 1]], axis=1)
        assert np.allclose(repeats * span, metres, atol=1e-3)


@pytest.mark.parametrize("name", ["baseColorTexture", "metallicRoughnessTexture", "normalTexture"])
def test_surfaces_are_textured(name: str, tmp_path: Path) -> None:
    for part in ("ground", "walls"):
        texture = getattr(built(INSIDE, tmp_path)[part].visual.material, name)
        assert texture.size == (512, 512)
        assert np.asarray(texture).std() > 0


def test_the_same_environment_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
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


def test_textures_are_no_finer_than_the_picture_can_show(tmp_path: Path) -> None:
    edges = {}
    for pixels in (64, 256, 2048):
        write_environment_mesh(OPEN, tmp_path / "environment_mesh.glb", pixels)
        ground = trimesh.load_scene(tmp_path / "environment_mesh.glb").geometry["ground"]
        edges[pixels] = ground.visual.material.baseColorTexture.size[0]
    assert edges[64] == 128
    assert edges[256] == edges[2048]
