"""Triangulation of the concave polygons of OBJ files."""

from __future__ import annotations

from collections import defaultdict

import mapbox_earcut
import numpy as np


def triangulate_concave(data: bytes) -> bytes:
    """The same OBJ file with its concave polygons replaced by triangles.

    trimesh triangulates a polygon as a fan, which is right for convex polygons only: the fan of a
    concave polygon covers area outside of it.
    """
    lines = data.decode("latin-1").replace("\r\n", "\n").replace("\\\n", " ").split("\n")
    words = {n: line.split() for n, line in enumerate(lines) if line[:2] in ("v ", "f ", "f\t")}
    points = np.array([w[1:4] for w in words.values() if w[0] == "v"], float).reshape(-1, 3)
    by_corners: dict[int, list[int]] = defaultdict(list)
    for number, word in words.items():
        if word[0] == "f" and len(word) > 4:
            by_corners[len(word) - 1].append(number)
    for numbers in by_corners.values():
        index = np.array([[int(word.split("/")[0]) for word in words[n][1:]] for n in numbers])
        polygons = points[np.where(index > 0, index - 1, index)]
        fans = np.cross(polygons[:, 1:-1] - polygons[:, :1], polygons[:, 2:] - polygons[:, :1])
        normals = fans.sum(axis=1)
        # A polygon is concave where a triangle of its fan faces the other way.
        facing = np.einsum("pti,pi->pt", fans, normals)
        for i in np.flatnonzero(facing.min(axis=1) < -1e-6 * np.abs(facing).max(axis=1)):
            triangles = _triangulate(polygons[i], normals[i])
            if len(triangles):
                names = words[numbers[i]][1:]
                faces = (" ".join(names[corner] for corner in triangle) for triangle in triangles)
                lines[numbers[i]] = "\n".join(f"f {face}" for face in faces)
    return "\n".join(lines).encode("latin-1")


def _triangulate(polygon: np.ndarray, normal: np.ndarray) -> np.ndarray:
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
