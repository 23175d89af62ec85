"""OBJ files and their material libraries: what the format leaves open is decided as stated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.catalog.ingest.material_meshes import read_material_meshes
from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected, open_library
from datagen.catalog.ingest.resolver import Resolver
from datagen.color import linear_to_srgb
from tests.datagen.catalog.models import picture

QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACE = "usemtl paint\nf 1/1 2/2 3/3 4/4\n"


def read(
    library: Path, obj: str, mtl: str = "", *, srgb: bool = False, newline: str = "\n"
) -> MaterialMesh:
    """Reads an OBJ file of one material."""
    text = ("mtllib paint.mtl\n" if mtl else "") + obj
    (library / "model.obj").write_bytes(text.replace("\n", newline).encode())
    if mtl:
        (library / "paint.mtl").write_text(mtl)
    files = open_library(str(library))
    (mesh,) = read_material_meshes(
        files,
        "model.obj",
        Resolver(files, "", 1 << 20),
        srgb_materials=srgb,
        max_faces=1000,
        max_bytes=1 << 20,
    )
    return mesh


def color(mesh: MaterialMesh) -> np.ndarray:
    return linear_to_srgb(np.array(mesh.material.factor))


@pytest.mark.parametrize(
    ("comment", "srgb", "linear"),
    [
        ("# Blender 3.3.0 MTL File: 'bottle.blend'", False, True),
        ("# Blender MTL File: 'None'", False, True),
        ("# Blender 3.3.0 MTL File: 'bottle.blend'", True, False),
        ("# Blender3D MTL File: old.blend", False, False),  # 2.4: no colour management yet
        ("# 3ds Max Wavefront OBJ Exporter", False, False),
        ("", False, False),
    ],
)
def test_kd_is_linear_where_blender_has_written_it(
    comment: str, srgb: bool, linear: bool, library: Path
) -> None:
    mesh = read(library, QUAD + FACE, f"{comment}\n\nnewmtl paint\nKd 0.5 0.2 0\n", srgb=srgb)
    values = np.array([0.5, 0.2, 0.0])
    np.testing.assert_allclose(color(mesh), linear_to_srgb(values) if linear else values, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "opacity"),
    [
        ("Tr 1", "Tr 1", 1.0),
        ("Tr 0", "Tr 0", 1.0),
        ("Tr 1", "Tr 0\nnewmtl third\nTr 0", 0.0),
        ("Tr 0.4", "Tr 0", 0.6),
        ("Tr 1\nd 1", "Tr 0", 1.0),
        ("d 0.3\nTr 0.7", "", 0.3),
        ("d -halo 0.25", "", 0.25),
    ],
)
def test_opacity_by_d_and_tr(first: str, second: str, opacity: float, library: Path) -> None:
    mtl = f"newmtl paint\nKd 1 0 0\n{first}\nnewmtl other\n{second}\n"
    assert read(library, QUAD + FACE, mtl).material.opacity == pytest.approx(opacity)


@pytest.mark.parametrize(
    ("line", "u", "v"),
    [
        ("skin one.png", (0, 1), (0, 1)),
        ("-s 2 3 1 -o 0.1 0.2 0 skin one.png", (0.1, 2.1), (0.2, 3.2)),
        ("-o 0.5 skin one.png", (0.5, 1.5), (0, 1)),
        ("-blendu on -bm 0.3 -mm 0 1 -texres 512 -imfchan m skin one.png", (0, 1), (0, 1)),
        ("-CLAMP off -s 2 2 skin one.png", (0, 2), (0, 2)),
    ],
)
def test_texture_options(
    line: str, u: tuple[float, float], v: tuple[float, float], library: Path
) -> None:
    picture((9, 200, 9)).save(library / "skin one.png")
    mesh = read(library, QUAD + FACE, f"newmtl paint\nKd 0 0 0\nmap_Kd {line}\n")
    assert mesh.material.image is not None
    np.testing.assert_allclose([mesh.uv.min(axis=0), mesh.uv.max(axis=0)], np.transpose([u, v]))
    np.testing.assert_allclose(mesh.material.factor, 1)


def test_a_clamped_texture_shows_its_edge_outside(library: Path) -> None:
    image = picture((255, 0, 0))
    image.paste((0, 0, 255), (4, 0, 8, 8))  # left half red, right half blue
    image.save(library / "skin.png")
    mesh = read(library, QUAD + FACE, "newmtl paint\nmap_Kd -clamp on -s 3 1 1 skin.png\n")
    pixels = np.asarray(mesh.material.image)
    assert mesh.uv.min() >= 0
    assert mesh.uv.max() <= 1
    # Two thirds of the surface and half of the first one are blue.
    assert (pixels[..., 2] == 255).mean() == pytest.approx(5 / 6, abs=0.01)


def test_an_option_that_changes_colors_is_refused(library: Path) -> None:
    picture((9, 200, 9)).save(library / "skin.png")
    with pytest.raises(AssetRejected, match="unsupported texture option: paint: -mm"):
        read(library, QUAD + FACE, "newmtl paint\nmap_Kd -mm 0.5 2 skin.png\n")


def test_textures_are_relative_to_the_material_library(library: Path) -> None:
    (library / "sub").mkdir()
    picture((200, 0, 0)).save(library / "skin.png")
    picture((0, 200, 0)).save(library / "sub/skin.png")
    (library / "sub/paint.mtl").write_text("newmtl paint\nmap_Kd skin.png\n")
    mesh = read(library, "mtllib sub\\paint.mtl\n" + QUAD + FACE)
    assert mesh.material.image.getpixel((0, 0)) == (0, 200, 0)
    (library / "sub/skin.png").unlink()  # then beside the OBJ file
    mesh = read(library, "mtllib sub/paint.mtl\n" + QUAD + FACE)
    assert mesh.material.image.getpixel((0, 0)) == (200, 0, 0)


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("two  spaces.png", "two  spaces.png"),
        ("skin.png", '"skin.png"'),
        ("my skin.png", "my%20skin.png"),
        ("my%20skin.png", "my%20skin.png"),
        ("Skin.PNG", "skin.png"),
        ("skin.png", "C:\\work\\textures\\skin.png"),  # of whoever made the file
        ("skin.png", "/home/me/skin.png"),
    ],
)
def test_names_of_textures(file: str, written: str, library: Path) -> None:
    picture((0, 200, 0)).save(library / file)
    mesh = read(library, QUAD + FACE, f"newmtl paint\nmap_Kd -s 1 1 1 {written}\n")
    assert mesh.material.image.getpixel((0, 0)) == (0, 200, 0)


def test_a_gray_texture_of_16_bits(library: Path) -> None:
    Image.fromarray(np.full((8, 8), 30_000, np.uint16)).save(library / "skin.png")
    mesh = read(library, QUAD + FACE, "newmtl paint\nmap_Kd skin.png\n")
    assert mesh.material.image.getpixel((0, 0)) == (116, 116, 116)


def test_only_formats_of_images_are_textures(library: Path) -> None:
    """PIL would start another program for this one."""
    (library / "skin.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(AssetRejected, match=r"unreadable texture: skin\.png"):
        read(library, QUAD + FACE, "newmtl paint\nmap_Kd skin.png\n")


def test_several_material_libraries(library: Path) -> None:
    (library / "a b.mtl").write_text("newmtl other\nKd 0 1 0\n")
    (library / "c.MTL").write_text("newmtl paint\nKd 0 0 1\n")
    mesh = read(library, 'mtllib a b.mtl "c.MTL"\n' + QUAD + FACE)
    np.testing.assert_allclose(color(mesh), [0, 0, 1])


def test_a_missing_material_library_gives_an_assumed_gray(library: Path) -> None:
    mesh = read(library, "mtllib gone.mtl\n" + QUAD + FACE)
    assert mesh.material.assumed
    np.testing.assert_allclose(color(mesh), 0.8)
    assert not read(library, QUAD + FACE, "newmtl paint\nKd 1 0 0\n").material.assumed


@pytest.mark.parametrize("scale", [1, 255])
def test_vertex_colors_beside_uvs(scale: int, library: Path) -> None:
    lines = QUAD.splitlines()
    colors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]) * scale
    lines[:4] = [f"{v} {r} {g} {b}" for v, (r, g, b) in zip(lines[:4], colors, strict=True)]
    mesh = read(library, "\n".join([*lines, "f 1/1 2/2 3/3 4/4", ""]))
    np.testing.assert_allclose(mesh.colors, colors / scale)
    assert not mesh.material.assumed


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_relative_indices_count_from_the_line(newline: str, library: Path) -> None:
    """Two triangles; after each one's vertices its face."""
    obj = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 0 0 5\nv 1 0 5\nv 0 1 5\nf -3 -2 -1\n"
    mesh = read(library, obj, newline=newline)
    np.testing.assert_allclose(mesh.vertices[mesh.faces][:, :, 2], [[0, 0, 0], [5, 5, 5]])


def test_a_face_of_a_vertex_that_is_not_there(library: Path) -> None:
    with pytest.raises(AssetRejected, match="a face names vertex 9, and the file has 4"):
        read(library, QUAD + "f 1 2 9\n")
