"""Decode COCO compressed run lengths to masks, safely.

pycocotools decodes the same strings but trusts them: where the runs do not fill the image, it
returns uninitialised memory.
"""

from __future__ import annotations

import numpy as np

from datagen.scene import Rle

_DIGITS = 7
"""Characters of a run; seven have 35 bits, and no mask has as many pixels."""


def decode_rle(rle: Rle) -> np.ndarray:
    """Decode a mask.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: as ``run_lengths``. Nothing of the mask's size is allocated before.
    """
    height, width = rle.size
    runs = run_lengths(rle)
    bits = np.arange(len(runs)) % 2 == 1
    return np.repeat(bits, runs).reshape(width, height).T


def run_lengths(rle: Rle) -> np.ndarray:
    """The lengths (R,) of alternating runs of 0 and of 1, in column-major order.

    A run is written in groups of five bits, low bits first, each group as a character from "0" on:
    bit 5 says that another group follows, bit 4 of the last group is the sign. From the fourth run
    on, the difference to the run two before is written.

    Raises:
        ValueError: the runs are damaged, or do not fill the mask exactly.
    """
    height, width = rle.size
    codes = np.frombuffer(rle.counts.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if not len(codes) and height * width == 0:  # the mask of a mirrored sample
        return codes
    ends = np.flatnonzero(codes & 32 == 0)
    if not len(ends) or ends[-1] + 1 != len(codes) or codes.min() < 0 or codes.max() > 63:
        raise ValueError("run lengths are damaged")
    starts = np.append(0, ends[:-1] + 1)
    digits = ends - starts + 1
    if digits.max() > _DIGITS:
        raise ValueError("run lengths are damaged")
    places = np.arange(len(codes)) - np.repeat(starts, digits)
    written = np.add.reduceat((codes & 31) << (5 * places), starts)
    written -= np.where(codes[ends] & 16, 1 << (5 * digits), 0)
    runs = written.copy()
    runs[1::2], runs[2::2] = np.cumsum(written[1::2]), np.cumsum(written[2::2])
    # Each alone first, or their sum could pass 64 bits.
    if runs.min() < 0 or runs.max() > height * width or runs.sum() != height * width:
        raise ValueError(f"run lengths do not fill {width} x {height} pixels")
    return runs
