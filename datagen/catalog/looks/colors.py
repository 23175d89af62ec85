"""Named colours: what is painted for a name, and which name is true of a colour.

Colours are sRGB in 0..1. Distances are taken in Oklab (B. Ottosson, "A perceptual color space
for image processing", 2020), where lightness runs from 0 to 1, with hue and chroma counted double:
people give one name to many lightnesses of a colour, not to many hues.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import ImageColor

from datagen import resources
from datagen.color import linear_to_srgb, srgb_to_linear
from datagen.scene import Vec3

# Past this spread a surface has no single colour; see ``Part.spread``.
MAX_SPREAD = 0.12
# A name holds within this distance of one of its samples ...
MAX_DISTANCE = 0.15
# ... and only if the nearest sample of every other name is this much farther away.
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
    """(..., 3) sRGB to (..., 3) Oklab."""
    return np.cbrt(srgb_to_linear(srgb) @ _LMS.T) @ _LAB.T


def srgb(oklab: np.ndarray) -> np.ndarray:
    """(..., 3) Oklab to (..., 3) sRGB."""
    return linear_to_srgb((oklab @ np.linalg.inv(_LAB).T) ** 3 @ np.linalg.inv(_LMS).T)


@cache
def _samples() -> dict[str, np.ndarray]:
    """Name -> (k, 3) sRGB, the painted colour first."""
    names = resources.load("colors.yaml", dict[str, list[str]])
    return {
        name: np.array([ImageColor.getrgb(value) for value in values]) / 255.0
        for name, values in names.items()
    }


def color_names() -> tuple[str, ...]:
    """Every colour name, in the order of assets/colors.yaml."""
    return tuple(_samples())


def color_rgb(name: str) -> Vec3:
    """The sRGB colour painted for a name. Raises KeyError for an unknown one."""
    red, green, blue = _samples()[name][0]
    return (float(red), float(green), float(blue))


@cache
def distance(one: str, other: str) -> float:
    """Distance between two painted colours."""
    apart = lab(_samples()[one][0]) - lab(_samples()[other][0])
    return float(np.linalg.norm(apart * _WEIGHTS))


def name_color(rgb: Vec3, spread: float) -> str | None:
    """The name that is true of a surface of mean colour ``rgb``, or None when unsure: the
    surface is of several colours, or the colour lies between two names or far from all."""
    if spread > MAX_SPREAD:
        return None
    here = lab(np.asarray(rgb, dtype=float))
    ranked = sorted(
        (float(np.linalg.norm((lab(samples) - here) * _WEIGHTS, axis=1).min()), name)
        for name, samples in _samples().items()
    )
    (nearest, name), (second, _) = ranked[:2]
    return name if nearest <= MAX_DISTANCE and second - nearest >= MARGIN else None
