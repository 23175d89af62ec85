"""Samples appearances (scale and finishes) for assets, and computes the ids of identities.

To add a finish, add an entry to assets/finishes.yaml and name it at the parts that may have it in
assets/families.yaml; a new colour goes to assets/colors.yaml, a new pattern to
``datagen.catalog.looks.patterns``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import msgspec
import numpy as np

from datagen import resources
from datagen.catalog.looks.colors import color_names, distance
from datagen.catalog.shapes.families import families
from datagen.scene import Appearance, Asset, Finish, Part, Tint

# Least distance of two colours that must be distinguishable in one asset.
_CONTRAST = 0.3
# Probability that a part gets the finish of an earlier part with the same options.
_MATCHING = 0.7
# Ranges of a tint: what it does to a photograph of wood or cloth is still plausible.
_HUE = np.radians(45.0)
_SATURATION, _GAMMA = (0.6, 1.25), (0.75, 1.3)


@dataclass(frozen=True)
class FinishRange:
    """One entry of assets/finishes.yaml: the range that a finish is sampled from. ``plain``:
    probability of no pattern; ``accents``: colours of a pattern's second colour."""

    roughness: tuple[float, float]
    colors: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    plain: float = 1.0
    accents: tuple[str, ...] = ()
    metallic: float = 0.0


@cache
def finish_ranges() -> dict[str, FinishRange]:
    """Every range of finishes by name."""
    return resources.load("finishes.yaml", dict[str, FinishRange])


def fingerprint(asset: Asset, appearance: Appearance) -> str:
    """The id of an identity: 16 hex digits that follow from the asset's digest and the
    appearance."""
    fields = msgspec.to_builtins(appearance)
    if not appearance.tint:
        # As before there were tints: ids of published identities stay.
        del fields["tint"]
    encoded = msgspec.json.encode(fields)
    return hashlib.sha256(asset.digest.encode() + b"\0" + encoded).hexdigest()[:16]


def sample_appearance(asset: Asset, rng: np.random.Generator, recolor: float) -> Appearance:
    """Samples a scale within 15% of 1 and, if the asset is recolorable, other colours.

    A procedural asset, which has no colours of its own, gets a finish on every part. Of the other
    assets the share ``recolor``, 0 to 1, is recoloured: of its largest part, or its largest two,
    those without a texture get a finish; if one has a texture, all textures get a tint, since
    whatever an artist painted belongs to the identity.
    """
    scale = round(float(rng.uniform(0.85, 1.15)), 3)
    largest = sorted(asset.parts, key=lambda part: (-part.area, part.name))
    if not asset.recolorable:
        return Appearance(scale, ())
    if asset.source == "procedural":
        return Appearance(scale, _finish_all(asset, largest, rng))
    if rng.random() < 1 - recolor:
        return Appearance(scale, ())
    chosen = _largest(largest, rng)
    finishes = _finish_plain([part for part in chosen if not part.textured], rng)
    tint = (_sample_tint(rng),) if any(part.textured for part in chosen) else ()
    return Appearance(scale, finishes, tint)


def _finish_all(
    asset: Asset, parts: Sequence[Part], rng: np.random.Generator
) -> tuple[Finish, ...]:
    """Finishes for all parts of a procedural asset, most of them in three colours."""
    options = families()[asset.id.split("/")[1]].parts
    palette: list[str] = []
    first_finish: dict[tuple[str, ...], Finish] = {}
    finishes = []
    for part in parts:
        names = options[part.name]
        if names in first_finish and rng.random() < _MATCHING:
            finish = replace(first_finish[names], part=part.name)
        else:
            finish_range = finish_ranges()[names[int(rng.integers(len(names)))]]
            finish = _sample_finish(part.name, finish_range, palette, rng)
        first_finish.setdefault(names, finish)
        if len(palette) < 3 and finish.color not in palette:
            palette.append(finish.color)
        finishes.append(finish)
    return tuple(finishes)


def _largest(parts: Sequence[Part], rng: np.random.Generator) -> Sequence[Part]:
    """The largest part and, half of the time, the second if it is large too. ``parts``: the largest
    first."""
    count = 1 + int(rng.integers(2)) if len(parts) > 1 and parts[1].area > 0.15 else 1
    return parts[:count]


def _sample_tint(rng: np.random.Generator) -> Tint:
    hue = rng.uniform(-_HUE, _HUE)
    saturation, gamma = rng.uniform(*_SATURATION), rng.uniform(*_GAMMA)
    return Tint(round(float(hue), 3), round(float(saturation), 3), round(float(gamma), 3))


def _finish_plain(parts: Sequence[Part], rng: np.random.Generator) -> tuple[Finish, ...]:
    """Finishes for parts of a model file that have no texture."""
    finish_range = finish_ranges()["recolored"]
    palette: list[str] = []
    finishes = []
    for part in parts:
        finish = _sample_finish(part.name, finish_range, palette, rng)
        palette.append(finish.color)
        finishes.append(finish)
    return tuple(finishes)


def _sample_finish(
    part: str, finish_range: FinishRange, palette: Sequence[str], rng: np.random.Generator
) -> Finish:
    """A finish for ``part`` in another colour than the palette's first where there is a choice, so
    that parts can be distinguished."""
    colors = finish_range.colors or color_names()
    if palette:
        distinct = [name for name in colors if distance(name, palette[0]) >= _CONTRAST]
        used = [name for name in palette[1:] if name in distinct]
        colors = tuple(used if used and rng.random() < 0.6 else distinct or colors)
    color = colors[int(rng.integers(len(colors)))]
    pattern = "plain"
    if finish_range.patterns and rng.random() >= finish_range.plain:
        pattern = finish_range.patterns[int(rng.integers(len(finish_range.patterns)))]
    accents = sorted(finish_range.accents or color_names(), key=lambda name: -distance(name, color))
    n_distinct = sum(distance(name, color) >= _CONTRAST for name in accents)
    accent = accents[int(rng.integers(max(n_distinct, 1)))]
    roughness = round(float(rng.uniform(*finish_range.roughness)), 3)
    return Finish(part, color, pattern, accent, roughness, finish_range.metallic)
