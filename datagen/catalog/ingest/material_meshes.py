"""Reads a model file into meshes of one material each."""

from __future__ import annotations

import io
import posixpath

import numpy as np
import trimesh

from datagen.catalog.ingest.gltf.document import read_container
from datagen.catalog.ingest.gltf.reader import read_gltf
from datagen.catalog.ingest.materials import MaterialMesh, read_material, read_vertex_colors
from datagen.catalog.ingest.model_files import AssetRejected, Library
from datagen.catalog.ingest.polygons import triangulate_concave
from datagen.catalog.ingest.resolver import Resolver


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
    if suffix in ("glb", "gltf"):
        return read_gltf(read_container(data), resolver, max_faces)
    if suffix == "obj":
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
        colors=read_vertex_colors(mesh),
        material=read_material(mesh),
    )
