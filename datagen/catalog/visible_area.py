"""Visible area of an asset and of each of its parts, as a mean over views from all around.

Captions name colours by visible area, not by surface: a mattress under its blanket has a large
surface of which nothing is visible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datagen.catalog.mesh_sampling import points_on

AZIMUTHS = 12
ELEVATIONS_DEGREES = (8.0, 24.0, 40.0)
"""Cover the range of elevations of the scenes' cameras."""

POINTS = 40_000
"""Points spread over the surface of the asset."""

GRID = 40
"""Cells along each side of a view: so few that each cell on the asset holds many points of its
outside, and no point behind them is taken for visible."""

FINE = 3
"""Finer cells along each side of such a cell, to measure the silhouette: bars are thin."""
SIDE = GRID * FINE


@dataclass(frozen=True, eq=False)
class VisibleArea:
    """Means over views from all around and a little above. ``shares`` (P,): share of each part in
    the visible area, of sum 1. ``azimuth_shares`` (P, AZIMUTHS): the same from each azimuth, the
    first at the front. ``silhouette``: area of the silhouette in square metres."""

    shares: np.ndarray
    azimuth_shares: np.ndarray
    silhouette: float


def visible_area(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> VisibleArea:
    """Measures how much of each part of an asset is visible.

    Points spread over all surfaces fall into the cells of each view; in a cell, the part of the
    nearest point is visible. (Ray casting would need a library that takes longer to import than
    most models take to measure.)

    Args:
        parts: of each of the P parts, the vertices (V, 3) in glTF's frame (y up), in metres, and
            the faces (F, 3).
    """
    triangles = np.concatenate([vertices[faces] for vertices, faces in parts])
    owners = np.repeat(np.arange(len(parts)), [len(faces) for _, faces in parts])
    points, chosen = points_on(triangles, POINTS)
    owners = owners[chosen]
    points = points - (points.min(axis=0) + points.max(axis=0)) / 2
    radius = np.linalg.norm(points, axis=1).max()
    visible, covered = np.zeros((len(parts), AZIMUTHS)), 0
    for elevation in np.radians(ELEVATIONS_DEGREES):
        for step in range(AZIMUTHS):
            x, y, nearness = (points @ _view(step / AZIMUTHS * 2 * np.pi, elevation)).T
            fine = [((axis / radius + 1) / 2 * (SIDE - 1e-6)).astype(int) for axis in (x, y)]
            silhouette = np.zeros(SIDE * SIDE, bool)
            silhouette[fine[0] * SIDE + fine[1]] = True
            covered += int(silhouette.sum())
            cell = fine[0] // FINE * GRID + fine[1] // FINE
            nearest = np.full(GRID * GRID, -np.inf)
            np.maximum.at(nearest, cell, nearness)
            seen = owners[nearness == nearest[cell]]
            visible[:, step] += np.bincount(seen, minlength=len(parts))
    views = AZIMUTHS * len(ELEVATIONS_DEGREES)
    return VisibleArea(
        shares=visible.sum(axis=1) / visible.sum(),
        azimuth_shares=visible / visible.sum(axis=0),
        silhouette=float(covered / views * (2 * radius / SIDE) ** 2),
    )


def rounded_shares(shares: np.ndarray) -> tuple[float, ...]:
    """Shares of one part by azimuth, as ``Part.azimuth_areas`` has them: a view measures no more
    than three digits."""
    return tuple(round(float(share), 3) for share in shares)


def _view(azimuth: float, elevation: float) -> np.ndarray:
    """Axes (3, 3) of a view as columns: right, up, and towards the viewer; angles in radians."""
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    level = np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
    towards = np.cos(elevation) * level + np.sin(elevation) * np.array([0.0, 1.0, 0.0])
    return np.column_stack([right, np.cross(towards, right), towards])
