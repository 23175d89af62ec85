"""Patterns: small square tiles in two colours that repeat without a seam.

A pattern is a coverage map: 0 where the first colour shows, 1 where the second does. They are
drawn twice as large as the tile and averaged down, which smooths their edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from datagen import resources
from datagen.catalog.looks.colors import color_rgb
from datagen.color import linear_to_srgb, srgb_to_linear

TILE = 256
_OVERSAMPLING = 2


@dataclass(frozen=True)
class Pattern:
    """One entry of assets/patterns.yaml."""

    words: str
    repeats: int
    cover: float


@cache
def patterns() -> dict[str, Pattern]:
    """Every pattern by name."""
    return resources.load("patterns.yaml", dict[str, Pattern])


def texture(pattern: str, color: str, accent: str) -> Image.Image:
    """The ``TILE`` pixel RGB tile of a pattern in two named colours; tiles side by side match."""
    share = coverage(pattern)[..., None]
    one, other = (srgb_to_linear(np.array(color_rgb(name))) for name in (color, accent))
    mixed = linear_to_srgb(one * (1 - share) + other * share)
    return Image.fromarray(np.round(mixed * 255).astype("u1"))


@cache
def coverage(pattern: str) -> np.ndarray:
    """(TILE, TILE) share of the second colour, 0..1; rows run down, as v runs up."""
    size = TILE * _OVERSAMPLING
    axis = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(axis, axis)
    fine = np.asarray(_DRAW[pattern](u, v), dtype=float)
    return fine.reshape(TILE, _OVERSAMPLING, TILE, _OVERSAMPLING).mean(axis=(1, 3))


def _plain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.zeros_like(u)


def _stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(2 * v % 1 - 0.5) < 0.19


def _bands(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(2 * u % 1 - 0.5) < 0.18


def _checks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (np.floor(4 * u) + np.floor(4 * v)) % 2 == 1


def _dots(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Two by two dots, the rows staggered."""
    x, y = 2 * u + 0.5 * np.floor(2 * v), 2 * v
    return np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.29


def _zigzag(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    wave = 0.55 * np.abs(2 * u % 1 - 0.5)
    return np.abs((2 * v + wave) % 1 - 0.5) < 0.18


def _diamonds(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(2 * u % 1 - 0.5) * 1.5 + np.abs(v * 2 % 1 - 0.5) * 0.98 < 0.42 * 1.22


def _speckle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Round spots of several sizes that keep clear of each other."""
    rng = np.random.default_rng(7)
    spots: list[tuple[float, float, float]] = []
    for radius in np.linspace(0.034, 0.009, 800):
        x, y = rng.random(2)
        if all(np.hypot(_apart(x, a), _apart(y, b)) > 1.9 * (radius + r) for a, b, r in spots):
            spots.append((x, y, radius))
    inside = np.zeros(u.shape, dtype=bool)
    for x, y, radius in spots:
        inside |= np.hypot(_apart(u, x), _apart(v, y)) < radius
    return inside


def _grain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Fibres along v: year rings that wander a little, with fine streaks between them."""
    wander = (
        0.35 * np.sin(2 * np.pi * (v + 0.13))
        + 0.20 * np.sin(2 * np.pi * (v + u + 0.4))
        + 0.55 * np.sin(2 * np.pi * (u + 0.2))
    )
    rings = ((9 * u + wander) % 1) ** 3
    streaks = np.zeros_like(u)
    rng = np.random.default_rng(11)
    for _ in range(24):
        frequency, bend = rng.integers(25, 90), rng.integers(1, 3)
        sway = 0.25 * np.sin(2 * np.pi * (bend * v + rng.random()))
        fade = 0.5 + 0.5 * np.sin(2 * np.pi * (bend * v + rng.random()))
        streaks += fade * np.sin(2 * np.pi * (frequency * u + sway + rng.random()))
    return np.clip(0.30 * rings + 0.10 + 0.035 * streaks, 0.0, 0.6)


def _apart(one: np.ndarray | float, other: np.ndarray | float) -> np.ndarray:
    """Distance around the tile's edge, of which the length is 1."""
    return np.abs((np.asarray(one) - other + 0.5) % 1 - 0.5)


_DRAW: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "plain": _plain,
    "stripes": _stripes,
    "bands": _bands,
    "checks": _checks,
    "dots": _dots,
    "zigzag": _zigzag,
    "diamonds": _diamonds,
    "speckle": _speckle,
    "grain": _grain,
}
