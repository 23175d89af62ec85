"""Closed solids: lofts, lathes, tubes, prisms, boxes and balls.

All lengths are metres, in the asset frame (x right, y back, z up). Every solid is watertight with
outward normals. Its texture coordinates are metres on its surface, so that a pattern has the same
scale on a small part as on a large one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import trimesh

from datagen.catalog.shapes.outline import Points, circle, rectangle

# Points closer than this, in metres, are merged.
_MERGE = 1e-5


@dataclass(frozen=True, eq=False)
class Solid:
    """A closed triangle mesh. ``points`` (N, 3) in metres; ``faces`` (F, 3); ``uv`` (F, 3, 2) in
    metres, per corner of a face. ``ring_length`` (F,): the length in metres of the closed ring
    along which u runs, 0 where it runs along none; a pattern must repeat a whole number of times
    along a ring."""

    points: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    ring_length: np.ndarray

    def at(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """The solid moved by (x, y, z)."""
        return replace(self, points=self.points + np.array([x, y, z]))

    def turn(self, axis: Literal["x", "y", "z"], angle: float) -> Solid:
        """The solid rotated by ``angle`` radians about an axis through the origin,
        counter-clockwise seen from the axis's positive end."""
        direction = np.eye(3)["xyz".index(axis)]
        matrix = trimesh.transformations.rotation_matrix(angle, direction)[:3, :3]
        return replace(self, points=self.points @ matrix.T)

    def mirror(self) -> Solid:
        """The solid mirrored left to right (x to -x)."""
        return replace(
            self,
            points=self.points * np.array([-1.0, 1.0, 1.0]),
            faces=self.faces[:, ::-1],
            uv=self.uv[:, ::-1],
        )


def loft(rings: np.ndarray, loop: bool = False) -> Solid:
    """The surface over consecutive rings.

    Args:
        rings: (K, N, 3), K closed rings of N points.
        loop: connect the last ring to the first; otherwise each end is closed by a fan around its
            centre.
    """
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


def projected(solid: Solid, min_cosine: float = 0.0) -> Solid:
    """The solid with texture coordinates projected along the axis nearest to each face's normal,
    where the cosine of the angle between them is at least ``min_cosine``; the other faces keep
    their texture coordinates."""
    corners = solid.points[solid.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.abs(normals / np.linalg.norm(normals, axis=1, keepdims=True))
    axis = normals.argmax(axis=1)
    chosen = normals.max(axis=1) >= min_cosine
    projections = np.stack([corners[:, :, [1, 2]], corners[:, :, [0, 2]], corners[:, :, [0, 1]]])
    uv = np.where(chosen[:, None, None], projections[axis, np.arange(len(axis))], solid.uv)
    return replace(solid, uv=uv, ring_length=np.where(chosen, 0.0, solid.ring_length))


def lathe(profile: Points, sections: int = 48, loop: bool = False) -> Solid:
    """A profile rotated about the z axis. Texture coordinates of flat ends are projected along z.

    Args:
        profile: (K, 2) points of radius and height.
        sections: segments around the axis.
        loop: the profile is closed, and the solid may have a hole along the axis.
    """
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
    return replace(solid, uv=uv, ring_length=np.where(flat, 0.0, solid.ring_length))


def ball(x: float, y: float, z: float, sections: int = 32) -> Solid:
    """An ellipsoid around the origin with the half-axes ``x``, ``y`` and ``z``."""
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
    """A round bar along a path, with half-round ends.

    Args:
        path: (K, 3) points.
        radius: of the bar, or one radius per point.
        sections: segments around the bar.
        squash: thickness along the second axis of the cross-section, as a share of the first.
        loop: the path is closed (and planar).
    """
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
    """An outline extruded from z = 0 to ``height``.

    Args:
        outline: (N, 2) points, counter-clockwise and star-shaped about their mean.
        height: of the prism.
        bevel: radius of the rounding of its upper and lower edges.
        top: outline (N, 2) of the upper end, the same as ``outline`` if None.
        steps: segments of the rounding.
    """
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
    """A box with rounded edges that stands on the origin."""
    bevel = min(bevel, 0.3 * min(width, depth, height))
    return prism(rectangle(width, depth, 1.3 * bevel), height, bevel)


def _collapsed(ring: np.ndarray) -> np.ndarray:
    """A ring (1, N, 3) of N points that are all the mean of ``ring`` (N, 3)."""
    return np.broadcast_to(ring.mean(axis=0), (1, *ring.shape))


def _volume(points: np.ndarray, faces: np.ndarray) -> float:
    """Signed volume; negative where the faces are wound inward."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


def _across(line: np.ndarray, tangents: np.ndarray) -> np.ndarray:
    """A direction (3,) across the first tangent: the normal of the path's plane, if it has one."""
    _, _, axes = np.linalg.svd(line - line.mean(axis=0))
    side = axes[2] if np.abs(axes[2] @ tangents[0]) < 0.9 else axes[1]
    return np.asarray(side * np.sign(side[np.abs(side).argmax()]))


def _domed(
    rings: list[np.ndarray], line: np.ndarray, tangents: np.ndarray, radii: np.ndarray
) -> list[np.ndarray]:
    """The rings with a half-round cap added at each end."""
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
    """Inward unit normals (N, 2) of a counter-clockwise outline (N, 2)."""
    along = np.roll(outline, -1, axis=0) - np.roll(outline, 1, axis=0)
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    return np.column_stack([-along[:, 1], along[:, 0]])
