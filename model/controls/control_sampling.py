"""Controls as training sees them: drawn granularity, loosened outlines, dropped channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from datagen.scene import Sample
from datagen.validation import Share
from model.controls.regions import (
    PAPER,
    Encoding,
    Granularity,
    Region,
    box2d_region,
    box3d_region,
    control_image,
    region_of,
)


@dataclass(frozen=True)
class DrawConfig:
    """What training draws controls from."""

    granularities: tuple[Granularity, ...] = ("mask", "mask_depth", "box3d", "box2d")
    """Each as likely as the others."""
    mixed_share: Share = 0.25
    """Share of samples in which every subject draws a granularity of its own; in the others all
    have the same."""
    dilation: Share = 0.1
    """A subject's outline moves outwards by up to this share of its size, which is the side of its
    box or, for a mask, the root of its box's area; the paper gives no amount."""
    aspect_jitter: Share = 0.01
    """By how much at most the ratio of two sides of a box changes."""
    channel_drop: Share = 0.1
    """Chance of each of the three channels to be zeroed. One-hot routing is zeroed where the same
    draw takes both routing maps, for one of them alone still says where every subject is."""


EXACT = DrawConfig(mixed_share=0.0, dilation=0.0, aspect_jitter=0.0, channel_drop=0.0)
"""For held-out samples: regions as they are, one granularity a sample."""


def draw_granularities(
    n_subjects: int, config: DrawConfig, rng: np.random.Generator
) -> tuple[Granularity, ...]:
    """One a subject, in order. Apart from the rest, since it tells whether a sample's depth has to
    be decoded."""
    mixed = rng.random() < config.mixed_share
    drawn = rng.integers(len(config.granularities), size=n_subjects)
    return tuple(config.granularities[i if mixed else drawn[0]] for i in drawn)


def draw_controls(
    sample: Sample,
    granularities: Sequence[Granularity],
    config: DrawConfig,
    rng: np.random.Generator,
    encoding: Encoding = PAPER,
) -> np.ndarray:
    """The control image (H, W, C) uint8 of all subjects of ``sample``, of each the granularity
    given. The encoding changes nothing in what is drawn, so encodings can be compared on the same
    draws."""
    image = control_image(
        [
            draw_region(sample, index, granularity, config, rng)
            for index, granularity in enumerate(granularities, start=1)
        ],
        encoding,
    )
    ascending, descending, structure = rng.random(3) >= config.channel_drop
    routing = (
        [ascending, descending]
        if encoding.routing == "intensity"
        else [ascending or descending] * encoding.slots
    )
    return image * np.array([*routing, structure], np.uint8)


def draw_region(
    sample: Sample,
    index: int,
    granularity: Granularity,
    config: DrawConfig,
    rng: np.random.Generator,
) -> Region:
    """Subject ``index`` as a user might give it, whose hand is not exact. A mask that has grown
    has depth only where the subject is."""
    record = sample.record
    subject = record.subjects[index - 1]
    size = sample.instances.shape[0], sample.instances.shape[1]
    margin = rng.uniform(0, config.dilation)
    low, high = np.split(np.array(subject.box2d, float), 2)
    match granularity:
        case "mask" | "mask_depth":
            region = region_of(sample, index, granularity)
            radius = margin * float(np.sqrt(np.prod(high - low)))
            return replace(region, mask=_dilated(region.mask, subject.box2d, radius))
        case "box2d":
            half = _loosened((high - low) / 2, margin, config.aspect_jitter, rng)
            center = (low + high) / 2
            return box2d_region([*(center - half), *(center + half)], size)
        case "box3d":
            x, y, z = _loosened(
                np.array(subject.box3d.size), margin, config.aspect_jitter, rng
            ).tolist()
            box = replace(subject.box3d, size=(x, y, z))
            return box3d_region(box, record.camera.intrinsics, size)


def _dilated(mask: np.ndarray, box: tuple[int, int, int, int], radius: float) -> np.ndarray:
    """The pixels no further than ``radius`` pixels from ``mask``, which lies in ``box``: a round
    brush, and looked for around the box only, a fifth of the time of the whole frame."""
    x_min, y_min, x_max, y_max = box
    reach = math.ceil(radius)
    window = np.s_[max(y_min - reach, 0) : y_max + reach, max(x_min - reach, 0) : x_max + reach]
    grown = mask.copy()
    grown[window] |= ndimage.distance_transform_edt(~mask[window]) <= radius
    return grown


def _loosened(
    sides: np.ndarray, margin: float, jitter: float, rng: np.random.Generator
) -> np.ndarray:
    """Each side with ``margin`` of itself added at either end, then stretched so that no ratio of
    two changes by more than ``jitter``."""
    reach = np.log1p(jitter) / 2
    return sides * (1 + 2 * margin) * np.exp(rng.uniform(-reach, reach, len(sides)))
