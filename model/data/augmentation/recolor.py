"""Changes the colours of subjects, in the picture and in all reference views alike."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import permutations

import numpy as np

from datagen.color import linear_to_srgb, srgb_to_linear
from datagen.scene import Sample
from model.data.augmentation.wording import colorless, plain_prompt

NATURAL = (
    *("animal", "banknote", "bird", "book", "bush", "cactus", "cat", "dog", "flower", "food"),
    *("fruit", "hedge", "horse", "person", "plant", "rock", "snowman", "tree"),
)
"""Categories that keep their colours: a purple dog or a blue steak would be absurd."""

_LINEAR = srgb_to_linear(np.arange(256) / 255).astype(np.float32)
# Fine enough for the darkest colours: a step of linear light is less than a step of sRGB.
_STEPS = 4095
_ENCODED = np.round(255 * linear_to_srgb(np.arange(_STEPS + 1) / _STEPS)).astype(np.uint8)

_SWAPS = np.eye(3, dtype=np.float32)[list(permutations(range(3)))]


def recolored(sample: Sample, indices: Collection[int], rng: np.random.Generator) -> Sample:
    """``sample`` with other colours on the subjects of ``indices`` (1..N).

    Visible pixels of these subjects change, and the pixels of their rows of the identity sheet that
    are not transparent; all other pixels stay the same. Colours are removed from their captions,
    ``prompt.full`` becomes ``plain_prompt``, and each ``identity`` gets a suffix, since a subject
    that looks different is another identity.
    """
    if not indices:
        return sample
    image, sheet = sample.image.copy(), sample.identities.copy()
    subjects = list(sample.record.subjects)
    rows = sheet.reshape(len(subjects), -1, 4)  # the pixels of each subject's views
    for index in sorted(indices):
        mixing = sample_mixing(rng)
        _mix(image, sample.instances == index, mixing)
        row = rows[index - 1]
        _mix(row, row[..., 3] > 0, mixing)
        subject = subjects[index - 1]
        subjects[index - 1] = replace(
            subject,
            identity=f"{subject.identity}-{rng.integers(16**8):08x}",
            caption=colorless(subject.caption, subject.category),
        )
    prompt = plain_prompt([s.caption for s in subjects], sample.record.prompt.background)
    record = replace(sample.record, subjects=tuple(subjects), prompt=prompt)
    return replace(sample, record=record, image=image, identities=sheet)


def sample_mixing(rng: np.random.Generator) -> np.ndarray:
    """A random (3, 3) matrix for linear RGB, which changes colours as new paint would.

    Because it is linear, it keeps shading and shadows. No entry is below 0 and no row has a sum
    above 1, so no colour leaves the gamut and nothing is clipped. The matrix permutes the channels,
    mixes in a second permutation so that all hues occur, and applies a tint, which colours grey.
    """
    main, other = rng.integers(len(_SWAPS), size=2)
    share = rng.uniform(0, 0.35)
    # Where the permutation changes nothing, the tint alone has to be visible.
    strength = rng.uniform(0.0 if main else 0.4, 0.9)
    weak = rng.random(3, dtype=np.float32)
    tint = 1 - strength * (weak - weak.min()) / (weak.max() - weak.min())
    return tint[:, None] * ((1 - share) * _SWAPS[main] + share * _SWAPS[other])


def _mix(picture: np.ndarray, where: np.ndarray, mixing: np.ndarray) -> None:
    """Applies the matrix in place to the pixels ``where`` of a contiguous (..., 3 or 4) uint8 sRGB
    picture."""
    flat = picture.reshape(-1, picture.shape[-1])
    chosen = np.flatnonzero(where)
    light = _LINEAR.take(flat.take(chosen, axis=0)[:, :3]) @ (_STEPS * mixing.T)
    flat[chosen, :3] = _ENCODED.take((light + np.float32(0.5)).astype(np.int32))
