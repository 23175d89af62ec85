"""Reads a model file into meshes of one material each."""

from __future__ import annotations

import io
import json
import posixpath
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import trimesh

from datagen.catalog.ingest.file_checks import check_complete, check_content
from datagen.catalog.ingest.materials import read_material, read_vertex_colors
from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected, Library
from datagen.catalog.ingest.obj import read_obj
from datagen.catalog.ingest.ply import read_ply
from datagen.catalog.ingest.resolver import Resolver, check_image
from datagen.catalog.ingest.stl import read_stl

# glTF extensions that change geometry or base colour and that trimesh does not apply.
UNSUPPORTED = frozenset(
    {
        "EXT_meshopt_compression",
        "KHR_draco_mesh_compression",
        "KHR_mesh_quantization",
        "KHR_texture_basisu",
        "KHR_texture_transform",
    }
)


def read_material_meshes(
    library: Library,
    file: str,
    resolver: Resolver,
    *,
    srgb_materials: bool,
    max_faces: int,
    max_bytes: int,
) -> list[MaterialMesh]:
    """Reads a model file (glb, gltf, obj, ply or stl).

    trimesh reads glTF; the other formats have readers of their own.

    Args:
        library: the library that holds the file.
        file: its name in the library.
        resolver: reads the files that the model file names.
        srgb_materials: as in ``ModelSource``.
        max_faces: largest number of triangles.
        max_bytes: largest size of the file.

    Raises:
        AssetRejected: the file cannot be used.
        Exception: whatever a parser raises on a broken file.
    """
    suffix = posixpath.splitext(file)[1][1:].lower()
    data = library.read(file, max_bytes)
    check_content(file, data)
    check_complete(file, suffix, data)
    if suffix == "obj":
        meshes = read_obj(data, resolver, srgb_materials=srgb_materials)
    elif suffix == "ply":
        meshes = read_ply(data, resolver)
    elif suffix == "stl":
        meshes = read_stl(data)
    else:
        return _read_gltf(data, suffix, resolver, max_faces)
    _check_faces(sum(len(mesh.faces) for mesh in meshes), max_faces)
    return meshes


def _check_faces(faces: int, max_faces: int) -> None:
    """Raises ``AssetRejected`` for a model without a face or with more than ``max_faces``."""
    if faces == 0:
        raise AssetRejected("no faces", "points or lines only")
    if faces > max_faces:
        raise AssetRejected("too many faces", f"{faces}, limit {max_faces}")


def _read_gltf(data: bytes, suffix: str, resolver: Resolver, max_faces: int) -> list[MaterialMesh]:
    """The meshes of a glTF file, one for each node that shows one."""
    _check_gltf(data)
    scene = trimesh.load_scene(io.BytesIO(data), file_type=suffix, resolver=resolver, process=False)
    if resolver.problem:
        raise resolver.problem
    instances: list[tuple[np.ndarray, trimesh.Trimesh]] = []
    for node in sorted(scene.graph.nodes_geometry):
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
            instances.append((np.asarray(transform), mesh))
    # Counted before they are copied: a node of a few bytes may repeat a whole mesh.
    _check_faces(sum(len(mesh.faces) for _, mesh in instances), max_faces)
    return [_material_mesh(mesh, transform) for transform, mesh in instances]


def _material_mesh(mesh: trimesh.Trimesh, transform: np.ndarray) -> MaterialMesh:
    """A mesh of trimesh's scene, transformed by ``transform`` (4, 4) into the scene's frame."""
    linear = transform[:3, :3]
    faces = np.asarray(mesh.faces)
    vertices = np.asarray(mesh.vertices) @ linear.T + transform[:3, 3]
    normals = None
    if "vertex_normals" in mesh._cache.cache:  # read from the file; else trimesh computes them
        normals = np.asarray(mesh.vertex_normals) @ np.linalg.pinv(linear)
    if np.linalg.det(linear) < 0:
        faces = faces[:, ::-1]
    uv = getattr(mesh.visual, "uv", None)
    if uv is not None and (len(uv) != len(vertices) or not np.isfinite(uv).all()):
        uv = None
    return MaterialMesh(
        vertices=vertices,
        faces=faces,
        normals=normals,
        uv=None if uv is None else np.asarray(uv, float)[:, :2],
        colors=read_vertex_colors(mesh, is_linear=True),
        material=read_material(mesh),
    )


def _check_gltf(data: bytes) -> None:
    """Raises ``AssetRejected`` for a glTF file that trimesh would read wrongly, or of which it
    would leave out a part without an error."""
    binary = 0
    if data[:4] == b"glTF":
        binary = 20 + struct.unpack_from("<I", data, 12)[0]
        header = json.loads(data[20:binary])
    else:
        header = json.loads(data)
    unsupported = UNSUPPORTED.intersection(header.get("extensionsUsed", ()))
    if unsupported:
        raise AssetRejected("unsupported extension", ", ".join(sorted(unsupported)))
    for view in _embedded_images(header):
        start = binary + 8 + view.get("byteOffset", 0)
        check_image(data[start : start + view["byteLength"]], "embedded image")


def _embedded_images(header: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The buffer views of the images that are stored in the file itself."""
    for image in header.get("images", ()):
        if "bufferView" in image:
            view = header["bufferViews"][image["bufferView"]]
            if "uri" not in header["buffers"][view["buffer"]]:
                yield view
