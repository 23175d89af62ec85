"""How an asset looks this time: draws appearances, and fingerprints identities."""

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
from datagen.scene import Appearance, Asset, Finish, Part

# Colours that are to be told apart in one asset are at least this distant.
_CONTRAST = 0.3
# How often parts that may be of the same stuff are.
_MATCHING = 0.7
# How often an asset from elsewhere keeps its own colours.
_ORIGINAL = 0.5


@dataclass(frozen=True)
class Stuff:
    """One entry of assets/finishes.yaml."""

    roughness: tuple[float, float]
    colors: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    plain: float = 1.0
    accents: tuple[str, ...] = ()
    metallic: float = 0.0


@cache
def stuffs() -> dict[str, Stuff]:
    """Every finish a part may be drawn from, by name."""
    return resources.load("finishes.yaml", dict[str, Stuff])


def fingerprint(asset: Asset, appearance: Appearance) -> str:
    """16 hex digits that tell an identity from every other: of the asset's digest and the
    appearance."""
    look = msgspec.json.encode(appearance, order="deterministic")
    return hashlib.sha256(asset.digest.encode() + b"\0" + look).hexdigest()[:16]


def draw_appearance(asset: Asset, rng: np.random.Generator) -> Appearance:
    """A look for the asset: its scale within 15% and, unless it is not recolorable, finishes.

    A procedural asset gets one on every part. Half of the others keep their own colours, the
    rest are recoloured on their largest part or two.
    """
    scale = round(float(rng.uniform(0.85, 1.15)), 3)
    largest = sorted(asset.parts, key=lambda part: (-part.area, part.name))
    if not asset.recolorable:
        finishes: tuple[Finish, ...] = ()
    elif asset.source == "procedural":
        finishes = _dressed(asset, largest, rng)
    elif rng.random() < _ORIGINAL:
        finishes = ()
    else:
        finishes = _recolored(largest, rng)
    return Appearance(scale, finishes)


def _dressed(asset: Asset, parts: Sequence[Part], rng: np.random.Generator) -> tuple[Finish, ...]:
    """Finishes for all parts of a procedural asset, most of them from three colours."""
    options = families()[asset.id.split("/")[1]].parts
    palette: list[str] = []
    drawn: dict[tuple[str, ...], Finish] = {}
    finishes = []
    for part in parts:
        choice = options[part.name]
        if choice in drawn and rng.random() < _MATCHING:
            finish = replace(drawn[choice], part=part.name)
        else:
            stuff = stuffs()[choice[int(rng.integers(len(choice)))]]
            finish = _finish(part.name, stuff, palette, rng)
        drawn.setdefault(choice, finish)
        if len(palette) < 3 and finish.color not in palette:
            palette.append(finish.color)
        finishes.append(finish)
    return tuple(finishes)


def _recolored(parts: Sequence[Part], rng: np.random.Generator) -> tuple[Finish, ...]:
    """Finishes for the largest part, and for the second if it is large too."""
    stuff = stuffs()["recolored"]
    count = 1 + int(rng.integers(2)) if len(parts) > 1 and parts[1].area > 0.15 else 1
    palette: list[str] = []
    finishes = []
    for part in parts[:count]:
        finish = _finish(part.name, stuff, palette, rng)
        palette.append(finish.color)
        finishes.append(finish)
    return tuple(finishes)


def _finish(part: str, stuff: Stuff, palette: Sequence[str], rng: np.random.Generator) -> Finish:
    """A finish of some stuff: another colour than the palette's first where there is a choice,
    so that parts are told apart."""
    colors = stuff.colors or color_names()
    if palette:
        fresh = [name for name in colors if distance(name, palette[0]) >= _CONTRAST]
        known = [name for name in palette[1:] if name in fresh]
        colors = tuple(known if known and rng.random() < 0.6 else fresh or colors)
    color = colors[int(rng.integers(len(colors)))]
    pattern = "plain"
    if stuff.patterns and rng.random() >= stuff.plain:
        pattern = stuff.patterns[int(rng.integers(len(stuff.patterns)))]
    others = sorted(stuff.accents or color_names(), key=lambda name: -distance(name, color))
    clear = sum(distance(name, color) >= _CONTRAST for name in others)
    accent = others[int(rng.integers(max(clear, 1)))]
    roughness = round(float(rng.uniform(*stuff.roughness)), 3)
    return Finish(part, color, pattern, accent, roughness, stuff.metallic)
