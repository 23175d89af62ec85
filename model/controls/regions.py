"""What the model is told of each subject: where it goes, how deep, and what it looks like.

A ``Region`` is one subject's control, whatever its user gave: a mask, with depth or without, a
2D box, a 3D box. Regions in the order of their subjects become the control image I_C, identity
views in the same order the identity sheet I_S. Subject i is ``regions[i - 1]``. All sizes are
(height, width). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from PIL import Image

from datagen.errors import UserError
from datagen.geometry import resize_nearest
from datagen.scene import MAX_SUBJECTS, Box3D, Mat3, Sample
from datagen.validation import Count
from model.controls.box3d import surface_depth

Granularity = Literal["mask", "mask_depth", "box3d", "box2d"]

FARTHEST = 32
"""Structure at the farthest pixel that has depth: far from 0, which says that there is none. At 1
the far legs of a table could not be told from the floor between them."""

SHEET_BACKGROUND = 128
"""Mid-grey. In [-1, 1] it is nearly 0, so what is not subject says nothing in pixel space, and it
leaves white and black subjects their outline. On 168 rendered views 4% of the pixels at the rim of
a subject come within 24 levels of it: as many as of white. Of black 0.1%, but things photographed
are black more often than things rendered."""

Picture = np.ndarray | Image.Image


@dataclass(frozen=True, eq=False)
class Region:
    """One subject's control. ``mask`` (H, W) bool: where the subject is pasted. ``depth`` (H, W)
    float32: z-depth in metres, 0 where there is none, and everywhere off the mask."""

    granularity: Granularity
    mask: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class Encoding:
    """How regions become channels."""

    routing: Literal["intensity", "one_hot"] = "intensity"
    """The paper's is "intensity", two maps in which subject i has the value i * ``step`` of 255;
    "one_hot" is one channel a subject, ``slots`` in all, which only the pixel codec can take."""
    step: Count = 10
    """From scratch in pixel space a step of 10 is hardly learnt: space intensities over the full
    range."""
    slots: Count = MAX_SUBJECTS
    """Channels of "one_hot", one a subject."""

    @property
    def channels(self) -> int:
        """Of the control image; the last is structure."""
        return 3 if self.routing == "intensity" else self.slots + 1


@dataclass(frozen=True)
class Format:
    """What pictures a model takes."""

    size: Count = 512
    """Edge of the target, in pixels (for ``kontext`` assumed: no text we have states it)."""
    identity_size: Count = 256
    """Edge of a reference, in pixels (for ``kontext`` assumed: no text we have states it)."""
    encoding: Encoding = field(default_factory=Encoding)


PAPER = Encoding()


def mask_region(mask: np.ndarray, depth: np.ndarray | None = None) -> Region:
    """From any free-form ``mask`` (H, W) bool and, where known, ``depth`` (H, W) in metres; what
    is not finite or not above 0 is no depth. Raises UserError."""
    if mask.ndim != 2 or mask.dtype != bool:
        raise UserError(f"mask: {mask.dtype} {mask.shape}, expected bool (height, width)")
    if depth is None:
        return Region("mask", mask, np.zeros(mask.shape, np.float32))
    if depth.shape != mask.shape:
        raise UserError(f"depth: {named(depth.shape)}, its mask has {named(mask.shape)}")
    known = mask & (depth > 0) & (depth < np.inf)
    return Region("mask_depth", mask, np.where(known, depth, 0).astype(np.float32))


def box2d_region(box: Sequence[float], size: tuple[int, int]) -> Region:
    """From [x_min, y_min, x_max, y_max], half-open pixels, which need not be whole and may lie
    outside the frame: the pixels whose centres it holds. Raises UserError."""
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
    """From a box in the camera frame: its silhouette, and the depth of its surface. Raises
    UserError."""
    depth = surface_depth(box, intrinsics, size)
    return Region("box3d", depth > 0, depth)


def region_of(sample: Sample, index: int, granularity: Granularity) -> Region:
    """Subject ``index`` (1..N) of a shard's sample, as a user would give it who has seen the
    picture: visible mask, visible 2D box; a 3D box is whole, hidden parts included."""
    record = sample.record
    subject = record.subjects[index - 1]
    size = sample.instances.shape[0], sample.instances.shape[1]
    match granularity:
        case "mask":
            return mask_region(sample.instances == index)
        case "mask_depth":
            depth = sample.depth * np.float32(record.depth.meters_per_unit)
            return mask_region(sample.instances == index, depth)
        case "box2d":
            return box2d_region(subject.box2d, size)
        case "box3d":
            return box3d_region(subject.box3d, record.camera.intrinsics, size)


def control_image(
    regions: Sequence[Region],
    encoding: Encoding = PAPER,
    background_depth: np.ndarray | None = None,
) -> np.ndarray:
    """I_C, (H, W, ``encoding.channels``) uint8: routing, then structure. By default three
    channels: routing pasted in ascending order of index, in descending order, structure.
    Raises UserError."""
    routing = (
        routing_maps(regions, encoding.step)
        if encoding.routing == "intensity"
        else one_hot_routing(regions, encoding.slots)
    )
    return np.concatenate([routing, structure(regions, background_depth)[..., None]], axis=2)


def routing_maps(regions: Sequence[Region], step: int = PAPER.step) -> np.ndarray:
    """(H, W, 2) uint8: subject i has the value i * ``step``, background 0. Pasted in ascending
    order of index, so that the last covers the others, and in descending order. Of two subjects
    each shows whole in one map; of three or more, a pixel of subject i is in neither map where
    both a lower and a higher index cover it. Raises UserError."""
    size = common_size(regions)
    if not 1 <= step * len(regions) <= 255:
        raise UserError(
            f"{len(regions)} subjects at a routing step of {step}, expected a product of 1 to 255; "
            f"set the step to {255 // len(regions)} or less"
        )
    maps = np.zeros((2, *size), np.uint8)
    values = range(step, step * len(regions) + 1, step)
    painted = list(zip(regions, values, strict=True))
    for canvas, order in zip(maps, (painted, painted[::-1]), strict=True):
        for region, value in order:
            np.copyto(canvas, value, where=region.mask)
    return np.moveaxis(maps, 0, 2)


def one_hot_routing(regions: Sequence[Region], slots: int = MAX_SUBJECTS) -> np.ndarray:
    """(H, W, slots) uint8: channel i - 1 is 255, which is 1 to the model, on all of subject i,
    whoever overlaps it; channels without a subject are 0. Raises UserError."""
    size = common_size(regions)
    if len(regions) > slots:
        raise UserError(f"{len(regions)} subjects, the one-hot routing has room for {slots}")
    maps = np.zeros((*size, slots), np.uint8)
    for channel, region in enumerate(regions):
        maps[..., channel] = 255 * region.mask
    return maps


def structure(regions: Sequence[Region], background_depth: np.ndarray | None = None) -> np.ndarray:
    """(H, W) uint8: inverse depth, from ``FARTHEST`` at the farthest pixel that has depth to 255
    at the nearest, and 0 where there is none. The nearest of overlapping subjects counts.

    ``background_depth`` (H, W) in metres fills the pixels of no region; a region without depth
    stays 0, since what stands there hides it. Stretching inverse depth from least to most makes
    scale and shift fall out, so that the output of a relative-depth network does as well as
    metres (give its inverse). Raises UserError.
    """
    size = common_size(regions)
    depth = np.full(size, np.inf, np.float32)
    for region in regions:
        np.minimum(depth, region.depth, out=depth, where=region.depth > 0)
    if background_depth is not None:
        if background_depth.shape != size:
            raise UserError(
                f"background depth: {named(background_depth.shape)}, "
                f"the controls have {named(size)}"
            )
        free = ~np.logical_or.reduce([region.mask for region in regions])
        behind = mask_region(free, background_depth).depth
        np.copyto(depth, behind, where=behind > 0)
    known = depth < np.inf
    picture = np.zeros(size, np.uint8)
    if known.any():
        inverse = 1 / depth[known]
        far, near = inverse.min(), inverse.max()
        share = (inverse - far) / (near - far) if near > far else np.ones_like(inverse)
        picture[known] = np.round(FARTHEST + (255 - FARTHEST) * share)
    return picture


def resize_region(region: Region, size: tuple[int, int]) -> Region:
    """A region at another size (height, width), by nearest neighbour."""
    mask, depth = (resize_nearest(one, size) for one in (region.mask, region.depth))
    return replace(region, mask=mask, depth=depth)


def reference_view(picture: Picture) -> np.ndarray:
    """A user's reference as ``identity_sheet`` takes it, (s, s, 4) uint8. Raises UserError."""
    view = np.asarray(picture)
    if view.ndim == 3 and view.shape[2] == 3:
        raise UserError(
            f"{view.dtype} {view.shape}: RGB, expected RGBA; cut the subject out, and make what "
            "is around it transparent"
        )
    if view.dtype != np.uint8 or view.ndim != 3 or view.shape[2] != 4:
        raise UserError(
            f"{view.dtype} {view.shape}, expected uint8 (s, s, 4): a square RGBA picture"
        )
    if view.shape[0] != view.shape[1]:
        raise UserError(
            f"{named(view.shape[:2])}, expected a square; pad it with transparent pixels"
        )
    if not view[..., 3:].max(initial=0) > 127:
        raise UserError("transparent throughout, expected an opaque subject")
    return view


def identity_sheet(views: Sequence[np.ndarray], size: int) -> np.ndarray:
    """I_S, (N * size, size, 3) uint8: the views (s, s, 4) uint8 RGBA of the N subjects, on plain
    grey, one below the other. Views may differ in s. Raises UserError."""
    if not views:
        raise UserError("identity sheet: no views, expected one a subject")
    blocks = []
    for index, view in enumerate(views, start=1):
        if view.dtype != np.uint8 or view.shape != (len(view), len(view), 4):
            raise UserError(
                f"identity view of subject {index}: {view.dtype} {view.shape}, "
                "expected uint8 (s, s, 4): a square RGBA picture"
            )
        # Composited before it is resized, so that colour under transparency never blends in:
        # on one plain background the same as resizing with premultiplied alpha.
        block = Image.new("RGB", view.shape[:2], (SHEET_BACKGROUND,) * 3)
        picture = Image.fromarray(view)
        block.paste(picture, mask=picture)
        # With this gap whole factors are averaged first: a third of the time.
        resized = block.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=1.0)
        blocks.append(np.asarray(resized))
    return np.concatenate(blocks)


def common_size(regions: Sequence[Region]) -> tuple[int, int]:
    """Height and width of all of them. Raises UserError where they differ, or there are none."""
    if not regions:
        raise UserError("controls: no subjects, expected at least one")
    first = regions[0].mask.shape
    for index, region in enumerate(regions, start=1):
        if region.mask.shape != first:
            raise UserError(
                f"control of subject {index}: {named(region.mask.shape)}, subject 1 has "
                f"{named(first)}; give all controls at the size of the picture"
            )
    return first[0], first[1]


def named(shape: tuple[int, ...]) -> str:
    """A size in words."""
    return f"{shape[1]} x {shape[0]} pixels" if len(shape) == 2 else f"shape {shape}"
