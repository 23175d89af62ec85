"""Held-out scenes, and what a model is given of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from datagen.scene import Sample
from datagen.shards.codec import BadSample
from model.controls.control_image import InputSpec
from model.controls.control_sampling import (
    EXACT,
    ControlSamplingConfig,
    sample_controls,
    sample_granularities,
)
from model.controls.identity_sheet import identity_sheet
from model.controls.regions import Granularity
from model.data.batch import sample_prompt, sample_views
from model.data.decode import decode
from model.data.shard_index import ShardIndex


@dataclass(frozen=True, eq=False)
class EvalSample:
    """A held-out scene of N subjects and the inputs of a model for it.

    Attributes:
        key: Key of the scene in the set.
        image: (H, W, 3) uint8, the real picture.
        masks: (N, H, W) bool, the visible pixels of each subject.
        views: (N, s, s, 4) uint8 RGBA, one reference per subject.
        sheet: (N * S, S, 3) uint8, the identity sheet of ``views``.
        control: (H, W, C) uint8, the control image.
        granularities: One per subject, of the control image.
    """

    key: str
    prompt: str
    image: np.ndarray
    masks: np.ndarray
    views: np.ndarray
    sheet: np.ndarray
    control: np.ndarray
    granularities: tuple[Granularity, ...]

    @property
    def n_subjects(self) -> int:
        return len(self.masks)

    def swapped_sheet(self) -> np.ndarray:
        """The identity sheet with the first two references exchanged."""
        blocks = np.split(self.sheet, self.n_subjects)
        return np.concatenate([blocks[1], blocks[0], *blocks[2:]])


def load_eval_samples(
    source: ShardIndex,
    keys: Sequence[str],
    format: InputSpec,
    *,
    draws: ControlSamplingConfig = EXACT,
) -> tuple[list[EvalSample], list[BadSample]]:
    """Reads held-out scenes. All random choices for a scene follow from its key.

    Args:
        source: The index of the set.
        keys: Keys of the scenes.
        format: The model's.
        draws: How controls are chosen and loosened.

    Returns:
        The samples, ordered by number of subjects, and the errors of damaged samples, which are
        left out.
    """
    samples, damaged = [], []
    for key in keys:
        rng = np.random.default_rng(list(key.encode()))
        try:
            sample = decode(source.verified_members(key), key, format.size)
            samples.append(_eval_sample(sample, format, draws, rng))
        except BadSample as error:
            damaged.append(error)
    return sorted(samples, key=lambda sample: sample.n_subjects), damaged


def _eval_sample(
    sample: Sample,
    format: InputSpec,
    draws: ControlSamplingConfig,
    rng: np.random.Generator,
) -> EvalSample:
    record = sample.record
    views = sample_views(sample, rng)
    granularities = sample_granularities(record.n_subjects, draws, rng)
    return EvalSample(
        key=record.key,
        prompt=sample_prompt(record.prompt, 0.0, rng),
        image=sample.image,
        masks=sample.instances == np.arange(1, record.n_subjects + 1)[:, None, None],
        views=np.stack(views),
        sheet=identity_sheet(views, format.identity_size),
        control=sample_controls(sample, granularities, draws, rng, format.encoding),
        granularities=granularities,
    )


def in_one_palette(sample: EvalSample) -> EvalSample:
    """A scene of two subjects with the second subject in the colours of the first, both in its
    reference and in the real picture.

    Each pixel of the second subject takes the colour of the pixel of the first that has the same
    rank of lightness. Then colour does not tell which subject is where; pattern and shape do.

    Raises:
        ValueError: the scene has another number of subjects than two.
    """
    if sample.n_subjects != 2:
        raise ValueError(f"{sample.key}: {sample.n_subjects} subjects, expected 2")
    first, second = sample.views
    views = np.stack([first, second])
    views[1][_solid(second), :3] = _recolored(second[_solid(second), :3], first[_solid(first), :3])
    image, (mask_1, mask_2) = sample.image.copy(), sample.masks
    image[mask_2] = _recolored(image[mask_2], image[mask_1])
    sheet = identity_sheet(list(views), len(sample.sheet) // 2)
    return replace(sample, image=image, views=views, sheet=sheet)


def _solid(view: np.ndarray) -> np.ndarray:
    return view[..., 3] > 127


def _recolored(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """``pixels`` (P, 3) in the colours of ``palette`` (Q, 3), matched by rank of lightness."""
    ranks = pixels.sum(axis=1, dtype=int).argsort(kind="stable").argsort(kind="stable")
    ordered = palette[palette.sum(axis=1, dtype=int).argsort(kind="stable")]
    return ordered[ranks * len(ordered) // max(len(pixels), 1)]
