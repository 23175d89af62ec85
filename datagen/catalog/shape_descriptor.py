"""Finds the assets that have one shape, whatever their materials.

Libraries ship a model in several formats and in several colours. Such assets must not stand in
two splits, nor in one scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

# Two descriptors are of one shape if no number differs by more than this. Formats round positions
# to about 1e-6 of a model's size.
TOLERANCE = 5e-4
# Descriptors are rounded to this many digits, which is far below the tolerance.
_DIGITS = 7
# Nodes of the quadrature along each side of a triangle: exact for polynomials up to degree 6.
_NODES = 4


def shape_descriptor(triangles: np.ndarray) -> tuple[float, ...]:
    """Describes a surface by invariants of its moments up to degree 6.

    The moments are integrals over the surface, so that order of vertices and faces, triangulation,
    texture coordinates and materials do not count. They are taken about the centroid, in units of
    the root mean square distance from it, so that position and scale do not count either: one
    library has a model in metres, another one in centimetres. Invariants under rotation make the
    same of a model with y up and with z up (Lo and Don, "3-D moment forms", 1989); a mirror image
    has the descriptor of its original.

    Args:
        triangles: corners (F, 3, 3) of the faces, in any frame and unit; their area is not 0.
    """
    points, weights = _quadrature(triangles)
    area = weights.sum()
    weights = weights / area
    points = points - weights @ points
    spread = float(np.sqrt(weights @ (points**2).sum(axis=1)))
    points = points / spread
    square = (points**2).sum(axis=1)
    second = np.einsum("n,ni,nj->ij", weights, points, points)
    third = np.einsum("n,ni,nj,nk->ijk", weights, points, points, points, optimize=True)
    pairs = (points[:, :, None] * points[:, None, :]).reshape(-1, 9)
    fourth = pairs.T @ (weights[:, None] * pairs)
    weighted = np.einsum("n,ni,nj->ij", weights * square, points, points)
    skew = np.einsum("iij->j", third)
    numbers = [
        *np.linalg.eigvalsh(second),
        *np.linalg.eigvalsh(weighted),
        np.linalg.norm(third),
        np.linalg.norm(skew),
        np.linalg.norm(second @ skew),
        np.linalg.norm(fourth),
        weights @ square**3,
        np.log(area / spread**2),
    ]
    return tuple(round(float(number), _DIGITS) for number in numbers)


def equal_shapes(descriptors: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Groups assets by shape.

    Args:
        descriptors: descriptor of each asset by its id.

    Returns:
        For each asset, the first id, in the order of ``descriptors``, among those of its shape.
    """
    ids = list(descriptors)
    if not ids:
        return {}
    vectors = np.array([descriptors[id] for id in ids])
    pairs = cKDTree(vectors).query_pairs(TOLERANCE, p=np.inf, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(ids), len(ids)))
    groups = connected_components(links, directed=False)[1]
    _, first = np.unique(groups, return_index=True)
    return {id: ids[first[group]] for id, group in zip(ids, groups, strict=True)}


def _quadrature(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) on the triangles (F, 3, 3) and their weights (N,), whose sum is the area: a
    Gauss-Legendre rule on the square, collapsed to the triangle."""
    nodes, node_weights = np.polynomial.legendre.leggauss(_NODES)
    nodes, node_weights = (nodes + 1) / 2, node_weights / 2
    u, v = np.repeat(nodes, _NODES), np.tile(nodes, _NODES) * np.repeat(1 - nodes, _NODES)
    rule = np.outer(node_weights * (1 - nodes), node_weights).ravel() * 2
    a, b, c = triangles.transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    barycentric = np.column_stack([1 - u - v, u, v])
    points = np.einsum("qc,fcx->fqx", barycentric, triangles)
    return points.reshape(-1, 3), np.outer(area, rule).ravel()
