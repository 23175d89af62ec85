"""Named colours: the sRGB colour of a name, and the name of a measured colour.

Colours are sRGB, 0 to 1. Distances are measured in Oklab (B. Ottosson, "A perceptual color space
for image processing", 2020), where lightness is 0 to 1, with hue and chroma weighted double: people
give one name to many lightnesses of a colour, but not to many hues.

To add a colour, add its name with samples to assets/colors.yaml.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import ImageColor

from datagen import resources
from datagen.color import linear_to_srgb, srgb_to_linear
from datagen.scene import Tint, Vec3

# Above this spread a surface has no single colour; see ``Part.spread``.
MAX_SPREAD = 0.12
# A colour has a name if it is within this distance of one of the name's samples ...
MAX_DISTANCE = 0.15
# ... and the nearest sample of every other name is at least this much farther away.
MARGIN = 0.06

_WEIGHTS = np.array([1.0, 2.0, 2.0])

_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def lab(srgb: np.ndarray) -> np.ndarray:
    """Converts sRGB (..., 3) to Oklab (..., 3)."""
    return np.cbrt(srgb_to_linear(srgb) @ _LMS.T) @ _LAB.T


def srgb(oklab: np.ndarray) -> np.ndarray:
    """Converts Oklab (..., 3) to sRGB (..., 3), clipped to 0 to 1."""
    return linear_to_srgb((oklab @ np.linalg.inv(_LAB).T) ** 3 @ np.linalg.inv(_LMS).T)


def tinted(srgb_colors: np.ndarray, tint: Tint) -> np.ndarray:
    """Applies a tint to sRGB colours (..., 3). Colours outside sRGB are clipped."""
    lightness, a, b = np.moveaxis(lab(srgb_colors), -1, 0)
    cos, sin = tint.saturation * np.cos(tint.hue), tint.saturation * np.sin(tint.hue)
    gamma = np.clip(lightness, 0, 1) ** tint.gamma
    return srgb(np.stack([gamma, cos * a - sin * b, sin * a + cos * b], axis=-1))


@cache
def _samples() -> dict[str, np.ndarray]:
    """sRGB samples (K, 3) of each name; the first is the colour that finishes use."""
    names = resources.load("colors.yaml", dict[str, list[str]])
    return {
        name: np.array([ImageColor.getrgb(value) for value in values]) / 255.0
        for name, values in names.items()
    }


def color_names() -> tuple[str, ...]:
    """Every colour name, in the order of assets/colors.yaml."""
    return tuple(_samples())


def color_rgb(name: str) -> Vec3:
    """The sRGB colour of a finish of this name. Raises KeyError for an unknown name."""
    red, green, blue = _samples()[name][0]
    return (float(red), float(green), float(blue))


@cache
def distance(one: str, other: str) -> float:
    """Distance between the colours of two names."""
    difference = lab(_samples()[one][0]) - lab(_samples()[other][0])
    return float(np.linalg.norm(difference * _WEIGHTS))


def name_color(rgb: Vec3, spread: float) -> str | None:
    """The name of a surface's colour, if it is certain.

    Args:
        rgb: mean sRGB colour of the surface, 0 to 1.
        spread: standard deviation of its colour.

    Returns:
        The name, or None where the surface has several colours, or where its colour is between two
        names or far from all.
    """
    if spread > MAX_SPREAD:
        return None
    color = lab(np.asarray(rgb, dtype=float))
    ranked = sorted(
        (float(np.linalg.norm((lab(samples) - color) * _WEIGHTS, axis=1).min()), name)
        for name, samples in _samples().items()
    )
    (nearest, name), (second, _) = ranked[:2]
    return name if nearest <= MAX_DISTANCE and second - nearest >= MARGIN else None
