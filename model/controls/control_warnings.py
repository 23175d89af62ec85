"""What is odd about references and controls: allowed, and perhaps not meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from model.controls.regions import PAPER, Encoding, Region, common_size, named

HEAVY_OVERLAP = 0.8
"""Two regions of at least this IoU claim the same place."""

OPAQUE = "opaque throughout, its background is taken for the subject; make that transparent"


def is_opaque(view: np.ndarray) -> bool:
    """Whether an RGBA picture (H, W, 4) uint8 has no transparent pixel."""
    return bool((view[..., 3] == 255).all())


def faults(
    regions: Sequence[Region],
    encoding: Encoding = PAPER,
    references: Sequence[np.ndarray] = (),
    paintable: np.ndarray | None = None,
) -> tuple[str, ...]:
    """What a user should know of the controls given, one line each; none where all is well. The
    model takes them all the same.

    ``regions`` at the model's size, on which a small one may be nothing; ``references`` RGBA;
    ``paintable`` (H, W) bool: where an insertion may paint. Raises UserError for regions of
    unequal size.
    """
    common_size(regions)
    return (
        *_region_faults(regions, encoding),
        *(
            f"reference of subject {i}: {OPAQUE}"
            for i, view in enumerate(references, start=1)
            if is_opaque(view)
        ),
        *(
            f"subject {i}: outside of where the background may be painted on"
            for i, region in enumerate(regions, start=1)
            if paintable is not None and region.mask.any() and not (region.mask & paintable).any()
        ),
    )


def _region_faults(regions: Sequence[Region], encoding: Encoding) -> Iterator[str]:
    size = named(regions[0].mask.shape)
    for i, region in enumerate(regions):
        name = f"subject {i + 1}"
        if not region.mask.any():
            yield (
                f"{name}: empty mask, it holds no pixel of {size}: nothing on it is white (above "
                "half), or all that is there is out of frame or too small"
                if region.granularity in ("mask", "mask_depth")
                else f"{name}: out of frame or too small, its {region.granularity} holds no pixel "
                f"of {size}"
            )
            continue
        if region.granularity == "mask_depth" and not region.depth.any():
            yield f"{name}: no depth, it is 0 on all of the mask"
        below = [other.mask for other in regions[:i]]
        above = [other.mask for other in regions[i + 1 :]]
        hidden = np.logical_or.reduce(below) & np.logical_or.reduce(above)
        if encoding.routing == "intensity" and not (region.mask & ~hidden).any():
            yield f"{name}: hidden in both routing maps, by subjects before it and after it"
    for (i, one), (j, other) in combinations(enumerate(regions, start=1), 2):
        shared = int(np.count_nonzero(one.mask & other.mask))
        union = int(np.count_nonzero(one.mask | other.mask))
        if shared and shared / union >= HEAVY_OVERLAP:
            share = f"{shared / union:.0%}"
            yield f"subjects {i} and {j}: heavy overlap, they share {share} of their place"
