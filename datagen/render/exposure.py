"""Exposure: from linear renderings to sRGB images in which the subjects are neither burnt out nor
lost in the dark."""

from __future__ import annotations

import numpy as np

from datagen.color import linear_to_srgb

PERCENTILE = 97.0
"""Percentile of the subjects' pixels that is exposed for; what is brighter are reflections."""

BRIGHT, DIM = 0.8, 0.45
"""Linear value, 0 to 1, that this percentile is lowered to where it is above, and raised to where
it is below: 0.91 and 0.70 in sRGB."""

GAINS = (0.1, 1.6)
"""Range of the factor on linear values. Black things must stay black: they are raised by less than
a stop."""


def expose(linear: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Exposes an image for its subjects.

    Args:
        linear: (H, W, 3) linear Rec. 709 values, 1 for a white surface under nominal light.
        subjects: (H, W) bool, the pixels that show subjects.

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    values = linear.astype(np.float32)
    gain = 1.0
    if subjects.any():
        peak = float(np.percentile(values[subjects].max(axis=-1), PERCENTILE))
        gain = float(np.clip(np.clip(peak, DIM, BRIGHT) / max(peak, 1e-6), *GAINS))
    encoded: np.ndarray = np.round(linear_to_srgb(values * gain) * 255).astype(np.uint8)
    return encoded


def expose_view(linear: np.ndarray) -> np.ndarray:
    """Exposes an identity view for its subject.

    Args:
        linear: (S, S, 4) linear values, multiplied by alpha as OpenEXR stores them.

    Returns:
        (S, S, 4) uint8 sRGB with straight alpha; the colour is 0 where alpha is 0.
    """
    alpha = linear[..., 3].astype(np.float32)
    straight = linear[..., :3].astype(np.float32) / np.maximum(alpha, 1e-4)[..., None]
    opacity = np.round(np.clip(alpha, 0, 1) * 255).astype(np.uint8)
    color = expose(straight, opacity >= 128)
    return np.dstack([np.where(opacity[..., None] > 0, color, 0).astype(np.uint8), opacity])
