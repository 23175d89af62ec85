"""Refuses models that are not one thing standing on the ground: plates, scenes, what hangs.

Every subject stands on the ground of its scene. A model of a town is no subject, whatever its
name; a mirror that hangs over a washbasin without a wall floats; someone who sits on nothing, too.
All limits are relative to the size of the model, because files often lie about it.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.mesh_sampling import points_on

# A model is a plate if its height is below this share of its width and of its depth.
PLATE = 0.02
# The top of a ground plate is no higher than this share of the larger of width and depth, and the
# plate covers at least this share of what the model covers seen from above.
PLATE_TOP, PLATE_COVER = 0.03, 0.8
# A model is a scene if its surface is that of so many things, in effect, without a plate (shoes
# come in pairs), on a plate, and on a plate so wide that the model's height is below ``LOW`` of its
# size (a hob has four burners).
THINGS_APART, THINGS_ON_PLATE, LOW_THINGS_ON_PLATE = 3.5, 1.5, 8.0
LOW = 0.2
# Least share of the surface of parts that hang.
HANGING = 0.03
# A model tips over if its centroid, seen from above, is outside the hull of what touches the ground
# by more than this share of the larger of width and depth.
TIPPING = 0.18
# What is no higher than this share of the largest extent touches the ground: soles, and bent metal.
CONTACT = 0.05

# Points spread over the surface of a model, and cells along its longest side: parts in cells that
# touch are connected, so that a gap is at least 1/CELLS of that side, and at most twice as much.
POINTS = 40_000
CELLS = 32


def check_stands_alone(triangles: np.ndarray) -> None:
    """Raises ``AssetRejected`` unless a model is one thing that stands on the ground.

    Args:
        triangles: corners (F, 3, 3) of the faces in the canonical frame: y up, the bottom at 0.
    """
    width, height, depth = np.ptp(triangles.reshape(-1, 3), axis=0)
    if height < PLATE * min(width, depth):
        raise AssetRejected("flat on the ground", f"{width:.3g} x {depth:.3g} m, {height:.2g} high")
    points, faces = points_on(triangles, POINTS)
    clusters = _clusters(triangles, points, faces)
    _check_nothing_hangs(points, clusters)
    _check_one_thing(clusters)
    _check_no_ground_plate(triangles, points, faces)
    _check_balance(points)


def _check_nothing_hangs(points: np.ndarray, clusters: np.ndarray) -> None:
    lowest = np.full(clusters.max() + 1, np.inf)
    np.minimum.at(lowest, clusters, points[:, 1])
    extent = np.ptp(points, axis=0)
    hanging = lowest[clusters] > CONTACT * extent.max()
    if hanging.mean() >= HANGING:
        raise AssetRejected(
            "parts hang in the air",
            f"{hanging.mean():.0%} of the surface is connected neither to the ground nor to what "
            f"stands on it, from {lowest[clusters][hanging].min() / extent[1]:.0%} of the height",
        )


def _check_one_thing(clusters: np.ndarray) -> None:
    number = _effective_number(clusters)
    if number >= THINGS_APART:
        raise AssetRejected("scene", f"about {number:.0f} things that stand apart")


def _check_no_ground_plate(triangles: np.ndarray, points: np.ndarray, faces: np.ndarray) -> None:
    """Raises ``AssetRejected`` for several things on one ground plate."""
    extent = np.ptp(points, axis=0)
    top = PLATE_TOP * max(extent[0], extent[2])
    # Faces that are low as a whole: the plate, and the feet of what stands on it.
    low = triangles[:, :, 1].max(axis=1) <= top
    on_plate = low[faces]
    everything = _seen_from_above(points, points)
    plate, pieces = label(_seen_from_above(points[on_plate], points), np.ones((3, 3)))
    largest = max((np.sum(plate == piece) for piece in range(1, pieces + 1)), default=0)
    if largest < PLATE_COVER * everything.sum() or on_plate.all():
        return
    rest = np.flatnonzero(~on_plate)
    kept = np.cumsum(~low) - 1
    clusters = _clusters(triangles[~low], points[rest], kept[faces[rest]])
    number = _effective_number(clusters)
    is_low = extent[1] < LOW * max(extent[0], extent[2])
    if number >= (LOW_THINGS_ON_PLATE if is_low else THINGS_ON_PLATE):
        raise AssetRejected("scene", f"about {number:.0f} things on a ground plate")


def _check_balance(points: np.ndarray) -> None:
    """Raises ``AssetRejected`` for a model that would tip over: who sits without a chair."""
    plan = points[:, [0, 2]]
    support = plan[points[:, 1] <= CONTACT * np.ptp(points, axis=0).max()]
    angles = np.arange(64) / 64 * 2 * np.pi
    directions = np.stack([np.cos(angles), np.sin(angles)])
    # The distance of a point from a convex hull is the largest, over all directions, by which it
    # lies beyond the hull.
    outside = (plan.mean(axis=0) @ directions - (support @ directions).max(axis=0)).max()
    size = np.ptp(plan, axis=0).max()
    if outside > TIPPING * size:
        raise AssetRejected(
            "tips over", f"its centroid is {outside / size:.0%} of its size beside its feet"
        )


def _effective_number(clusters: np.ndarray) -> float:
    """Number of clusters of one size that are as diverse as these clusters (inverse Simpson index):
    2 for two equal things, hardly more than 1 for a house and its letter box."""
    shares = np.bincount(clusters) / len(clusters)
    return float(1 / (shares**2).sum())


def _seen_from_above(points: np.ndarray, all_points: np.ndarray) -> np.ndarray:
    """The ground plan (CELLS, CELLS) of ``all_points``: the cells in which there is one of
    ``points``."""
    low, extent = all_points.min(axis=0), np.ptp(all_points, axis=0)
    cell = np.floor((points - low) / max(extent[0], extent[2]) * (CELLS - 1e-6)).astype(int)
    plan = np.zeros((CELLS, CELLS), bool)
    plan[cell[:, 0], cell[:, 2]] = True
    return plan


def _clusters(triangles: np.ndarray, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The cluster (N,) of each of N points on the triangles, numbered from 0. Points are of one
    cluster if a chain of shared vertices and of cells that touch leads from one to the other.
    ``faces`` (N,): the triangle of each point."""
    low, extent = points.min(axis=0), np.ptp(points, axis=0).max()
    corners = np.round(triangles.reshape(-1, 3) / extent, 5)
    ids = np.unique(corners, axis=0, return_inverse=True)[1].reshape(-1, 3)
    n = int(ids.max()) + 1
    edges = np.concatenate([ids[:, :2], ids[:, 1:]])
    pieces = _components(edges, n)[ids[:, 0]][faces]
    cells = np.floor((points - low) / extent * (CELLS - 1e-6)).astype(int)
    grid = np.zeros((CELLS,) * 3, bool)
    grid[tuple(cells.T)] = True
    regions = label(grid, np.ones((3, 3, 3)))[0][tuple(cells.T)]
    links = np.column_stack([pieces, regions + pieces.max() + 1])
    joined = _components(links, int(links.max()) + 1)[pieces]
    return np.unique(joined, return_inverse=True)[1]


def _components(links: np.ndarray, count: int) -> np.ndarray:
    """The connected component (count,) of each node of a graph with ``links`` (L, 2)."""
    matrix = coo_matrix((np.ones(len(links)), links.T), shape=(count, count))
    return np.asarray(connected_components(matrix, directed=False)[1])
