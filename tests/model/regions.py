"""Small regions that overlap as they will."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.controls.regions import Region, mask_region

H, W = 6, 9
INTRINSICS = ((10.0, 0.0, W / 2), (0.0, 10.0, H / 2), (0.0, 0.0, 1.0))
UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
DEPTHS = st.one_of(st.just(0.0), st.floats(0.5, 50, width=32))


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[top:bottom, left:right] = True
    return mask


@st.composite
def region_lists(draw: st.DrawFn, least: int = 1, most: int = 6) -> list[Region]:
    """Free-form masks that overlap as they will, some with depth, some empty."""
    count = draw(st.integers(least, most))
    masks = draw(arrays(bool, (count, H, W)))
    depths = draw(arrays(np.float32, (count, H, W), elements=DEPTHS))
    with_depth = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return [
        mask_region(mask, depth if known else None)
        for mask, depth, known in zip(masks, depths, with_depth, strict=True)
    ]
