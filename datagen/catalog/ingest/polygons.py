"""Triangulation of polygons."""

from __future__ import annotations

import mapbox_earcut
import numpy as np


def triangulate(points: np.ndarray, corners: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Triangles of polygons, which may be concave.

    Args:
        points: (C, 3), the positions of the corners of all polygons, one polygon after another.
        corners: (C,), a number for each corner, such as its vertex.
        counts: (P,), the number of corners of each polygon, 3 or more.

    Returns:
        (T, 3) numbers of the corners of the triangles, in the winding of their polygons; the
        triangles are in the order of the polygons.
    """
    starts = np.cumsum(counts) - counts
    triangles, owners = [np.zeros((0, 3), int)], [np.zeros(0, int)]
    for count in np.unique(counts):
        chosen = np.flatnonzero(counts == count)
        index = starts[chosen, None] + np.arange(count)
        polygons = points[index]
        fans = np.cross(polygons[:, 1:-1] - polygons[:, :1], polygons[:, 2:] - polygons[:, :1])
        normals = fans.sum(axis=1)
        # A polygon is concave where a triangle of its fan faces the other way.
        facing = np.einsum("pti,pi->pt", fans, normals)
        concave = facing.min(axis=1) < -1e-6 * np.abs(facing).max(axis=1)
        convex = index[~concave]
        fan = np.stack(
            [np.broadcast_to(convex[:, :1], convex[:, 2:].shape), convex[:, 1:-1], convex[:, 2:]],
            axis=2,
        )
        triangles.append(fan.reshape(-1, 3))
        owners.append(np.repeat(chosen[~concave], count - 2))
        for i in np.flatnonzero(concave):
            ears = _earcut(polygons[i], normals[i])
            triangles.append(index[i][ears])
            owners.append(np.full(len(ears), chosen[i]))
    order = np.argsort(np.concatenate(owners), kind="stable")
    return np.asarray(corners[np.concatenate(triangles)[order]])


def _earcut(polygon: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Triangles of a polygon (N, 3): indices (T, 3) of its corners, in the polygon's winding."""
    normal = normal / np.linalg.norm(normal)
    right = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    flat = polygon @ np.column_stack([right, np.cross(normal, right)])
    ends = np.array([len(polygon)], np.uint32)
    corners = mapbox_earcut.triangulate_float64(np.ascontiguousarray(flat), ends)
    triangles = np.asarray(corners, int).reshape(-1, 3)
    a, b, c = flat[triangles].transpose(1, 0, 2)
    (x1, y1), (x2, y2) = (b - a).T, (c - a).T
    turned = x1 * y2 < y1 * x2
    return np.where(turned[:, None], triangles[:, ::-1], triangles)
