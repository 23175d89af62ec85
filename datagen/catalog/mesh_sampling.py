"""Normals of triangles, points on triangles, and colours of a texture at such points."""

from __future__ import annotations

import numpy as np
import trimesh
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

# Where a file has no normals, faces that meet at a smaller angle are shaded as one curved surface.
CREASE = np.radians(40.0)


def corner_normals(corners: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """Unit normals of the corners of triangles.

    Args:
        corners: positions (F, 3, 3) of the corners.
        given: normals (F, 3, 3) from the file, or None to compute them: smooth over edges below
            ``CREASE``, sharp over the others.

    Returns:
        (F, 3, 3) unit normals; that of the face where a given normal has no length.
    """
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if given is None:
        _, ids = np.unique(np.round(corners.reshape(-1, 3), 6), axis=0, return_inverse=True)
        ids = ids.reshape(-1, 3)
        welded = trimesh.Trimesh(np.zeros((ids.max(initial=-1) + 1, 3)), ids, process=False)
        pairs = welded.face_adjacency
        unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        gentle = pairs[np.einsum("pi,pi->p", unit[pairs[:, 0]], unit[pairs[:, 1]]) > np.cos(CREASE)]
        links = coo_matrix((np.ones(len(gentle)), gentle.T), shape=(len(flat), len(flat)))
        smooth = connected_components(links, directed=False)[1]
        keys = np.column_stack([np.repeat(smooth, 3), ids.ravel()])
        _, shared = np.unique(keys, axis=0, return_inverse=True)
        sums = np.zeros((shared.max(initial=-1) + 1, 3))
        np.add.at(sums, shared.ravel(), np.repeat(flat, 3, axis=0))
        given = sums[shared.ravel()].reshape(-1, 3, 3)
    length = np.linalg.norm(given, axis=2, keepdims=True)
    good = np.isfinite(length) & (length > 1e-12)
    sharp = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(good, given / np.where(good, length, 1), sharp[:, None])


def points_in(corners: np.ndarray) -> np.ndarray:
    """One point in each triangle.

    The positions follow the R2 sequence (Roberts 2018), folded from the unit square into the
    triangle, so that consecutive triangles that are equal get evenly spread points.

    Args:
        corners: (N, 3, D), the corners of N triangles in D dimensions.

    Returns:
        (N, D) points.
    """
    u, v = np.mod(np.outer([0.7548776662, 0.5698402910], np.arange(1, len(corners) + 1)), 1)
    u, v = np.where(u + v > 1, [1 - u, 1 - v], [u, v])
    a, b, c = corners.transpose(1, 0, 2)
    return np.asarray(a + u[:, None] * (b - a) + v[:, None] * (c - a))


def points_on(triangles: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points evenly spread over a surface, without randomness.

    Args:
        triangles: corners (F, 3, 3) of the faces.
        count: number of points.

    Returns:
        The points (count, 3), and the face (count,) that each is on.
    """
    a, b, c = triangles.transpose(1, 0, 2)
    area = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    faces = np.searchsorted(area, (np.arange(count) + 0.5) / count * area[-1])
    return points_in(triangles[faces]), faces


def look_up(image: Image.Image, uv: np.ndarray) -> np.ndarray:
    """Colours (N, 4) of a texture, RGBA 0 to 1, at texture coordinates (N, 2). The texture repeats,
    and v increases upward."""
    pixels = np.asarray(image.convert("RGBA"))
    height, width = pixels.shape[:2]
    column = np.floor(np.mod(uv[:, 0], 1) * width).astype(int) % width
    row = np.floor(np.mod(1 - uv[:, 1], 1) * height).astype(int) % height
    return np.asarray(pixels[row, column] / 255.0)
