"""A region is the control of one subject: where the subject goes and, where known, how deep it is.

Users give regions as masks with or without depth, 2D boxes or 3D boxes. A list of regions is in the
order of the subjects: subject i is ``regions[i - 1]``. All sizes are (height, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from datagen.errors import UserError
from datagen.geometry import resize_nearest
from datagen.scene import Box3D, Mat3
from model.controls.box3d import surface_depth

Granularity = Literal["mask", "mask_depth", "box3d", "box2d"]
"""Name of a kind of control; ``model.controls.kinds`` has a table of what is particular to each."""


@dataclass(frozen=True, eq=False)
class Region:
    """The control of one subject.

    Attributes:
        granularity: The kind of control that the region was made from.
        mask: (H, W) bool, the pixels that the subject's control covers.
        depth: (H, W) float32, z-depth in metres; 0 where it is not known, and everywhere outside
            the mask.
    """

    granularity: Granularity
    mask: np.ndarray
    depth: np.ndarray


def mask_region(mask: np.ndarray, depth: np.ndarray | None = None) -> Region:
    """The region of a free-form mask.

    Args:
        mask: (H, W) bool, any shape.
        depth: (H, W), z-depth in metres, of the whole frame or of the subject only. A value that is
            not finite or not above 0 means that the depth of the pixel is not known.

    Returns:
        A region of granularity "mask_depth", or "mask" where ``depth`` is None.

    Raises:
        UserError: the mask is not bool (height, width), or the depth has another size.
    """
    if mask.ndim != 2 or mask.dtype != bool:
        raise UserError(f"mask: {mask.dtype} {mask.shape}, expected bool (height, width)")
    if depth is None:
        return Region("mask", mask, np.zeros(mask.shape, np.float32))
    if depth.shape != mask.shape:
        raise UserError(
            f"depth: {size_in_words(depth.shape)}, its mask has {size_in_words(mask.shape)}"
        )
    known = mask & (depth > 0) & (depth < np.inf)
    return Region("mask_depth", mask, np.where(known, depth, 0).astype(np.float32))


def box2d_region(box: Sequence[float], size: tuple[int, int]) -> Region:
    """The region of a 2D box: the pixels whose centres lie in the box, without depth.

    Args:
        box: [x_min, y_min, x_max, y_max] in pixels, half-open. Fractions of pixels are allowed, and
            the box may lie partly or wholly outside the frame.
        size: (height, width) of the frame in pixels.

    Raises:
        UserError: a minimum is not below its maximum, or a value is NaN.
    """
    x_min, y_min, x_max, y_max = box
    if not (x_min < x_max and y_min < y_max):
        raise UserError(
            f"box2d: {list(box)}, expected [x_min, y_min, x_max, y_max] with min below max"
        )
    height, width = size
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    mask = (x_min <= x) & (x < x_max) & (y_min <= y) & (y < y_max)
    return Region("box2d", mask, np.zeros(size, np.float32))


def box3d_region(box: Box3D, intrinsics: Mat3, size: tuple[int, int]) -> Region:
    """The region of a 3D box: its silhouette, and the depth of its visible surface.

    Args:
        box: In the camera frame (OpenCV: x right, y down, z forward), in metres.
        intrinsics: ((fx, 0, cx), (0, fy, cy), (0, 0, 1)) in pixels of the frame.
        size: (height, width) of the frame in pixels.

    Raises:
        UserError: the box or the intrinsics are not valid.
    """
    depth = surface_depth(box, intrinsics, size)
    return Region("box3d", depth > 0, depth)


def resize_region(region: Region, size: tuple[int, int]) -> Region:
    """The region at another size (height, width), by nearest neighbour as in ``resize_nearest``."""
    return replace(
        region,
        mask=resize_nearest(region.mask, size),
        depth=resize_nearest(region.depth, size),
    )


def common_size(regions: Sequence[Region]) -> tuple[int, int]:
    """Height and width that all regions have.

    Raises:
        UserError: there are no regions, or their sizes differ.
    """
    if not regions:
        raise UserError("controls: no subjects, expected at least one")
    first = regions[0].mask.shape
    for index, region in enumerate(regions, start=1):
        if region.mask.shape != first:
            raise UserError(
                f"control of subject {index}: {size_in_words(region.mask.shape)}, subject 1 has "
                f"{size_in_words(first)}; give all controls at the size of the picture"
            )
    return first[0], first[1]


def size_in_words(shape: tuple[int, ...]) -> str:
    """The shape of an array for an error message: "9 x 6 pixels", width first."""
    return f"{shape[1]} x {shape[0]} pixels" if len(shape) == 2 else f"shape {shape}"
