"""Converts the solids of an asset to one mesh per part, with normals and texture coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import trimesh

from datagen.catalog.mesh_sampling import corner_normals
from datagen.catalog.provider import UV_REPEATS
from datagen.catalog.shapes.solid import Solid

Parts = Mapping[str, Sequence[Solid]]
"""An asset: the solids of each part, by name of the part, in the asset frame."""


def part_meshes(parts: Parts) -> dict[str, trimesh.Trimesh]:
    """One mesh per part, with normals, in the canonical frame (``datagen.catalog.provider``):
    glTF's axes, origin at the centre of the bottom. The UVs count repeats of a pattern."""
    points = np.concatenate([solid.points for solids in parts.values() for solid in solids])
    low, high = points.min(axis=0), points.max(axis=0)
    origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    unit = float((high - low).max()) / UV_REPEATS
    return {name: _mesh([s.at(*-origin) for s in solids], unit) for name, solids in parts.items()}


def _mesh(solids: Sequence[Solid], unit: float) -> trimesh.Trimesh:
    """Solids as one mesh in glTF's axes. Vertices are split where normals or texture coordinates
    differ. ``unit``: metres per repeat of a pattern."""
    starts = np.cumsum([0] + [len(solid.points) for solid in solids[:-1]])
    points = np.concatenate([solid.points for solid in solids])
    faces = np.concatenate([s.faces + start for s, start in zip(solids, starts, strict=True)])
    uv = np.concatenate([_uv_in_repeats(solid, unit) for solid in solids]).reshape(-1, 2)
    points = np.column_stack([points[:, 0], points[:, 2], -points[:, 1]])
    normals = corner_normals(points[faces], None).reshape(-1, 3)
    rows = np.column_stack([faces.reshape(-1), np.round(uv, 5), np.round(normals, 4)])
    _, first, corner = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return trimesh.Trimesh(
        vertices=points[faces.reshape(-1)[first]],
        faces=corner.reshape(-1, 3),
        vertex_normals=normals[first],
        visual=trimesh.visual.TextureVisuals(uv=uv[first]),
        process=False,
    )


def _uv_in_repeats(solid: Solid, unit: float) -> np.ndarray:
    """Texture coordinates (F, 3, 2) in repeats; a whole number of them around closed rings."""
    length = solid.ring_length
    repeats = np.maximum(1.0, np.round(length / unit))
    scale = np.where(length > 0, repeats / np.maximum(length, 1e-9), 1 / unit)
    return np.stack([solid.uv[:, :, 0] * scale[:, None], solid.uv[:, :, 1] / unit], axis=2)
