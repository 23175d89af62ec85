"""What a provider of assets promises, and the canonical form of its models.

Every GLB that a provider hands out is canonical:

- glTF's own frame (y up, front along +z, metres), unscaled: the asset's real size;
- the origin is the centre of the bounding box's bottom face, so that glTF's y-up to z-up
  step, (x, y, z) -> (x, -z, y), lands in our asset frame (x right, y back, z up);
- one primitive and one PBR material per ``Part``, the material named after the part;
- textures are PNG or JPEG, at most ``MAX_TEXTURE`` pixels a side;
- UVs of a part *without* a texture count repeats of a pattern: ``UV_REPEATS`` along the longest
  side of the asset. Parts that have no UVs, or whose UVs mean something else, must come without.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datagen.scene import Asset

MAX_TEXTURE = 1024
UV_REPEATS = 4.0


@dataclass(frozen=True)
class Rejection:
    """An asset that cannot be used. ``reason`` is a short stable phrase to count by ("no
    faces"), ``detail`` what was found."""

    asset: str
    reason: str
    detail: str


class Provider(Protocol):
    """A source of canonical models. Picklable: what it caches is on disk."""

    def assets(self) -> tuple[Asset, ...]:
        """The usable assets, in any order."""

    def rejections(self) -> tuple[Rejection, ...]:
        """The assets that cannot be used, once each."""

    def model(self, asset: Asset) -> Path:
        """Path of the asset's canonical GLB, with its own materials."""
