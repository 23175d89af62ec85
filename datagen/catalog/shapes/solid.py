"""Closed solids from a few operations: lofted rings, lathes, tubes, prisms and balls.

All lengths are metres, in the asset frame (x right, y back, z up). Every solid is watertight
with outward normals, and knows where a pattern goes on it: texture coordinates in metres of
surface, so that a pattern is as large on a knob as on a belly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import trimesh

from datagen.catalog.shapes.outline import Points, circle, rectangle

# Points closer than this are one point.
_MERGE = 1e-5


@dataclass(frozen=True, eq=False)
class Solid:
    """``points`` (n, 3); ``faces`` (m, 3); ``uv`` (m, 3, 2): metres, per corner of a face.
    ``around`` (m,): where u runs around a closed ring, the ring's length, else 0; a pattern
    must repeat a whole number of times along it."""

    points: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    around: np.ndarray

    def at(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """Moved by (x, y, z)."""
        return replace(self, points=self.points + np.array([x, y, z]))

    def turn(self, axis: Literal["x", "y", "z"], angle: float) -> Solid:
        """Turned about an axis through the origin, counter-clockwise seen from its tip."""
        direction = np.eye(3)["xyz".index(axis)]
        matrix = trimesh.transformations.rotation_matrix(angle, direction)[:3, :3]
        return replace(self, points=self.points @ matrix.T)

    def mirror(self) -> Solid:
        """Mirrored left to right."""
        return replace(
            self,
            points=self.points * np.array([-1.0, 1.0, 1.0]),
            faces=self.faces[:, ::-1],
            uv=self.uv[:, ::-1],
        )


def loft(rings: np.ndarray, loop: bool = False) -> Solid:
    """The skin over ``rings`` (k, n, 3), each closed. The ends are closed by a fan around their
    centre, or, with ``loop``, the last ring is joined to the first."""
    rings = np.asarray(rings, dtype=float)
    if loop:
        rings = np.concatenate([rings, rings[:1]])
    else:
        rings = np.concatenate([_collapsed(rings[0]), rings, _collapsed(rings[-1])])
    k, n, _ = rings.shape
    edges = np.linalg.norm(np.roll(rings, -1, axis=1) - rings, axis=2)
    length = float(edges.sum(axis=1).max())
    widest = edges[edges.sum(axis=1).argmax()]
    u = np.concatenate([[0.0], np.cumsum(widest)])
    v = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(rings, axis=0), axis=2).mean(1))])

    i, j = (index.ravel() for index in np.meshgrid(range(k - 1), range(n), indexing="ij"))
    low, high = i * n, (i + 1) * n
    right = (j + 1) % n
    faces = np.concatenate(
        [
            np.column_stack([low + j, low + right, high + right]),
            np.column_stack([low + j, high + right, high + j]),
        ]
    )
    corner = [(u[j], v[i]), (u[j + 1], v[i]), (u[j + 1], v[i + 1]), (u[j], v[i + 1])]
    uv = np.concatenate(
        [
            np.stack([np.column_stack(corner[c]) for c in triangle], axis=1)
            for triangle in ((0, 1, 2), (0, 2, 3))
        ]
    )
    points = rings.reshape(-1, 3) + 0.0
    _, first, merged = np.unique(
        np.round(points / _MERGE), axis=0, return_index=True, return_inverse=True
    )
    faces, points = merged.reshape(-1)[faces], points[first]
    a, b, c = faces.T
    keep = (a != b) & (b != c) & (c != a)
    faces, uv = faces[keep], uv[keep]
    if _volume(points, faces) < 0:
        faces, uv = faces[:, ::-1], uv[:, ::-1]
    return Solid(points, faces, uv, np.full(len(faces), length))


def projected(solid: Solid, steepest: float = 0.0) -> Solid:
    """The solid with faces textured along the nearest axis, where that axis is within the
    cosine ``steepest`` of their normal; the other faces keep their texture coordinates."""
    corners = solid.points[solid.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.abs(normals / np.linalg.norm(normals, axis=1, keepdims=True))
    along = normals.argmax(axis=1)
    chosen = normals.max(axis=1) >= steepest
    flat = np.stack([corners[:, :, [1, 2]], corners[:, :, [0, 2]], corners[:, :, [0, 1]]])
    uv = np.where(chosen[:, None, None], flat[along, np.arange(len(along))], solid.uv)
    return replace(solid, uv=uv, around=np.where(chosen, 0.0, solid.around))


def lathe(profile: Points, sections: int = 48, loop: bool = False) -> Solid:
    """The profile (k, 2) of (radius, height) turned about z. Flat ends are textured from
    above; with ``loop`` the profile is closed and the solid may be hollow."""
    rim = circle(sections=sections)
    outline = np.asarray(profile, dtype=float)
    rings = np.empty((len(outline), sections, 3))
    rings[:, :, :2] = outline[:, None, :1] * rim[None]
    rings[:, :, 2] = outline[:, 1:]
    solid = loft(rings, loop)
    corners = solid.points[solid.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = np.abs(normals[:, 2]) > 0.9 * np.linalg.norm(normals, axis=1)
    uv = np.where(flat[:, None, None], corners[:, :, :2], solid.uv)
    return replace(solid, uv=uv, around=np.where(flat, 0.0, solid.around))


def ball(x: float, y: float, z: float, sections: int = 32) -> Solid:
    """An ellipsoid with these half-axes around the origin."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, sections // 2 + 1)
    rim = circle(sections=sections)
    rings = np.empty((len(angle), sections, 3))
    rings[:, :, :2] = np.cos(angle)[:, None, None] * rim * np.array([x, y])
    rings[:, :, 2] = z * np.sin(angle)[:, None]
    rings[[0, -1], :, :2] = 0.0
    return loft(rings)


def tube(
    path: Points,
    radius: float | Sequence[float] | np.ndarray,
    sections: int = 20,
    squash: float = 1.0,
    loop: bool = False,
) -> Solid:
    """A round bar along a path (k, 3) with domed ends; ``radius`` may vary along the path.
    ``squash``: the bar's thickness along its second cross axis, as a share of the first.
    With ``loop`` the path is closed and planar."""
    line = np.asarray(path, dtype=float)
    radii = np.broadcast_to(np.asarray(radius, dtype=float), len(line))
    if loop:
        ahead, back = np.roll(line, -1, axis=0), np.roll(line, 1, axis=0)
        tangents = ahead - back
    else:
        tangents = np.gradient(line, axis=0)
    tangents = tangents / np.linalg.norm(tangents, axis=1, keepdims=True)
    side = _across(line, tangents)
    rim = circle(sections=sections)
    rings = []
    for point, tangent, r in zip(line, tangents, radii, strict=True):
        # Parallel transport: the side axis turns only as much as the tangent makes it.
        side = side - tangent * (side @ tangent)
        side = side / np.linalg.norm(side)
        other = np.cross(tangent, side)
        rings.append(point + r * (rim[:, :1] * side + squash * rim[:, 1:] * other))
    if not loop:
        rings = _domed(rings, line, tangents, radii)
    return loft(np.stack(rings), loop)


def prism(
    outline: Points, height: float, bevel: float, top: Points | None = None, steps: int = 4
) -> Solid:
    """An outline (n, 2), counter-clockwise and star-shaped about its mean, raised from z = 0 to
    ``height``, its upper and lower edges rounded by ``bevel``. ``top``: another outline of as
    many points, to which the sides lean."""
    low = np.asarray(outline, dtype=float)
    high = low if top is None else np.asarray(top, dtype=float)
    bevel = min(bevel, 0.49 * height)
    inward = _inward(low)
    rings = []
    arc = np.linspace(0.0, np.pi / 2, steps + 1) if bevel > 0 else np.array([np.pi / 2])
    for end, angles in ((0.0, arc), (1.0, arc[::-1])):
        for angle in angles:
            rise = bevel * (1 - np.cos(angle))
            z = rise if end == 0.0 else height - rise
            share = z / height
            inset = bevel * (1 - np.sin(angle))
            ring = low * (1 - share) + high * share + inward * inset
            rings.append(np.column_stack([ring, np.full(len(ring), z)]))
    return projected(loft(np.stack(rings)))


def box(width: float, depth: float, height: float, bevel: float = 0.004) -> Solid:
    """A box with rounded edges, standing on the origin."""
    bevel = min(bevel, 0.3 * min(width, depth, height))
    return prism(rectangle(width, depth, 1.3 * bevel), height, bevel)


def _collapsed(ring: np.ndarray) -> np.ndarray:
    """The ring (n, 3) drawn together to its mean, as (1, n, 3)."""
    return np.broadcast_to(ring.mean(axis=0), (1, *ring.shape))


def _volume(points: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (points[faces[:, i]] for i in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


def _across(line: np.ndarray, tangents: np.ndarray) -> np.ndarray:
    """A direction across the first tangent: out of the path's plane, if it has one."""
    _, _, axes = np.linalg.svd(line - line.mean(axis=0))
    side = axes[2] if np.abs(axes[2] @ tangents[0]) < 0.9 else axes[1]
    return np.asarray(side * np.sign(side[np.abs(side).argmax()]))


def _domed(
    rings: list[np.ndarray], line: np.ndarray, tangents: np.ndarray, radii: np.ndarray
) -> list[np.ndarray]:
    """Rings with a half-round cap added at either end."""
    angles = np.radians([22.5, 45.0, 67.5, 82.0])
    head = [
        line[0] + (rings[0] - line[0]) * np.cos(a) - tangents[0] * radii[0] * np.sin(a)
        for a in angles[::-1]
    ]
    tail = [
        line[-1] + (rings[-1] - line[-1]) * np.cos(a) + tangents[-1] * radii[-1] * np.sin(a)
        for a in angles
    ]
    return head + rings + tail


def _inward(outline: np.ndarray) -> np.ndarray:
    """(n, 2) inward unit normals of a counter-clockwise outline."""
    along = np.roll(outline, -1, axis=0) - np.roll(outline, 1, axis=0)
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    return np.column_stack([-along[:, 1], along[:, 0]])
