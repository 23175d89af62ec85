"""Accept or refuse an annotated scene, with the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from datagen.scene import Sample, Subject
from datagen.validation import Share


@dataclass(frozen=True)
class GateConfig:
    """What a scene must show."""

    min_area: Annotated[float, Meta(ge=0, le=0.5)] = 0.01
    """Visible pixels of each subject over all pixels."""
    min_visibility: Share = 0.3
    """Visible over amodal area."""
    min_brightness: Share = 0.08
    """Lower bound on the mean of the image and of each identity view, in 0..1 of sRGB."""
    max_brightness: Share = 0.92
    """Upper bound on the mean of the image and of each identity view, in 0..1 of sRGB."""
    max_clipped: Share = 0.3
    """Largest share of pixels that are pure black or pure white."""
    min_view_coverage: Share = 0.005
    """Least share of an identity block that its subject must cover."""


def judge(sample: Sample, config: GateConfig) -> tuple[str, ...]:
    """The reasons to refuse ``sample``: stable phrases, none for a good one."""
    reasons = [*_exposure(sample.image, config)]
    for subject in sample.record.subjects:
        reasons += _subject(subject, config)
        views = sample.views[subject.index - 1]
        reasons += [reason for view in views for reason in _view(view, config)]
    return tuple(dict.fromkeys(reasons))


def _exposure(image: np.ndarray, config: GateConfig) -> list[str]:
    brightness = image.mean() / 255
    clipped = np.mean((image == 0).all(axis=-1) | (image == 255).all(axis=-1))
    return [
        reason
        for reason, wrong in {
            "too dark": brightness < config.min_brightness,
            "too bright": brightness > config.max_brightness,
            "clipped": clipped > config.max_clipped,
        }.items()
        if wrong
    ]


def _subject(subject: Subject, config: GateConfig) -> list[str]:
    return [
        reason
        for reason, wrong in {
            "subject too small": subject.area < config.min_area,
            "subject hidden": subject.visibility < config.min_visibility,
        }.items()
        if wrong
    ]


def _view(block: np.ndarray, config: GateConfig) -> list[str]:
    """A view is blank when little of it is opaque, or what is opaque has no light on it."""
    opaque = block[..., 3] >= 128
    if opaque.mean() < config.min_view_coverage:
        return ["blank identity view"]
    brightness = block[opaque][:, :3].mean() / 255
    return ["unlit identity view"] if brightness < config.min_brightness / 2 else []
