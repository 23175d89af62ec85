"""Reduces the number of faces of a model.

``fast-simplification`` collapses edges by quadric error (Garland and Heckbert 1997, "Surface
Simplification Using Quadric Error Metrics"). It knows positions only: material, texture coordinates
and colours are looked up on the original surface afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import fast_simplification
import numpy as np

from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected

AGGRESSIVENESS = (7.0, 14.0)
"""How fast the tolerated error grows; the second is tried where the first ends above the target."""


def face_count(meshes: Sequence[MaterialMesh]) -> int:
    """Number of triangles of all meshes."""
    return sum(len(mesh.faces) for mesh in meshes)


def decimate(meshes: Sequence[MaterialMesh], max_faces: int) -> list[MaterialMesh]:
    """The meshes with at most ``max_faces`` triangles in all, without normals.

    Raises:
        AssetRejected: they cannot be simplified that far.
    """
    if face_count(meshes) <= max_faces:
        return list(meshes)
    points, faces = _welded(meshes)
    for aggressiveness in AGGRESSIVENESS:
        reduced = fast_simplification.simplify(
            points, faces, target_count=max_faces, agg=aggressiveness
        )
        if len(reduced[1]) <= max_faces:
            break
    else:
        detail = f"{face_count(meshes)}, which become {len(reduced[1])} at least"
        raise AssetRejected("too many faces", detail)
    corners = reduced[0][reduced[1]]
    owner, found = _Surface(meshes).attributes(corners)
    made = [_mesh(mesh, corners[owner == i], found[owner == i]) for i, mesh in enumerate(meshes)]
    return [mesh for mesh in made if len(mesh.faces)]


def _welded(meshes: Sequence[MaterialMesh]) -> tuple[np.ndarray, np.ndarray]:
    """All triangles as one mesh, (V, 3) and (F, 3): positions once, so that no seam opens."""
    corners = np.concatenate([mesh.vertices[mesh.faces].reshape(-1, 3) for mesh in meshes])
    step = np.ptp(corners, axis=0).max() * 1e-6
    _, first, index = np.unique(
        np.round(corners / step), axis=0, return_index=True, return_inverse=True
    )
    faces = index.reshape(-1, 3)
    distinct = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return corners[first], np.ascontiguousarray(faces[distinct], np.int32)


class _Surface:
    """The triangles of the original meshes, to look up what is where on them."""

    def __init__(self, meshes: Sequence[MaterialMesh]) -> None:
        import open3d  # 1 s, and only large models need it

        self._corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes])
        self._owner = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes])
        self._table = np.concatenate([_table(mesh)[mesh.faces] for mesh in meshes])
        scene = open3d.t.geometry.RaycastingScene(nthreads=1)
        flat = np.ascontiguousarray(self._corners.reshape(-1, 3), np.float32)
        scene.add_triangles(flat, np.arange(len(flat), dtype=np.uint32).reshape(-1, 3))
        self._scene = scene

    def attributes(self, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a decimated surface takes from the original one.

        Args:
            corners: (F, 3, 3) of the decimated faces.

        Returns:
            The number of the mesh (F,) whose surface is nearest to a face's centre, and UV and
            colour (F, 3, 5) of its corners. Where a corner lies on another mesh, or beyond a seam
            of the texture, the triangle at the centre is continued.
        """
        centre = corners.mean(axis=1)
        triangle, _ = self._nearest(centre)
        nearest, here = self._nearest((0.98 * corners + 0.02 * centre[:, None]).reshape(-1, 3))
        nearest, here = nearest.reshape(-1, 3), here.reshape(-1, 3, 5)
        continued = self._continued(np.repeat(triangle, 3), corners.reshape(-1, 3)).reshape(
            -1, 3, 5
        )
        size = np.linalg.norm(continued - continued.mean(axis=1, keepdims=True), axis=2)
        jump = np.linalg.norm(here - continued, axis=2)
        owner = self._owner[triangle]
        fits = (self._owner[nearest] == owner[:, None]) & (jump <= size.max(axis=1)[:, None] + 0.01)
        return owner, np.where(fits[..., None], here, continued)

    def _nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The triangle nearest to each point, and UV and colour (N, 5) of its nearest place."""
        answer = self._scene.compute_closest_points(np.ascontiguousarray(points, np.float32))
        triangle = answer["primitive_ids"].numpy().astype(int)
        v, w = answer["primitive_uvs"].numpy().astype(float).T
        weights = np.column_stack([1 - v - w, v, w])
        return triangle, np.einsum("nc,nck->nk", weights, self._table[triangle])

    def _continued(self, triangle: np.ndarray, points: np.ndarray) -> np.ndarray:
        """UV and colour (N, 5) of points by the planes of triangles that they need not be in."""
        a, b, c = self._corners[triangle].transpose(1, 0, 2)
        edges = np.stack([b - a, c - a], axis=2)
        v, w = np.einsum("nkd,nd->nk", np.linalg.pinv(edges), points - a).T
        weights = np.column_stack([1 - v - w, v, w])
        return np.einsum("nc,nck->nk", weights, self._table[triangle])


def _table(mesh: MaterialMesh) -> np.ndarray:
    """UV and colour (V, 5) of each vertex, 0 for what the mesh does not have."""
    table = np.zeros((len(mesh.vertices), 5))
    if mesh.uv is not None:
        table[:, :2] = mesh.uv
    if mesh.colors is not None:
        table[:, 2:] = mesh.colors
    return table


def _mesh(original: MaterialMesh, corners: np.ndarray, found: np.ndarray) -> MaterialMesh:
    """The decimated faces of one mesh. Normals are computed later, as for any model without."""
    flat = found.reshape(-1, 5)
    return MaterialMesh(
        vertices=corners.reshape(-1, 3),
        faces=np.arange(3 * len(corners)).reshape(-1, 3),
        normals=None,
        uv=None if original.uv is None else flat[:, :2],
        colors=None if original.colors is None else np.clip(flat[:, 2:], 0, 1),
        material=original.material,
    )
