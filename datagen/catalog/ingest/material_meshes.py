"""Reads a model file into meshes of one material each."""

from __future__ import annotations

import io
import json
import posixpath
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh

from datagen.catalog.ingest.materials import Material, read_material, read_vertex_colors
from datagen.catalog.ingest.model_files import AssetRejected, Library
from datagen.catalog.ingest.polygons import triangulate_concave
from datagen.catalog.ingest.resolver import Resolver, check_image

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


@dataclass(frozen=True, eq=False)
class MaterialMesh:
    """Triangles of one material, in the file's own frame and unit.

    ``vertices`` (V, 3); ``faces`` (F, 3); ``normals`` (V, 3) or None; ``uv`` (V, 2) with v upward,
    or None; ``colors`` (V, 3) sRGB 0 to 1, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None
    uv: np.ndarray | None
    colors: np.ndarray | None
    material: Material


def read_material_meshes(
    library: Library, file: str, resolver: Resolver, *, max_faces: int, max_bytes: int
) -> list[MaterialMesh]:
    """Reads a model file (glb, gltf, obj, ply or stl).

    Args:
        library: the library that holds the file.
        file: its name in the library.
        resolver: reads the files that the model file names.
        max_faces: largest number of triangles.
        max_bytes: largest size of the file.

    Raises:
        AssetRejected: the file cannot be used.
        Exception: whatever a parser raises on a broken file.
    """
    suffix = posixpath.splitext(file)[1][1:].lower()
    data = library.read(file, max_bytes)
    is_gltf = suffix in ("glb", "gltf")
    if is_gltf:
        _check_gltf(data)
    elif suffix == "obj":
        data = triangulate_concave(data)
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
    faces = sum(len(mesh.faces) for _, mesh in instances)
    if faces == 0:
        raise AssetRejected("no faces", f"{len(scene.geometry)} geometries, none with a face")
    if faces > max_faces:
        raise AssetRejected("too many faces", f"{faces}, limit {max_faces}")
    return [_material_mesh(mesh, transform, is_gltf=is_gltf) for transform, mesh in instances]


def _material_mesh(mesh: trimesh.Trimesh, transform: np.ndarray, *, is_gltf: bool) -> MaterialMesh:
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
        colors=read_vertex_colors(mesh, is_linear=is_gltf),
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
