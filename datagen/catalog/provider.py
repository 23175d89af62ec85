"""The interface of a provider of assets, and the canonical form of its models.

To add a provider of model files, write a listing of ``ModelSource``s as
``datagen.catalog.providers.folder`` does; for any other provider, implement ``Provider``. Then add
it to ``datagen.catalog.catalog``.

Every GLB that a provider returns is canonical:

- glTF's own frame (y up, front along +z, metres), in the asset's real size;
- the origin is the centre of the bounding box's bottom face, so that the change from y up to z up,
  (x, y, z) -> (x, -z, y), gives our asset frame (x right, y back, z up);
- one primitive and one PBR material per ``Part``, the material named after the part;
- textures are PNG or JPEG, with at most ``MAX_TEXTURE`` pixels per side;
- UVs of a part *without* a texture count repeats of a pattern: ``UV_REPEATS`` along the longest
  side of the asset. A part without a texture whose UVs mean something else must have no UVs.
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
    """An asset that cannot be used. ``asset`` is its id, ``reason`` a short stable phrase to count
    by ("no faces"), ``detail`` what was found."""

    asset: str
    reason: str
    detail: str


class Provider(Protocol):
    """A source of assets with canonical models. Picklable; its cache is on disk."""

    def assets(self) -> tuple[Asset, ...]:
        """The usable assets, in any order."""

    def rejections(self) -> tuple[Rejection, ...]:
        """The assets that cannot be used, once each, in any order."""

    def model(self, asset: Asset) -> Path:
        """Path of the asset's canonical GLB, with its own materials."""
