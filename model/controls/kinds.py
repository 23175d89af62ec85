"""The table of control kinds: all that is particular to one kind, in one entry.

Control sampling, warnings, the scene file and the viewer read this table. To add a kind, add its
name to ``Granularity``, its ``*_region`` function, and its entry in ``CONTROL_KINDS`` here; then a
reader of the key that a scene file has for it, in ``pipelines/sampling/control_entries.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, get_args

import numpy as np

from datagen.scene import Sample
from model.controls.regions import Granularity, Region, box2d_region, box3d_region, mask_region


class FromSample(Protocol):
    """Makes the region of a subject as a user who has seen the picture would give it."""

    def __call__(self, sample: Sample, index: int) -> Region: ...


class FromSampleLoosely(Protocol):
    """Makes the region of a subject as a user whose hand is not exact would give it.

    Args:
        margin: The outline moves outwards by this share of the size of the subject.
        jitter: The ratio of two sides of a box changes by at most this share.
    """

    def __call__(
        self, sample: Sample, index: int, margin: float, jitter: float, rng: np.random.Generator
    ) -> Region: ...


@dataclass(frozen=True)
class ControlKind:
    """One kind of control.

    Attributes:
        from_sample: The region of subject ``index`` (1..N) of a shard's sample.
        from_sample_loosely: The same, loosened as training loosens it. Training is reproducible:
            an entry must not change the number or the order of its random numbers.
        label: The kind in words, for people: "3D box".
        drawn: Whether the user draws the outline as a picture. If not, it is computed, and can miss
            the frame.
        has_depth: Whether the region has depth.
        reads_depth: Whether the region takes its depth from the depth picture of the sample, which
            then has to be decoded.
        in_viewer: Whether the viewer offers it. A mask without depth is left out: it is a mask with
            depth without structure.
    """

    from_sample: FromSample
    from_sample_loosely: FromSampleLoosely
    label: str
    drawn: bool = False
    has_depth: bool = True
    reads_depth: bool = False
    in_viewer: bool = True


def region_of(sample: Sample, index: int, granularity: Granularity) -> Region:
    """The region of a subject of a sample, as a user who has seen the picture would give it.

    Masks and 2D boxes are of the visible pixels; a 3D box is whole, hidden parts included.

    Args:
        sample: Record, depth and instances of one size (H, W), which the region then has.
        index: Number of the subject, 1..N.
        granularity: The kind of control.

    Raises:
        UserError: a box or the camera of the record is not valid.
    """
    return CONTROL_KINDS[granularity].from_sample(sample, index)


def reads_depth(granularities: Iterable[Granularity]) -> bool:
    """Whether one of the kinds needs the depth picture of the sample."""
    return any(CONTROL_KINDS[granularity].reads_depth for granularity in granularities)


def _mask(sample: Sample, index: int) -> Region:
    return mask_region(sample.instances == index)


def _mask_depth(sample: Sample, index: int) -> Region:
    depth = sample.depth * np.float32(sample.record.depth.meters_per_unit)
    return mask_region(sample.instances == index, depth)


def _box2d(sample: Sample, index: int) -> Region:
    return box2d_region(sample.record.subjects[index - 1].box2d, _size(sample))


def _box3d(sample: Sample, index: int) -> Region:
    record = sample.record
    return box3d_region(record.subjects[index - 1].box3d, record.camera.intrinsics, _size(sample))


def _loose_mask(exact: FromSample) -> FromSampleLoosely:
    """Dilates the mask; the added pixels have no depth. The size of the subject is the square root
    of the area of its box."""

    def loosely(
        sample: Sample, index: int, margin: float, jitter: float, rng: np.random.Generator
    ) -> Region:
        region, box = exact(sample, index), sample.record.subjects[index - 1].box2d
        low, high = np.split(np.array(box, float), 2)
        radius = margin * float(np.sqrt(np.prod(high - low)))
        return replace(region, mask=_dilated(region.mask, box, radius))

    return loosely


def _loose_box2d(
    sample: Sample, index: int, margin: float, jitter: float, rng: np.random.Generator
) -> Region:
    low, high = np.split(np.array(sample.record.subjects[index - 1].box2d, float), 2)
    half = _loosened((high - low) / 2, margin, jitter, rng)
    center = (low + high) / 2
    return box2d_region([*(center - half), *(center + half)], _size(sample))


def _loose_box3d(
    sample: Sample, index: int, margin: float, jitter: float, rng: np.random.Generator
) -> Region:
    record = sample.record
    box = record.subjects[index - 1].box3d
    x, y, z = _loosened(np.array(box.size), margin, jitter, rng).tolist()
    return box3d_region(replace(box, size=(x, y, z)), record.camera.intrinsics, _size(sample))


def _size(sample: Sample) -> tuple[int, int]:
    height, width = sample.instances.shape
    return height, width


def _dilated(mask: np.ndarray, box: tuple[int, int, int, int], radius: float) -> np.ndarray:
    """The pixels at most ``radius`` pixels away from ``mask`` (H, W), which lies in ``box``.

    Distances are computed around the box only, which takes a fifth of the time of the whole frame.
    """
    # Not at the top: the viewer reads the table too, and is installed without scipy.
    from scipy import ndimage

    x_min, y_min, x_max, y_max = box
    reach = math.ceil(radius)
    window = np.s_[max(y_min - reach, 0) : y_max + reach, max(x_min - reach, 0) : x_max + reach]
    grown = mask.copy()
    grown[window] |= ndimage.distance_transform_edt(~mask[window]) <= radius
    return grown


def _loosened(
    sides: np.ndarray, margin: float, jitter: float, rng: np.random.Generator
) -> np.ndarray:
    """Each side, made longer by ``margin`` of itself at either end, then stretched so that no ratio
    of two sides changes by more than ``jitter``."""
    reach = np.log1p(jitter) / 2
    return sides * (1 + 2 * margin) * np.exp(rng.uniform(-reach, reach, len(sides)))


CONTROL_KINDS: Mapping[Granularity, ControlKind] = {
    "mask": ControlKind(
        _mask, _loose_mask(_mask), "mask", drawn=True, has_depth=False, in_viewer=False
    ),
    "mask_depth": ControlKind(
        _mask_depth, _loose_mask(_mask_depth), "mask and depth", drawn=True, reads_depth=True
    ),
    "box3d": ControlKind(_box3d, _loose_box3d, "3D box"),
    "box2d": ControlKind(_box2d, _loose_box2d, "2D box", has_depth=False),
}
"""Every ``Granularity``. The order is that of training's random choice among them: changing it
changes what a seed gives."""

if tuple(CONTROL_KINDS) != get_args(Granularity):
    raise TypeError("CONTROL_KINDS and Granularity differ")
