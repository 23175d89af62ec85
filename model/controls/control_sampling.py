"""Controls for training, chosen at random: granularity, loosened outlines, dropped channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datagen.scene import Sample
from datagen.validation import Share
from model.controls.control_image import PAPER, RoutingEncoding, control_image
from model.controls.kinds import CONTROL_KINDS
from model.controls.regions import Granularity, Region


@dataclass(frozen=True)
class ControlSamplingConfig:
    """How training chooses and varies the controls of a sample."""

    granularities: tuple[Granularity, ...] = tuple(CONTROL_KINDS)
    """Kinds of control to choose from, all equally likely."""
    mixed_share: Share = 0.25
    """Share of samples in which the granularity of each subject is chosen independently; in the
    other samples all subjects have the same."""
    dilation: Share = 0.1
    """Upper bound of how far the outline of a subject moves outwards, as a share of the size of the
    subject: the side of its box or, for a mask, the square root of the area of its box. The amount
    is uniform from 0 to this bound; the paper gives no value."""
    aspect_jitter: Share = 0.01
    """Upper bound of the relative change of the ratio of two sides of a box."""
    channel_drop: Share = 0.1
    """Probability of setting a channel of the control image to 0, for each of ascending routing,
    descending routing and structure. One-hot routing is set to 0 only where both routing maps would
    be, because one map alone still says where every subject is."""


EXACT = ControlSamplingConfig(mixed_share=0.0, dilation=0.0, aspect_jitter=0.0, channel_drop=0.0)
"""For held-out samples: regions are not changed, and all subjects of a sample have the same
granularity."""


def sample_granularities(
    n_subjects: int, config: ControlSamplingConfig, rng: np.random.Generator
) -> tuple[Granularity, ...]:
    """One granularity per subject, in order.

    Separate from ``sample_controls`` because it decides whether the depth of a sample has to be
    decoded at all (``kinds.reads_depth``).
    """
    mixed = rng.random() < config.mixed_share
    choices = rng.integers(len(config.granularities), size=n_subjects)
    return tuple(config.granularities[i if mixed else choices[0]] for i in choices)


def sample_controls(
    sample: Sample,
    granularities: Sequence[Granularity],
    config: ControlSamplingConfig,
    rng: np.random.Generator,
    encoding: RoutingEncoding = PAPER,
) -> np.ndarray:
    """The control image of a training sample, loosened and with channels dropped at random.

    The random numbers do not depend on the encoding, so encodings can be compared on the same
    controls.

    Args:
        sample: Of size (H, W).
        granularities: One per subject, in order.

    Returns:
        (H, W, ``encoding.channels``) uint8.
    """
    image = control_image(
        [
            sample_region(sample, index, granularity, config, rng)
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


def sample_region(
    sample: Sample,
    index: int,
    granularity: Granularity,
    config: ControlSamplingConfig,
    rng: np.random.Generator,
) -> Region:
    """The region of subject ``index`` (1..N), loosened: as a user would give it whose hand is not
    exact. A dilated mask has depth only where the subject is."""
    margin = rng.uniform(0, config.dilation)
    kind = CONTROL_KINDS[granularity]
    return kind.from_sample_loosely(sample, index, margin, config.aspect_jitter, rng)
