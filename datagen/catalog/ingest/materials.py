"""The material of a part of a model, in the terms of glTF.

Everything is opaque in the end (masks and depth come from a ray caster that ignores transparency);
opacity is kept only to find what is see-through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from datagen.color import srgb_to_linear


@dataclass(frozen=True, eq=False)
class Material:
    """``image``: the texture, RGB or RGBA in sRGB, with alpha only where the file uses it, or None.
    ``factor``: linear RGB. ``opacity``, ``roughness`` and ``metallic``: 0 to 1.

    ``emission_factor``: light that the surface sends out, linear RGB, above 1 for bright lamps.
    Three images, RGB, are there only beside ``image``: ``normal``, a tangent-space normal map;
    ``metallic_roughness``, by which roughness (green) and metallic (blue) are multiplied;
    ``emission`` in sRGB, by which ``emission_factor`` is multiplied.

    ``assumed``: the file does not state the colour.
    """

    name: str
    image: Image.Image | None
    factor: tuple[float, float, float]
    opacity: float
    roughness: float
    metallic: float
    emission_factor: tuple[float, float, float] = (0.0, 0.0, 0.0)
    normal: Image.Image | None = None
    metallic_roughness: Image.Image | None = None
    emission: Image.Image | None = None
    assumed: bool = False


PLAIN_FACTOR = float(srgb_to_linear(np.array(0.8)))
"""The gray of a surface whose file does not state its colour."""

UNKNOWN_MATERIAL = Material(
    "surface", None, (PLAIN_FACTOR, PLAIN_FACTOR, PLAIN_FACTOR), 1.0, 0.6, 0.0, assumed=True
)
