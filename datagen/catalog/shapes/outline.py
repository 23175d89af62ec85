"""Polylines that solids are made from: circles, rectangles, rounded corners, smooth curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import CubicSpline

Points = Sequence[Sequence[float] | np.ndarray] | np.ndarray


def circle(radius: float = 1.0, sections: int = 48) -> np.ndarray:
    """Points (sections, 2) of a circle around the origin, counter-clockwise from the back (+y)."""
    angle = np.linspace(0.0, 2 * np.pi, sections, endpoint=False) + np.pi / 2
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def rectangle(width: float, depth: float, radius: float, steps: int = 5) -> np.ndarray:
    """Points (N, 2) of a rectangle with rounded corners around the origin, counter-clockwise.
    ``steps``: points per corner."""
    radius = min(radius, 0.499 * width, 0.499 * depth)
    arc = np.linspace(0.0, np.pi / 2, steps)
    corners = []
    for quarter, (sx, sy) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        center = np.array([sx * (width / 2 - radius), sy * (depth / 2 - radius)])
        angle = arc + quarter * np.pi / 2
        corners.append(center + radius * np.column_stack([np.cos(angle), np.sin(angle)]))
    return np.concatenate(corners)


def rounded(points: Points, cut: float, steps: int = 4, closed: bool = False) -> np.ndarray:
    """A polyline with every corner replaced by a parabola.

    Args:
        points: (K, D) corners.
        cut: distance from the corner at which the parabola starts and ends, at most 0.47 of either
            edge.
        steps: segments per corner.
        closed: whether the last point is connected to the first.

    Returns:
        (N, D) points.
    """
    corners = np.asarray(points, dtype=float)
    before, behind = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
    t = np.linspace(0.0, 1.0, steps + 1)[:, None]
    pieces = []
    for index, (a, corner, b) in enumerate(zip(before, corners, behind, strict=True)):
        if not closed and index in (0, len(corners) - 1):
            pieces.append(corner[None])
            continue
        start = corner + (a - corner) * min(0.47, cut / float(np.linalg.norm(a - corner) + 1e-9))
        end = corner + (b - corner) * min(0.47, cut / float(np.linalg.norm(b - corner) + 1e-9))
        pieces.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    return np.concatenate(pieces)


def curve(points: Points, samples: int = 24) -> np.ndarray:
    """Points (samples, D) of a smooth curve through ``points`` (K, D): a natural cubic spline with
    centripetal parameters."""
    knots = np.asarray(points, dtype=float)
    steps = np.sqrt(np.linalg.norm(np.diff(knots, axis=0), axis=1))
    t = np.concatenate([[0.0], np.cumsum(steps)])
    spline = CubicSpline(t, knots, bc_type="natural")
    return np.asarray(spline(np.linspace(0.0, t[-1], samples)))
