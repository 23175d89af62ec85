"""What one sees who walks around an asset: how much of it, and how much of each part.

A mattress under its blanket has a large surface and shows none of it: what a caption may say of
colour is decided by what is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datagen.catalog.mesh_sampling import points_in

AZIMUTHS = 12
ELEVATIONS_DEGREES = (8.0, 24.0, 40.0)
"""Over the range from which scenes are seen."""

POINTS = 40_000
GRID = 40
"""Cells across a view: coarse enough that each one on the asset holds many points of its outside,
and what lies behind them does not show through."""

FINE = 3
"""Finer cells to each of them a side, by which the silhouette is measured: bars are thin."""
SIDE = GRID * FINE


@dataclass(frozen=True, eq=False)
class VisibleArea:
    """Means over views all around and from a little above. ``shares`` (P,): of each part in the
    silhouette. ``silhouette``: its area in square metres."""

    shares: np.ndarray
    silhouette: float


def visible_area(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> VisibleArea:
    """``parts``: vertices (V, 3) in glTF's frame (y up), in metres, and faces (F, 3).

    Points spread over all surfaces fall into the cells of each view, and the nearest has the
    cell. (Casting rays would ask for a library that takes longer to load than most models.)
    """
    triangles = np.concatenate([vertices[faces] for vertices, faces in parts])
    owners = np.repeat(np.arange(len(parts)), [len(faces) for _, faces in parts])
    a, b, c = triangles.transpose(1, 0, 2)
    area = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    chosen = np.searchsorted(area, (np.arange(POINTS) + 0.5) / POINTS * area[-1])
    points, owners = points_in(triangles[chosen]), owners[chosen]
    points = points - (points.min(axis=0) + points.max(axis=0)) / 2
    radius = np.linalg.norm(points, axis=1).max()
    won, covered = np.zeros(len(parts)), 0
    for elevation in np.radians(ELEVATIONS_DEGREES):
        for azimuth in np.arange(AZIMUTHS) / AZIMUTHS * 2 * np.pi:
            x, y, nearness = (points @ _view(azimuth, elevation)).T
            fine = [((axis / radius + 1) / 2 * (SIDE - 1e-6)).astype(int) for axis in (x, y)]
            covered += len(np.unique(fine[0] * SIDE + fine[1]))
            cell = fine[0] // FINE * GRID + fine[1] // FINE
            nearest = np.full(GRID * GRID, -np.inf)
            np.maximum.at(nearest, cell, nearness)
            won += np.bincount(owners[nearness == nearest[cell]], minlength=len(parts))
    views = AZIMUTHS * len(ELEVATIONS_DEGREES)
    return VisibleArea(won / won.sum(), float(covered / views * (2 * radius / SIDE) ** 2))


def _view(azimuth: float, elevation: float) -> np.ndarray:
    """Columns: right, up, and towards the viewer."""
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    level = np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
    towards = np.cos(elevation) * level + np.sin(elevation) * np.array([0.0, 1.0, 0.0])
    return np.column_stack([right, np.cross(towards, right), towards])
