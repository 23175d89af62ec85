"""Warnings about references and controls that are allowed but probably not intended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from model.controls.control_image import PAPER, RoutingEncoding
from model.controls.kinds import CONTROL_KINDS
from model.controls.regions import Region, common_size, size_in_words

HEAVY_OVERLAP = 0.8
"""Intersection over union of two regions from which on they are warned of: both claim one place."""

OPAQUE = "opaque throughout, its background is taken for the subject; make that transparent"


def is_opaque(view: np.ndarray) -> bool:
    """Whether an RGBA picture (H, W, 4) uint8 has no transparent pixel."""
    return bool((view[..., 3] == 255).all())


def control_warnings(
    regions: Sequence[Region],
    encoding: RoutingEncoding = PAPER,
    references: Sequence[np.ndarray] = (),
    paintable: np.ndarray | None = None,
) -> tuple[str, ...]:
    """What a user should know about references and controls; the model takes them all the same.

    Args:
        regions: One per subject, at the size (H, W) of the model: a small region can lose all its
            pixels when it is resized.
        encoding: The model's.
        references: One RGBA view (s, s, 4) uint8 per subject.
        paintable: (H, W) bool, where an insertion may paint.

    Returns:
        One line per warning, subjects counted from 1; empty if there is nothing to warn of.

    Raises:
        UserError: there are no regions, or their sizes differ.
    """
    common_size(regions)
    return (
        *_region_warnings(regions, encoding),
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


def _region_warnings(regions: Sequence[Region], encoding: RoutingEncoding) -> Iterator[str]:
    size = size_in_words(regions[0].mask.shape)
    for i, region in enumerate(regions):
        name, kind = f"subject {i + 1}", CONTROL_KINDS[region.granularity]
        if not region.mask.any():
            yield (
                f"{name}: empty mask, it holds no pixel of {size}: nothing on it is white (above "
                "half), or all that is there is out of frame or too small"
                if kind.drawn
                else f"{name}: out of frame or too small, its {region.granularity} holds no pixel "
                f"of {size}"
            )
            continue
        if kind.has_depth and not region.depth.any():
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
