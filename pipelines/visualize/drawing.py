"""Shared by figures and the viewer: colours of subjects, corners of 3D boxes."""

from __future__ import annotations

import numpy as np

from datagen.geometry import project_camera_points
from datagen.scene import Box3D, Mat3

# Subject i has colour i - 1, in figures and in the viewer.
COLORS = np.array(
    [
        (240, 85, 70), (60, 145, 235), (250, 190, 45), (65, 180, 95), (165, 95, 215),
        (45, 200, 200), (245, 130, 190), (165, 120, 75), (150, 205, 60), (110, 115, 235),
    ],
    dtype=np.uint8,
)  # fmt: skip

# Corners of the box from -1 to 1, and its front (at -y) and back faces as loops of corner indices.
CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
FRONT = (0, 1, 5, 4)
BACK = (2, 3, 7, 6)


def corners(box: Box3D) -> np.ndarray:
    """Corners (8, 3) of a box in the camera frame, in metres, in the order of ``CORNERS``."""
    center, size, rotation = (np.asarray(x) for x in (box.center, box.size, box.rotation))
    return center + (CORNERS * size / 2) @ rotation.T


def project(box: Box3D, intrinsics: Mat3) -> np.ndarray:
    """Corners (8, 2) of a box in pixels, in the order of ``CORNERS``. Corners behind the camera are
    projected as if they were 1 cm in front of it."""
    points = corners(box)
    points[:, 2] = points[:, 2].clip(min=1e-2)
    return project_camera_points(points, intrinsics)


def printable(text: str) -> str:
    """``text`` with characters replaced that a terminal would interpret or a font does not have."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
