"""Patterns: square tiles in two colours that repeat without a seam.

A pattern is a coverage map: 0 where the first colour is visible, 1 where the second is. It is
computed at twice the size of the tile and averaged down, which smooths its edges.

To add a pattern, write a function of u and v, add it to ``_COVERAGE``, and describe it in
assets/patterns.yaml and, where it is an adjective, in assets/prompts.yaml.
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
    """One entry of assets/patterns.yaml. ``words``: its phrase in a caption; ``repeats``: tiles per
    repeat of the texture coordinates; ``cover``: share of the tile in the second colour."""

    words: str
    repeats: int
    cover: float


@cache
def patterns() -> dict[str, Pattern]:
    """Every pattern by name."""
    return resources.load("patterns.yaml", dict[str, Pattern])


def texture(pattern: str, color: str, accent: str) -> Image.Image:
    """A pattern in two named colours: an RGB tile of ``TILE`` pixels per side that repeats."""
    share = coverage(pattern)[..., None]
    first, second = (srgb_to_linear(np.array(color_rgb(name))) for name in (color, accent))
    mixed = linear_to_srgb(first * (1 - share) + second * share)
    return Image.fromarray(np.round(mixed * 255).astype("u1"))


@cache
def coverage(pattern: str) -> np.ndarray:
    """Share of the second colour (TILE, TILE), 0 to 1; rows go down, as in an image, v goes up."""
    size = TILE * _OVERSAMPLING
    axis = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(axis, axis)
    fine = np.asarray(_COVERAGE[pattern](u, v), dtype=float)
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
    """Round spots of several sizes that do not touch."""
    rng = np.random.default_rng(7)
    spots: list[tuple[float, float, float]] = []
    for radius in np.linspace(0.034, 0.009, 800):
        x, y = rng.random(2)
        if all(
            np.hypot(_periodic_distance(x, a), _periodic_distance(y, b)) > 1.9 * (radius + r)
            for a, b, r in spots
        ):
            spots.append((x, y, radius))
    inside = np.zeros(u.shape, dtype=bool)
    for x, y, radius in spots:
        inside |= np.hypot(_periodic_distance(u, x), _periodic_distance(v, y)) < radius
    return inside


def _grain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Wood fibres along v: slightly wavy year rings with fine streaks between them."""
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


def _periodic_distance(one: np.ndarray | float, other: np.ndarray | float) -> np.ndarray:
    """Distance of two coordinates in a tile that repeats with period 1."""
    return np.abs((np.asarray(one) - other + 0.5) % 1 - 0.5)


_COVERAGE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
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
