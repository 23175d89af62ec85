"""Reduces the number of faces of a model.

meshoptimizer collapses edges by quadric error (Garland and Heckbert 1997, "Surface Simplification
Using Quadric Error Metrics") of positions and of normals, texture coordinates and colours together.
It keeps vertices where they are and both sides of a texture's seam together, so that textures stay
on their places. (fast-simplification, which trimesh uses, knows positions only.)
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace

import meshoptimizer
import numpy as np

from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected

MAX_ERROR = 0.02
"""Largest distance, as a share of the model's largest extent, by which decimation may move the
surface."""
# How much a difference of 1 in each component of normal, UV and colour counts, against a distance
# of the model's largest extent.
_WEIGHTS = np.array([0.2] * 3 + [0.5] * 2 + [0.2] * 3, np.float32)


def face_count(meshes: Sequence[MaterialMesh]) -> int:
    """Number of triangles of all meshes."""
    return sum(len(mesh.faces) for mesh in meshes)


def decimate(meshes: Sequence[MaterialMesh], max_faces: int) -> list[MaterialMesh]:
    """The meshes with at most ``max_faces`` triangles in all.

    Raises:
        AssetRejected: the surface would move by more than ``MAX_ERROR``.
    """
    if face_count(meshes) <= max_faces:
        return list(meshes)
    reduced = _simplify([_weld(mesh) for mesh in meshes], max_faces)
    if face_count(reduced) > max_faces:
        # Where each face has normals of its own, no edge can be collapsed. Without normals, they
        # are computed later, as for any model that has none.
        smooth = [_weld(replace(mesh, normals=None)) for mesh in meshes]
        reduced = _simplify(smooth, max_faces)
    if face_count(reduced) > max_faces:
        raise AssetRejected(
            "too many faces",
            f"{face_count(meshes)}, and fewer than {face_count(reduced)} would move its surface by "
            f"more than {MAX_ERROR:.0%} of its size",
        )
    return [mesh for mesh in reduced if len(mesh.faces)]


def _weld(mesh: MaterialMesh) -> MaterialMesh:
    """The mesh with one vertex for all that are equal; vertices without a face are dropped."""
    table = np.round(_table(mesh), 6).astype(np.float32) + 0.0
    index = np.ascontiguousarray(mesh.faces.ravel(), np.uint32)
    welded = np.empty(len(table), np.uint32)
    length = meshoptimizer.generate_vertex_remap(
        welded, index, vertices=np.ascontiguousarray(table)
    )
    kept = np.zeros(length, int)
    used = np.flatnonzero(welded < length)
    kept[welded[used]] = used
    return replace(
        mesh,
        vertices=mesh.vertices[kept],
        faces=welded[mesh.faces].astype(int),
        normals=None if mesh.normals is None else mesh.normals[kept],
        uv=None if mesh.uv is None else mesh.uv[kept],
        colors=None if mesh.colors is None else mesh.colors[kept],
    )


def _table(mesh: MaterialMesh) -> np.ndarray:
    """Position, normal, UV and colour (V, 11) of each vertex, 0 for what the mesh does not have."""
    table = np.zeros((len(mesh.vertices), 11))
    table[:, :3] = mesh.vertices
    if mesh.normals is not None:
        length = np.linalg.norm(mesh.normals, axis=1, keepdims=True)
        table[:, 3:6] = mesh.normals / np.where(length > 1e-12, length, 1)
    if mesh.uv is not None:
        table[:, 6:8] = mesh.uv
    if mesh.colors is not None:
        table[:, 8:11] = mesh.colors
    return table


def _simplify(meshes: Sequence[MaterialMesh], max_faces: int) -> list[MaterialMesh]:
    """The meshes with ``max_faces`` triangles, or as near to it as ``MAX_ERROR`` allows. They are
    simplified as one, so that no gap opens between two materials."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=False)])
    table = np.concatenate([_table(mesh) for mesh in meshes]).astype(np.float32)
    index = np.ascontiguousarray(faces.ravel(), np.uint32)
    result = np.empty_like(index)
    positions, attributes = np.ascontiguousarray(table[:, :3]), np.ascontiguousarray(table[:, 3:])
    # This function of meshoptimizer 0.2.30 does not declare the types of its C arguments.
    length = meshoptimizer.simplify_with_attributes(
        result,
        index,
        positions,
        attributes,
        _WEIGHTS,
        index_count=ctypes.c_size_t(len(index)),
        vertex_count=ctypes.c_size_t(len(positions)),
        vertex_positions_stride=ctypes.c_size_t(positions.strides[0]),
        vertex_attributes_stride=ctypes.c_size_t(attributes.strides[0]),
        attribute_count=ctypes.c_size_t(len(_WEIGHTS)),
        target_index_count=ctypes.c_size_t(3 * max_faces),
        target_error=ctypes.c_float(MAX_ERROR),
        options=ctypes.c_uint(meshoptimizer.SIMPLIFY_PRUNE),
    )
    kept = result[:length].reshape(-1, 3).astype(int)
    owner = np.searchsorted(starts, kept[:, 0], side="right") - 1
    return [replace(mesh, faces=kept[owner == i] - starts[i]) for i, mesh in enumerate(meshes)]
