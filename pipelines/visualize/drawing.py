"""What figures and the viewer draw alike: the subjects' colours, the corners of their boxes."""

from __future__ import annotations

import numpy as np

from datagen.geometry import project_camera_points
from datagen.scene import Box3D, Mat3

# Subject i is drawn in colour i - 1, here and there.
COLORS = np.array(
    [
        (240, 85, 70), (60, 145, 235), (250, 190, 45), (65, 180, 95), (165, 95, 215),
        (45, 200, 200), (245, 130, 190), (165, 120, 75), (150, 205, 60), (110, 115, 235),
    ],
    dtype=np.uint8,
)  # fmt: skip

# The corners of a box at +-1, and two of its faces as loops of corners. The front is at -y.
CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
FRONT = (0, 1, 5, 4)
BACK = (2, 3, 7, 6)


def corners(box: Box3D) -> np.ndarray:
    """(8, 3): in the camera frame, in the order of ``CORNERS``."""
    center, size, rotation = (np.asarray(x) for x in (box.center, box.size, box.rotation))
    return center + (CORNERS * size / 2) @ rotation.T


def project(box: Box3D, intrinsics: Mat3) -> np.ndarray:
    """(8, 2): where the corners fall in the picture; those behind the camera as if just before
    it."""
    points = corners(box)
    points[:, 2] = points[:, 2].clip(min=1e-2)
    return project_camera_points(points, intrinsics)


def printable(text: str) -> str:
    """Words of a set without what a terminal would obey and a font does not have."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
