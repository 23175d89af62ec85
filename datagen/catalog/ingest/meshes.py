"""The form that every reader of a model format gives a model: meshes of one material each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datagen.catalog.ingest.materials import Material


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


def split_corners(
    vertices: np.ndarray, faces: np.ndarray, face_colors: np.ndarray, material: Material
) -> MaterialMesh:
    """A mesh with one colour per face: each face gets vertices of its own.

    Args:
        vertices: (V, 3).
        faces: (F, 3).
        face_colors: (F, 3), sRGB 0 to 1.
        material: of all faces.
    """
    return MaterialMesh(
        vertices=vertices[faces].reshape(-1, 3),
        faces=np.arange(3 * len(faces)).reshape(-1, 3),
        normals=None,
        uv=None,
        colors=np.repeat(face_colors, 3, axis=0),
        material=material,
    )
