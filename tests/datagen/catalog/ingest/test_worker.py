"""Ingest of one model: geometry and materials of its canonical GLB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from trimesh.visual.material import PBRMaterial

from datagen.catalog.glb import load_mesh, load_scene
from datagen.catalog.ingest.worker import IngestResult, run_job
from datagen.catalog.mesh_sampling import look_up
from tests.datagen.catalog.models import box, glb, ingest_job, picture, quad, write_obj

TURNED = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))  # z up, front -y


@dataclass(frozen=True)
class Made(IngestResult):
    """A result, and the path of the mesh."""

    path: Path = Path()


Read = Callable[..., Made]


@pytest.fixture
def read(library: Path, tmp_path: Path) -> Read:
    """Ingests a file of the library in this process."""

    def run(file: str, **facts: object) -> Made:
        path = tmp_path / "model.glb"
        job = ingest_job(library, file, path)
        return Made(**vars(run_job(replace(job, **facts))), path=path)

    return run


def test_glb_is_made_canonical(library: Path, read: Read) -> None:
    mesh = box()
    mesh.apply_translation([5, 7, -3])
    (library / "box.glb").write_bytes(glb(mesh))
    made = read("box.glb")
    assert made.size == (1.0, 0.5, 2.0)
    scene = load_scene(made.path)
    np.testing.assert_allclose(scene.bounds, [[-0.5, 0, -0.25], [0.5, 2, 0.25]], atol=1e-5)
    ours = load_mesh(made.path)
    np.testing.assert_allclose(ours.bounds, [[-0.5, -0.25, 0], [0.5, 0.25, 2]], atol=1e-5)
    assert ours.is_watertight
    assert ours.volume == pytest.approx(1.0)


@pytest.mark.parametrize("suffix", ["glb", "gltf", "obj", "ply", "stl"])
def test_every_format_gives_the_same_mesh(suffix: str, library: Path, read: Read) -> None:
    exported = trimesh.Scene(box()).export(file_type=suffix)
    files = exported if isinstance(exported, dict) else {f"model.{suffix}": exported}
    for name, data in files.items():
        (library / name).write_bytes(data.encode() if isinstance(data, str) else data)
    made = read(f"model.{suffix}")
    assert made.size == (1.0, 0.5, 2.0)
    assert load_mesh(made.path).volume == pytest.approx(1.0, rel=1e-4)


def test_rotation_and_extent_are_applied(library: Path, read: Read) -> None:
    (library / "box.stl").write_bytes(box((1, 2, 4)).export(file_type="stl"))
    made = read("box.stl", rotation=TURNED, extent=2.0)
    assert made.size == (0.5, 1.0, 2.0)
    made = read("box.stl", rotation=TURNED, extent=(0.3, 0.6, 0.9))
    assert made.size == (0.3, 0.9, 0.6)


@pytest.mark.parametrize(("length", "size"), [(2.0, 2.0), (200.0, 2.0), (5000.0, 5.0)])
def test_of_several_units_the_first_that_gives_a_usable_size_is_a_guess(
    length: float, size: float, library: Path, read: Read
) -> None:
    (library / "box.ply").write_bytes(box((length, length, length)).export(file_type="ply"))
    made = read("box.ply", units=(1.0, 0.01, 0.001))
    assert made.size == (size, size, size)
    assert made.size_guessed
    assert not read("box.ply", units=(size / length,)).size_guessed
    assert not read("box.ply", extent=1.0, units=(1.0, 0.01)).size_guessed


def test_a_size_that_no_unit_explains_is_rejected(library: Path, read: Read) -> None:
    (library / "box.ply").write_bytes(box((1e6, 1e6, 1e6)).export(file_type="ply"))
    made = read("box.ply", units=(1.0, 0.01, 0.001))
    assert made.reason == "unknown unit"
    assert "catalog.unit" in made.detail


def test_sizes_in_metres_are_believed(library: Path, read: Read) -> None:
    for name, length in (("coin", 0.02), ("truck", 12.0), ("mug", 0.1)):
        (library / f"{name}.glb").write_bytes(glb(box((length, length, length))))
    assert read("coin.glb").reason == "too small"
    assert read("truck.glb").reason == "too large"
    assert read("mug.glb").size == (0.1, 0.1, 0.1)


def test_area_color_and_spread_of_parts(library: Path, read: Read) -> None:
    image = picture((255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 4, 8))
    (library / "two.glb").write_bytes(
        trimesh.Scene(
            {
                "front": quad(image, name="Zwei Farben"),
                "side": quad(picture((0, 200, 0)), name="Zwei Farben").apply_translation([1, 0, 0]),
            }
        ).export(file_type="glb")
    )
    made = read("two.glb")
    parts = {part.name: part for part in made.parts}
    assert set(parts) == {"Zwei_Farben", "Zwei_Farben-2"}
    assert sum(part.area for part in parts.values()) == pytest.approx(1.0, abs=1e-3)
    mixed = next(part for part in parts.values() if part.spread > 0.1)
    plain = next(part for part in parts.values() if part.spread == 0)
    np.testing.assert_allclose(mixed.rgb, [0.5, 0, 0.5], atol=0.02)
    np.testing.assert_allclose(plain.rgb, [0, 200 / 255, 0], atol=0.005)
    materials = {mesh.visual.material.name for mesh in load_scene(made.path).geometry.values()}
    assert materials == set(parts)


def test_meshes_of_equal_material_are_one_part(library: Path, read: Read) -> None:
    one, other = quad(picture((9, 9, 9))), quad(picture((9, 9, 9)))
    other.apply_translation([2, 0, 0])
    (library / "pair.glb").write_bytes(trimesh.Scene([one, other]).export(file_type="glb"))
    made = read("pair.glb")
    assert len(made.parts) == 1


def test_phong_materials_are_converted_to_pbr(library: Path, read: Read) -> None:
    made = read(write_obj(library, "Kd 0.5 0.25 0.75\nKs 1 1 1\nNs 250\nd 0.3"))
    np.testing.assert_allclose(made.parts[0].rgb, [0.5, 0.25, 0.75], atol=0.01)
    (mesh,) = load_scene(made.path).geometry.values()
    material = mesh.visual.material
    assert material.roughnessFactor == pytest.approx(0.5)
    assert material.metallicFactor == 0
    assert material.alphaMode in (None, "OPAQUE")
    assert material.baseColorFactor[3] == 255


def test_texture_names_are_found_in_any_case(library: Path, read: Read) -> None:
    picture((0, 0, 200)).save(library / "Skin.PNG")
    made = read(write_obj(library, "Kd 0 0 0\nmap_Kd .\\skin.png"))
    np.testing.assert_allclose(made.parts[0].rgb, [0, 0, 200 / 255], atol=0.01)


def test_large_textures_are_reduced(library: Path, read: Read) -> None:
    (library / "big.glb").write_bytes(glb(quad(picture((1, 2, 3)).resize((3000, 1500)))))
    made = read("big.glb")
    (mesh,) = load_scene(made.path).geometry.values()
    assert mesh.visual.material.baseColorTexture.size == (1024, 512)


def test_equal_vertex_colors_are_the_color_of_the_part(library: Path, read: Read) -> None:
    mesh = box()
    mesh.visual.vertex_colors = np.tile([200, 100, 50, 255], (len(mesh.vertices), 1))
    (library / "scan.ply").write_bytes(mesh.export(file_type="ply"))
    made = read("scan.ply")
    np.testing.assert_allclose(made.parts[0].rgb, np.array([200, 100, 50]) / 255, atol=0.01)
    assert not made.color_assumed


def test_vertex_colors_are_kept_per_vertex(library: Path, read: Read) -> None:
    """Each vertex of the canonical mesh has its own colour at its place in the texture, and between
    two vertices the colour is the mean."""
    mesh = box()
    colors = np.random.default_rng(3).integers(0, 256, (len(mesh.vertices), 3))
    mesh.visual.vertex_colors = np.column_stack([colors, np.full(len(colors), 255)])
    (library / "scan.ply").write_bytes(mesh.export(file_type="ply"))
    (part,) = load_scene(read("scan.ply").path).geometry.values()
    bottom = mesh.vertices - [*mesh.vertices.mean(axis=0)[[0]], mesh.vertices[:, 1].min(), 0]
    texture = part.visual.material.baseColorTexture
    seen = look_up(texture, part.visual.uv)[:, :3] * 255
    nearest = np.linalg.norm(part.vertices[:, None] - bottom[None], axis=2).argmin(axis=1)
    np.testing.assert_allclose(seen, colors[nearest], atol=1.0)


def test_a_model_with_too_many_faces_is_decimated_with_its_texture(
    library: Path, read: Read
) -> None:
    """Red above, blue below, one texture whose halves lie on the halves of a sphere: both keep
    their area, and the surface stays closed."""
    ball = trimesh.creation.icosphere(subdivisions=5, radius=0.5)
    corners = ball.vertices[ball.faces]
    above = corners[:, :, 1].mean(axis=1) > 0
    uv = np.column_stack([corners.reshape(-1, 3)[:, 0] + 0.5, np.repeat(above * 0.5 + 0.25, 3)])
    image = picture((0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 8, 4))
    soup = trimesh.Trimesh(
        corners.reshape(-1, 3),
        np.arange(3 * len(corners)).reshape(-1, 3),
        visual=trimesh.visual.TextureVisuals(uv=uv, material=PBRMaterial(baseColorTexture=image)),
        process=False,
    )
    (library / "ball.glb").write_bytes(glb(soup))
    made = read("ball.glb", max_faces=2000)
    assert made.decimated_from == 20_480
    mesh = load_mesh(made.path)
    assert len(mesh.faces) <= 2000
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(ball.volume, rel=0.01)
    np.testing.assert_allclose(made.parts[0].rgb, [0.5, 0, 0.5], atol=0.02)
    (part,) = load_scene(made.path).geometry.values()
    red = part.visual.uv[:, 1][part.faces].mean(axis=1) > 0.5
    height = part.vertices[:, 1][part.faces].mean(axis=1) - 0.5
    assert (height[red] > -0.05).all()
    assert (height[~red] < 0.05).all()


def test_a_model_beyond_the_second_limit_of_faces_is_rejected(library: Path, read: Read) -> None:
    (library / "ball.stl").write_bytes(
        trimesh.creation.icosphere(subdivisions=4).export(file_type="stl")
    )
    made = read("ball.stl", max_faces=100, max_source_faces=5000)
    assert (made.reason, made.detail) == ("too many faces", "5120, limit 5000")


def test_concave_polygons_are_triangulated(library: Path, read: Read) -> None:
    outline = [(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]  # a U
    points = [(x, y, z) for z in (0, 1) for x, y in outline]
    sides = [(i, (i + 1) % 8, (i + 1) % 8 + 8, i + 8) for i in range(8)]
    faces = [list(range(7, -1, -1)), list(range(8, 16)), *sides]
    lines = [f"v {x} {y} {z}" for x, y, z in points]
    lines += ["f " + " ".join(str(i + 1) for i in face) for face in faces]
    (library / "u.obj").write_text("\n".join(lines))
    made = read("u.obj")
    mesh = load_mesh(made.path)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(7.0)


def test_duplicate_faces_are_dropped(library: Path, read: Read) -> None:
    mesh = box()
    doubled = trimesh.Trimesh(
        mesh.vertices, np.concatenate([mesh.faces, mesh.faces[:, ::-1]]), process=False
    )
    (library / "box.ply").write_bytes(doubled.export(file_type="ply"))
    made = read("box.ply")
    assert len(load_mesh(made.path).faces) == 12


@pytest.mark.parametrize(("extent", "reason"), [(0.02, "too small"), (7.0, "too large")])
def test_models_out_of_size_bounds_are_rejected(
    extent: float, reason: str, library: Path, read: Read
) -> None:
    (library / "box.glb").write_bytes(glb(box()))
    assert read("box.glb", extent=extent).reason == reason
