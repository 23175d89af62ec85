"""Decode COCO compressed run lengths to masks, safely.

pycocotools decodes the same strings but trusts them: where the runs do not fill the image, it
returns uninitialised memory.
"""

from __future__ import annotations

import numpy as np

from datagen.scene import Rle


def decode_rle(rle: Rle) -> np.ndarray:
    """Decode a mask.

    Runs of 0 and of 1 alternate, in column-major order. A run is written in groups of five bits,
    low bits first, each group as a character from "0" on: bit 5 says that another group follows,
    bit 4 of the last group is the sign. From the fourth run on, the difference to the run two
    before is written.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: the runs are damaged, or do not fill the mask exactly.
    """
    height, width = rle.size
    runs: list[int] = []
    value = shift = 0
    for char in rle.counts:
        code = ord(char) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("run lengths are damaged")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift or min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise ValueError(f"run lengths do not fill {width} x {height} pixels")
    bits = np.arange(len(runs)) % 2 == 1
    return np.repeat(bits, runs).reshape(width, height).T
