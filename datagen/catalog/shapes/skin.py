"""Solids to meshes: where light and patterns go on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import trimesh

from datagen.catalog.mesh_sampling import corner_normals
from datagen.catalog.provider import UV_REPEATS
from datagen.catalog.shapes.solid import Solid

# An asset: the solids of each of its parts.
Parts = Mapping[str, Sequence[Solid]]


def meshes(parts: Parts) -> dict[str, trimesh.Trimesh]:
    """One mesh a part, textured and shaded, in the canonical frame of ``base``: glTF's axes,
    origin at the centre of the bottom. The UVs count repeats of a pattern."""
    everything = np.concatenate([solid.points for solids in parts.values() for solid in solids])
    low, high = everything.min(axis=0), everything.max(axis=0)
    origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    unit = float((high - low).max()) / UV_REPEATS
    return {name: _mesh([s.at(*-origin) for s in solids], unit) for name, solids in parts.items()}


def _mesh(solids: Sequence[Solid], unit: float) -> trimesh.Trimesh:
    """Solids as one mesh in glTF's axes, split where shading or texture is discontinuous."""
    starts = np.cumsum([0] + [len(solid.points) for solid in solids[:-1]])
    points = np.concatenate([solid.points for solid in solids])
    faces = np.concatenate([s.faces + start for s, start in zip(solids, starts, strict=True)])
    uv = np.concatenate([_repeats(solid, unit) for solid in solids]).reshape(-1, 2)
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


def _repeats(solid: Solid, unit: float) -> np.ndarray:
    """(m, 3, 2) texture coordinates in repeats, whole around closed rings."""
    whole = np.maximum(1.0, np.round(solid.around / unit))
    scale = np.where(solid.around > 0, whole / np.maximum(solid.around, 1e-9), 1 / unit)
    return np.stack([solid.uv[:, :, 0] * scale[:, None], solid.uv[:, :, 1] / unit], axis=2)
