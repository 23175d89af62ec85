"""The control image I_C: the regions of all subjects as channels of one picture.

The first channels are routing, which says which subject covers a pixel. The last channel is
structure, which says how deep the pixel is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from datagen.errors import UserError
from datagen.scene import MAX_SUBJECTS
from datagen.validation import Count
from model.controls.regions import Region, common_size, mask_region, size_in_words

FARTHEST = 32
"""Value of structure at the farthest pixel that has depth. It is far from 0, which means that depth
is not known: with 1, the far legs of a table could not be told from the floor between them."""


@dataclass(frozen=True)
class RoutingEncoding:
    """How regions become the routing channels of the control image."""

    routing: Literal["intensity", "one_hot"] = "intensity"
    """"intensity" is the paper's encoding: two maps in which subject i has the value i * ``step``
    of 255. "one_hot" has one channel per subject, ``slots`` channels in all; only the pixel
    tokenizer can take it."""
    step: Count = 10
    """Difference between the values of two subjects, for "intensity". A model that is trained from
    scratch in pixel space hardly learns a step of 10: there, spread the values over 0 to 255."""
    slots: Count = MAX_SUBJECTS
    """Number of channels for "one_hot", one per subject."""

    @property
    def channels(self) -> int:
        """Number of channels of the control image; the last one is structure."""
        return 3 if self.routing == "intensity" else self.slots + 1


@dataclass(frozen=True)
class InputSpec:
    """Size and encoding of the pictures that a model takes."""

    size: Count = 512
    """Edge of the target picture and of the control image, in pixels. For ``kontext`` this is an
    assumption: no text that we have states it."""
    identity_size: Count = 256
    """Edge of a block of the identity sheet, in pixels. For ``kontext`` this is an assumption: no
    text that we have states it."""
    encoding: RoutingEncoding = field(default_factory=RoutingEncoding)


PAPER = RoutingEncoding()


def control_image(
    regions: Sequence[Region],
    encoding: RoutingEncoding = PAPER,
    background_depth: np.ndarray | None = None,
) -> np.ndarray:
    """The control image I_C.

    Args:
        regions: One region per subject, in the order of the subjects, all of one size (H, W).
        encoding: How subjects are told apart in the routing channels.
        background_depth: (H, W), z-depth in metres of the place behind the subjects; see
            ``structure``.

    Returns:
        (H, W, ``encoding.channels``) uint8: the routing channels, then structure. With the paper's
        encoding these are three channels: routing pasted in ascending order of the subjects,
        routing pasted in descending order, structure.

    Raises:
        UserError: there are no regions, sizes differ, or the encoding has no value for so many
            subjects.
    """
    routing = (
        routing_maps(regions, encoding.step)
        if encoding.routing == "intensity"
        else one_hot_routing(regions, encoding.slots)
    )
    return np.concatenate([routing, structure(regions, background_depth)[..., None]], axis=2)


def routing_maps(regions: Sequence[Region], step: int = PAPER.step) -> np.ndarray:
    """The two routing maps of the encoding "intensity".

    Args:
        regions: One region per subject, all of one size (H, W).
        step: Subject i has the value i * ``step``; the background has 0.

    Returns:
        (H, W, 2) uint8. In channel 0 subjects are pasted in ascending order of index, so that the
        last one covers the others; in channel 1 in descending order. Of two subjects, each is whole
        in one of the maps. Of three or more, a pixel of subject i is in neither map where a lower
        and a higher index cover it both.

    Raises:
        UserError: there are no regions, sizes differ, or the largest value is not 1 to 255.
    """
    size = common_size(regions)
    if not 1 <= step * len(regions) <= 255:
        raise UserError(
            f"{len(regions)} subjects at a routing step of {step}, expected a product of 1 to 255; "
            f"set the step to {255 // len(regions)} or less"
        )
    maps = np.zeros((2, *size), np.uint8)
    values = range(step, step * len(regions) + 1, step)
    pasted = list(zip(regions, values, strict=True))
    for channel, order in zip(maps, (pasted, pasted[::-1]), strict=True):
        for region, value in order:
            np.copyto(channel, value, where=region.mask)
    return np.moveaxis(maps, 0, 2)


def one_hot_routing(regions: Sequence[Region], slots: int = MAX_SUBJECTS) -> np.ndarray:
    """The routing channels of the encoding "one_hot".

    Returns:
        (H, W, slots) uint8: channel i - 1 is 255, which the model sees as 1, on the whole region of
        subject i, whichever subjects overlap it; channels without a subject are 0.

    Raises:
        UserError: there are no regions, sizes differ, or there are more regions than slots.
    """
    size = common_size(regions)
    if len(regions) > slots:
        raise UserError(f"{len(regions)} subjects, the one-hot routing has room for {slots}")
    maps = np.zeros((*size, slots), np.uint8)
    for channel, region in enumerate(regions):
        maps[..., channel] = 255 * region.mask
    return maps


def structure(regions: Sequence[Region], background_depth: np.ndarray | None = None) -> np.ndarray:
    """The structure channel: inverse depth of the nearest subject at each pixel.

    Inverse depth is stretched from its least to its greatest value. So its scale and shift cancel
    out, and the output of a network for relative depth does as well as metres (of a network that
    gives inverse depth, pass the inverse).

    Args:
        regions: One region per subject, all of one size (H, W).
        background_depth: (H, W), z-depth in metres, used at the pixels that no region covers. Where
            a region has no depth, structure stays 0: the subject hides what is behind it.

    Returns:
        (H, W) uint8: ``FARTHEST`` at the farthest pixel that has depth, 255 at the nearest, 0 where
        depth is not known.

    Raises:
        UserError: there are no regions, or sizes differ.
    """
    size = common_size(regions)
    depth = np.full(size, np.inf, np.float32)
    for region in regions:
        np.minimum(depth, region.depth, out=depth, where=region.depth > 0)
    if background_depth is not None:
        if background_depth.shape != size:
            raise UserError(
                f"background depth: {size_in_words(background_depth.shape)}, "
                f"the controls have {size_in_words(size)}"
            )
        free = ~np.logical_or.reduce([region.mask for region in regions])
        behind = mask_region(free, background_depth).depth
        np.copyto(depth, behind, where=behind > 0)
    known = depth < np.inf
    values = np.zeros(size, np.uint8)
    if known.any():
        inverse = 1 / depth[known]
        far, near = inverse.min(), inverse.max()
        share = (inverse - far) / (near - far) if near > far else np.ones_like(inverse)
        values[known] = np.round(FARTHEST + (255 - FARTHEST) * share)
    return values
