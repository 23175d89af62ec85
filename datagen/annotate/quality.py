"""The quality gate: accepts an annotated scene or rejects it with the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from datagen.errors import UserError
from datagen.scene import Sample, Subject
from datagen.validation import Share


@dataclass(frozen=True)
class GateConfig:
    """Limits that an annotated scene must keep; otherwise it is rejected and composed again."""

    min_area: Annotated[float, Meta(ge=0, le=0.5)] = 0.01
    """Least visible area of each subject as a share of the image."""
    min_visibility: Share = 0.3
    """Least visible share of each subject's amodal mask inside the image."""
    min_brightness: Share = 0.08
    """Least mean of the image's sRGB values, 0 to 1. The subject's pixels in each identity view
    need half of it."""
    max_brightness: Share = 0.92
    """Largest mean of the image's sRGB values, and of the subject's pixels in each identity view,
    0 to 1."""
    max_clipped: Share = 0.3
    """Largest share of the image's pixels, and of the subject's pixels in each identity view, that
    are pure black or pure white."""
    min_view_coverage: Share = 0.005
    """Least share of an identity view that its subject must cover."""

    def __post_init__(self) -> None:
        """Raises:
        UserError: no image could be bright and dark enough.
        """
        if self.min_brightness > self.max_brightness:
            raise UserError(
                f"gate.min_brightness: {self.min_brightness:g}, expected at most "
                f"gate.max_brightness, which is {self.max_brightness:g}"
            )


def rejection_reasons(sample: Sample, config: GateConfig) -> tuple[str, ...]:
    """Why ``sample`` is rejected: stable phrases to count by, each once; none for a good sample."""
    reasons = [*_image_reasons(sample.image, config)]
    for subject in sample.record.subjects:
        reasons += _subject_reasons(subject, config)
        views = sample.views[subject.index - 1]
        reasons += [reason for view in views for reason in _view_reasons(view, config)]
    return tuple(dict.fromkeys(reasons))


def _image_reasons(image: np.ndarray, config: GateConfig) -> list[str]:
    brightness = image.mean() / 255
    return [
        reason
        for reason, holds in {
            "too dark": brightness < config.min_brightness,
            "too bright": brightness > config.max_brightness,
            "clipped": _clipped(image) > config.max_clipped,
        }.items()
        if holds
    ]


def _subject_reasons(subject: Subject, config: GateConfig) -> list[str]:
    return [
        reason
        for reason, holds in {
            "subject too small": subject.area < config.min_area,
            "subject hidden": subject.visibility < config.min_visibility,
        }.items()
        if holds
    ]


def _view_reasons(block: np.ndarray, config: GateConfig) -> list[str]:
    """Whether one block (S, S, 4) of the identity sheet, of which the first is the crop from the
    image, shows too little of its subject, or shows it too dark or too bright."""
    opaque = block[..., 3] >= 128
    if opaque.mean() < config.min_view_coverage:
        return ["blank identity view"]
    pixels = block[opaque][:, :3]
    brightness = pixels.mean() / 255
    return [
        reason
        for reason, holds in {
            "unlit identity view": brightness < config.min_brightness / 2,
            "overexposed identity view": brightness > config.max_brightness,
            "clipped identity view": _clipped(pixels) > config.max_clipped,
        }.items()
        if holds
    ]


def _clipped(pixels: np.ndarray) -> float:
    """Share of the pixels (..., 3) that are pure black or pure white."""
    return float(np.mean((pixels == 0).all(axis=-1) | (pixels == 255).all(axis=-1)))
