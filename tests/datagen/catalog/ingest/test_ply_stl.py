"""PLY and STL files as scanners and CAD programs write them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from datagen.catalog.ingest.model_files import open_library
from datagen.catalog.ingest.ply import read_ply
from datagen.catalog.ingest.resolver import Resolver
from datagen.catalog.ingest.stl import read_stl
from datagen.color import linear_to_srgb
from tests.datagen.catalog.models import box, picture

CORNERS = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0.5, 1.5, 0)]


def ply(header: str, rows: str, newline: str = "\n") -> bytes:
    return f"ply\nformat ascii 1.0\n{header}end_header\n{rows}".replace("\n", newline).encode()


def resolver(library: Path) -> Resolver:
    return Resolver(open_library(str(library)), "", 1 << 20)


XYZ = "property float x\nproperty float y\nproperty float z\n"
VERTICES = "".join(f"{x} {y} {z}\n" for x, y, z in CORNERS)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_and_polygons_of_several_lengths(newline: str, library: Path) -> None:
    header = f"element vertex 5\n{XYZ}element face 2\nproperty list uchar int vertex_indices\n"
    (mesh,) = read_ply(ply(header, VERTICES + "4 0 1 2 3\n3 3 2 4\n", newline), resolver(library))
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).area == pytest.approx(1.25)
    assert mesh.material.assumed


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("newline", ["\n", "\r"])
def test_binary_strips_of_triangles(order: str, newline: str, library: Path) -> None:
    name = {"<": "little", ">": "big"}[order]
    header = (
        f"ply\nformat binary_{name}_endian 1.0\nelement vertex 5\n{XYZ}"
        "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    ).replace("\n", newline)
    strip = [0, 1, 3, 2, -1, 3, 2, 4]
    data = b"".join(struct.pack(f"{order}3f", *corner) for corner in CORNERS)
    data += struct.pack(f"{order}9i", len(strip), *strip)
    (mesh,) = read_ply(header.encode() + data, resolver(library))
    flat = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert len(flat.faces) == 3
    assert flat.area == pytest.approx(1.25)
    assert (flat.face_normals[:, 2] > 0).all()


def test_colors_of_faces_stay_on_their_faces(library: Path) -> None:
    header = (
        f"element vertex 5\n{XYZ}element face 2\nproperty list uchar int vertex_indices\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
    )
    rows = VERTICES + "4 0 1 2 3 255 0 0\n3 3 2 4 0 0 255\n"
    (mesh,) = read_ply(ply(header, rows), resolver(library))
    corners = mesh.colors[mesh.faces]
    np.testing.assert_allclose(corners[:2], np.broadcast_to([1, 0, 0], (2, 3, 3)))
    np.testing.assert_allclose(corners[2], np.broadcast_to([0, 0, 1], (3, 3)))


def test_texture_of_a_ply_file(library: Path) -> None:
    picture((0, 200, 0)).save(library / "my skin.png")
    header = (
        f"comment TextureFile my skin.png\nelement vertex 5\n{XYZ}element face 1\n"
        "property list uchar int vertex_indices\nproperty list uchar float texcoord\n"
    )
    (mesh,) = read_ply(ply(header, VERTICES + "3 0 1 2 6 0 0 1 0 1 1\n"), resolver(library))
    assert mesh.material.image.getpixel((0, 0)) == (0, 200, 0)
    np.testing.assert_allclose(mesh.uv[mesh.faces[0]], [[0, 0], [1, 0], [1, 1]])


@pytest.mark.parametrize(
    ("header", "attribute", "expected"),
    [
        (b"VisCAM", 0x8000 | 31 << 10, (1, 0, 0)),
        (b"VisCAM", 0x8000 | 31, (0, 0, 1)),
        (b"COLOR=\x00\x00\x00\xff", 31, (1, 0, 0)),
        (b"COLOR=\x00\xff\x00\xff", 0x8000, (0, 1, 0)),
        (b"plain", 0, None),
        (b"a count of bytes", 50, None),
    ],
)
def test_colors_of_binary_stl(
    header: bytes, attribute: int, expected: tuple[int, int, int] | None
) -> None:
    data = bytearray(box().export(file_type="stl"))
    data[:80] = header.ljust(80)
    for face in range(12):
        struct.pack_into("<H", data, 84 + 50 * face + 48, attribute)
    (mesh,) = read_stl(bytes(data))
    assert mesh.material.assumed == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(linear_to_srgb(np.array(mesh.material.factor)), expected)
