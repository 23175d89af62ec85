"""The place without its subjects: the plane of the ground, and the picture with subjects removed.

Only the depth picture is used, since the pose of the camera may be an estimate: in the picture of a
level camera, all ground in a row has the same depth, and inverse depth is linear in the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from datagen.scene import Sample

FARTHEST = 2.5
"""Ground is used up to this many times the depth that it has at the bottom of the frame."""

FLAT = 0.06
"""Relative difference from a plane that the inverse depth of ground may have."""

STEEPEST = 0.1
"""Least relative change of inverse depth over the height of the frame; with less, it is a wall."""

SHADOW = 0.8
"""Near a subject, ground that is darker than this share of the median of its row is its shadow."""


@dataclass(frozen=True)
class Ground:
    """The plane of the ground, visible in rows ``top`` to ``bottom``, in pixels from above. Its
    inverse depth in 1/m is ``slope * row + offset``; ``slope`` is above 0."""

    slope: float
    offset: float
    top: float
    bottom: float

    def depth(self, row: np.ndarray) -> np.ndarray:
        """Depth in metres at a row."""
        return 1 / (self.slope * row + self.offset)


def ground_of(sample: Sample) -> Ground:
    """The plane at the bottom of the frame, up to where it ends. Where none is visible, a plane is
    assumed whose horizon is the upper edge of the frame."""
    height, width = sample.depth.shape
    every = np.s_[:, :: max(1, width // 64)]
    depth = sample.depth[every]
    free = (sample.instances[every] == 0) & (depth > 0)
    rows = np.flatnonzero(np.count_nonzero(free, axis=1) > depth.shape[1] // 8)
    inverse = 1 / (_medians(depth, free)[rows] * sample.record.depth.meters_per_unit)
    low = rows > 0.65 * height
    if np.count_nonzero(low) > 2:
        slope, offset = np.polyfit(rows[low] + 0.5, inverse[low], 1).tolist()
        plane = slope * (rows + 0.5) + offset
        above = rows[np.abs(inverse - plane) > FLAT * np.abs(plane)].max(initial=-1) + 1
        nearest = slope * height + offset
        if slope * height > STEEPEST * nearest:
            top = max(float(above), (nearest / FARTHEST - offset) / slope)
            if top < 0.9 * height:
                return Ground(slope, offset, top, height)
    typical = float(np.median(inverse)) if len(inverse) else 1.0
    return Ground(typical / height, 0.0, height / 2, height)


def cleared(sample: Sample, stay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Copies of image (H, W, 3) and depth (H, W) without the subjects, except on the pixels
    ``stay`` (H, W) bool. Subjects, their rims and the shadows beside them are replaced by
    interpolation along each row."""
    image, depth = sample.image.copy(), sample.depth.copy()
    gone = (sample.instances > 0) & ~stay
    if not gone.any():
        return image, depth
    width = gone.shape[1]
    rim = 2 * max(1, width // 40) + 1
    hole = ndimage.maximum_filter(gone, rim) & ~stay
    hole |= _shadow(image, ~(hole | stay), ndimage.maximum_filter(gone, 6 * rim)) & ~stay
    known = ~(hole | ndimage.maximum_filter(stay, 3))
    lines = np.flatnonzero(known.any(axis=1))
    if not len(lines):  # subjects cover the whole picture: nothing is known of the place
        image[hole], depth[hole] = image.mean(axis=(0, 1)), 0
        return image, depth
    # A row without known pixels is filled from the nearest row that has some.
    source = lines[np.abs(lines[:, None] - np.arange(len(gone))).argmin(axis=0)]
    x = np.arange(width, dtype=np.int32)
    before = np.maximum.accumulate(np.where(known, x, np.int32(-1)), axis=1)
    after = np.minimum.accumulate(np.where(known, x, np.int32(width))[:, ::-1], axis=1)[:, ::-1]
    rows, columns = np.nonzero(hole)
    line = source[rows]
    left, right = before[line, columns], after[line, columns]
    # The nearer end has the larger weight; an end outside the frame has none.
    share = np.where(right == width, 1.0, (right - columns) / np.maximum(right - left, 1))
    share = (share * (left >= 0)).astype(np.float32)[:, None]
    left, right = np.maximum(left, 0), np.minimum(right, width - 1)
    for picture in (image, depth):
        flat = picture.reshape(*gone.shape, -1)
        flat[rows, columns] = np.round(flat[line, left] * share + flat[line, right] * (1 - share))
    return image, depth


def shade(image: np.ndarray, window: tuple[slice, slice], where: np.ndarray) -> None:
    """Draws, in place on the pixels ``where`` (H, W) bool, the soft shadow of an object that stands
    in ``window`` (rows, columns): without a shadow it would seem to float."""
    rows, columns = window
    w, h = columns.stop - columns.start, rows.stop - rows.start
    flat = max(0.12 * w, 0.04 * h, 1.0)
    y = np.arange(max(rows.stop - int(3 * flat), 0), min(rows.stop + int(2 * flat), len(image)))
    x = np.arange(max(columns.start - w // 4, 0), min(columns.stop + w // 4, image.shape[1]))
    under = slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)
    down = (y[:, None] + 0.5 - rows.stop + flat / 2) / flat
    aside = (x + 0.5 - (columns.start + columns.stop) / 2) / (0.42 * w)
    dark = 0.5 * np.exp(-(down**2) - aside**2) * where[under]
    image[under] = image[under] * (1 - dark[..., None])


def _shadow(image: np.ndarray, free: np.ndarray, near: np.ndarray) -> np.ndarray:
    gray = np.asarray(Image.fromarray(image).convert("L"))
    dark = ndimage.uniform_filter(gray, 3) < SHADOW * _medians(gray, free)[:, None]
    return ndimage.maximum_filter(dark & free & near, 3)


def _medians(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Median of the ``known`` values (H, W) of each row, (H,); 0 where there are none. Values must
    not be negative."""
    width = values.shape[1]
    ordered = np.sort(np.where(known, values, 0), axis=1)
    counts = np.count_nonzero(known, axis=1)
    return ordered[np.arange(len(values)), np.minimum(width - (counts + 1) // 2, width - 1)]
