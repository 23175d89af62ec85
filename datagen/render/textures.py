"""Seamless procedural textures of grounds and walls.

Each texture is a function of a random generator and the sRGB colour of the material, and returns
``SurfaceMaps``: colour, height and roughness of one periodic square. Heights are in pixels of that
square, so that the normal map needs no scale.

To add a texture, write such a function, add it to ``_TEXTURES`` and name it in
assets/surfaces.yaml.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datagen.render.noise import SIZE, Tiling, blades, courses, grid, herringbone, noise, stones
from datagen.scene import Vec3


@dataclass(frozen=True, eq=False)
class SurfaceMaps:
    """``color`` (N, N, 3) sRGB 0 to 1; ``height`` (N, N) in pixels; ``roughness`` (N, N) 0 to 1, or
    one value inside this module. Rows go down, as in an image; glTF's v goes up."""

    color: np.ndarray
    height: np.ndarray
    roughness: np.ndarray


def surface_maps(texture: str, color: Vec3, rng: np.random.Generator) -> SurfaceMaps:
    """Makes one square of a texture.

    Args:
        texture: one of ``texture_names``.
        color: sRGB colour of the material, 0 to 1.
        rng: source of randomness.
    """
    maps = _TEXTURES[texture](rng, np.array(color))
    roughness = np.broadcast_to(maps.roughness, (SIZE, SIZE))
    return SurfaceMaps(np.clip(maps.color, 0, 1), maps.height, np.clip(roughness, 0.05, 1))


def texture_names() -> tuple[str, ...]:
    """The name of every texture."""
    return tuple(_TEXTURES)


def normals(height: np.ndarray) -> np.ndarray:
    """Tangent-space normals (N, N, 3) of heights (N, N) in pixels, as glTF stores them: 0 to 1, +x
    along u, +y along v."""
    down = (np.roll(height, -1, axis=0) - np.roll(height, 1, axis=0)) / 2
    right = (np.roll(height, -1, axis=1) - np.roll(height, 1, axis=1)) / 2
    normal = np.dstack([-right, down, np.ones_like(height)])
    unit: np.ndarray = normal / np.linalg.norm(normal, axis=2, keepdims=True)
    return unit / 2 + 0.5


def _tinted(color: np.ndarray, value: np.ndarray, hue: np.ndarray | float = 0.0) -> np.ndarray:
    """The colour (3,) as (N, N, 3), made lighter by the share ``value`` and warmer by ``hue``."""
    value, hue = np.broadcast_arrays(value, hue)
    warmth = 1 + hue[..., None] * np.array([1.0, 0.0, -1.0])
    tinted: np.ndarray = color * (1 + value)[..., None] * warmth
    return tinted


def _mixed(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Two colours, mixed with ``share`` (N, N) of the second."""
    mixed: np.ndarray = first * (1 - share[..., None]) + second * share[..., None]
    return mixed


def _wood(rng: np.random.Generator, tiling: Tiling, upright: np.ndarray | None) -> np.ndarray:
    """Wood grain (N, N) along each piece, with a standard deviation of about 1: wavy rings, and
    pores. Each piece is cut from another part of the same grain; the grain is along u, or along v
    where ``upright`` (N, N) is True."""
    wander = noise(rng, 2.0, 2, stretch=7)
    rings = np.sin(14 * wander + 3 * noise(rng, 1.5, 4, stretch=10))
    pores = np.minimum(noise(rng, 0.4, 60, stretch=14), 0.5)
    grain = 0.55 * rings * (0.6 + 0.4 * np.tanh(noise(rng, 2, 2))) + 0.6 * pores + 0.4 * wander
    rows, columns = np.indices((SIZE, SIZE))
    if upright is not None:
        rows, columns = np.where(upright, columns, rows), np.where(upright, rows, columns)
    down, right = rng.integers(0, SIZE, (2, tiling.count))
    cut: np.ndarray = grain[
        (rows + tiling.to_pixels(down)) % SIZE, (columns + tiling.to_pixels(right)) % SIZE
    ]
    return cut


# The textures. Their numbers were chosen by eye on path-traced images.


def _boards(
    rng: np.random.Generator, color: np.ndarray, tiling: Tiling, upright: np.ndarray | None = None
) -> SurfaceMaps:
    grain = _wood(rng, tiling, upright)
    tone = tiling.to_pixels(rng.normal(0, 0.09, tiling.count))
    warmth = tiling.to_pixels(rng.normal(0, 0.025, tiling.count))
    gap = tiling.mortar(0.6)
    shade = tone + 0.075 * grain + 0.02 * noise(rng, 1.5, 2)
    boards = _mixed(_tinted(color, shade, warmth), 0.28 * color, gap)
    height = 1.6 * tiling.rounded(4) + 0.09 * grain
    return SurfaceMaps(boards, height, 0.42 + 0.05 * grain + 0.4 * gap)


def _planks(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    return _boards(rng, color, courses(8, 2, rng.random(8) * 2))


def _panels(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    """Vertical boards over the whole height."""
    flat = _boards(rng, color, courses(8, 1, rng.random(8)))
    return SurfaceMaps(flat.color.transpose(1, 0, 2), flat.height.T, flat.roughness.T)


def _parquet(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    return _boards(rng, color, *herringbone(16, 4))


def _glazed(rng: np.random.Generator, tiling: Tiling, colors: np.ndarray) -> SurfaceMaps:
    """Tiles of the given colours (count, 3) with a gray grout."""
    clouds = noise(rng, 1.8, 3)
    tone = tiling.to_pixels(rng.normal(0, 0.025, tiling.count)) + 0.02 * clouds
    grout = tiling.mortar(2.2)
    grit = noise(rng, 0.3, 50)
    faces = tiling.to_pixels(colors) * (1 + tone)[..., None]
    surface = _mixed(faces, _tinted(np.full(3, 0.55), 0.06 * grit), grout)
    height = 3.0 * tiling.rounded(5) * (1 - grout) + 0.25 * grout * grit + 0.5 * clouds
    return SurfaceMaps(surface, height, 0.16 + 0.02 * clouds + 0.7 * grout)


def _tiles(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    tiling = courses(4, 4, np.zeros(4))
    return _glazed(rng, tiling, np.tile(color, (tiling.count, 1)))


def _checker(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    """Tiles of the colour and of white, alternating."""
    tiling = courses(4, 4, np.zeros(4))
    row, column = np.divmod(np.arange(tiling.count), 4)
    white = (row + column) % 2 == 1
    return _glazed(rng, tiling, np.where(white[:, None], [0.9, 0.9, 0.88], color))


def _small_tiles(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    """Tiles twice as wide as high, in running bond."""
    tiling = courses(8, 4, np.arange(8) % 2 / 2)
    return _glazed(rng, tiling, np.tile(color, (tiling.count, 1)))


def _bricks(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    tiling = courses(10, 4, np.arange(10) % 2 / 2 + rng.normal(0, 0.02, 10))
    rough, clouds = noise(rng, 0.7, 12), noise(rng, 1.6, 3)
    tone = tiling.to_pixels(rng.normal(0, 0.12, tiling.count)) + 0.05 * rough + 0.05 * clouds
    warmth = tiling.to_pixels(rng.normal(0, 0.03, tiling.count))
    joint = tiling.mortar(2.6 + 0.5 * clouds)
    mortar = _tinted(np.array([0.62, 0.60, 0.56]), 0.07 * noise(rng, 0.4, 30))
    surface = _mixed(_tinted(color, tone, warmth), mortar, joint)
    height = 5.0 * tiling.rounded(7) * (1 - joint) + 0.35 * rough
    return SurfaceMaps(surface, height, 0.85 + 0.05 * rough)


def _cobbles(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    tiling = stones(rng, 10, 0.16)
    rough = noise(rng, 0.8, 10)
    tone = tiling.to_pixels(rng.normal(0, 0.12, tiling.count)) + 0.06 * rough
    warmth = tiling.to_pixels(rng.normal(0, 0.025, tiling.count))
    joint = tiling.mortar(2.2)
    dirt = _tinted(np.array([0.30, 0.27, 0.23]), 0.15 * noise(rng, 0.4, 30))
    surface = _mixed(_tinted(color, tone, warmth), dirt, joint)
    height = 13.0 * tiling.rounded(19) + 0.5 * rough
    return SurfaceMaps(surface, height, 0.75 + 0.05 * rough)


def _gravel(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    tiling = stones(rng, 34, 0.42)
    rough = noise(rng, 0.6, 20)
    tone = tiling.to_pixels(rng.normal(0, 0.17, tiling.count)) + 0.05 * rough
    warmth = tiling.to_pixels(rng.normal(0, 0.035, tiling.count))
    dome = tiling.rounded(8)
    level = tiling.to_pixels(rng.uniform(0, 3, tiling.count))
    surface = _tinted(color, tone, warmth) * (0.42 + 0.58 * np.sqrt(dome))[..., None]
    return SurfaceMaps(surface, 6.5 * dome + level * dome + 0.3 * rough, np.array(0.9))


def _asphalt(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    tiling = stones(rng, 76, 0.45)
    clouds, grit = noise(rng, 1.7, 2), noise(rng, 0.3, 60)
    light = rng.normal(0, 0.16, tiling.count) + 0.5 * (rng.random(tiling.count) > 0.94)
    stone = tiling.rounded(3)
    tone = tiling.to_pixels(light) * stone + 0.05 * clouds + 0.08 * grit - 0.12 * (1 - stone)
    return SurfaceMaps(_tinted(color, tone), 1.3 * stone + 0.4 * grit, 0.85 + 0.05 * clouds)


def _concrete(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    clouds, grit = noise(rng, 1.6, 2), noise(rng, 0.35, 40)
    pits = np.clip(noise(rng, 1.0, 45) - 2.3, 0, 1)
    cracks = np.exp(-np.abs(noise(rng, 2.4, 1)) / 0.008) * (noise(rng, 1.8, 2) > 0.9)
    tone = 0.055 * clouds + 0.025 * grit - 0.35 * pits - 0.25 * cracks
    height = 0.3 * clouds + 0.16 * grit - 2.5 * pits - 1.5 * cracks
    return SurfaceMaps(
        _tinted(color, tone, 0.008 * noise(rng, 1.8, 1)), height, 0.75 - 0.06 * clouds
    )


def _marble(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    """Slabs, two by two, with veins of a lighter or a darker shade."""
    tiling = courses(2, 2, np.zeros(2))
    bend = noise(rng, 2.1, 1)
    broad = np.exp(-np.abs(bend + 0.25 * noise(rng, 1.7, 4)) / 0.05)
    fine = np.exp(-np.abs(noise(rng, 1.9, 3)) / 0.02) * np.clip(noise(rng, 2, 2), 0, 1)
    clouds = noise(rng, 1.9, 2)
    veins = np.clip(0.55 * broad + 0.5 * fine, 0, 1) * (0.45 + 0.3 * np.tanh(clouds))
    vein = color * 0.45 if color.mean() > 0.4 else 0.35 * color + 0.5
    down, right = rng.integers(0, SIZE, (2, tiling.count))
    rows, columns = np.indices((SIZE, SIZE))
    cut = (rows + tiling.to_pixels(down)) % SIZE, (columns + tiling.to_pixels(right)) % SIZE
    slabs = _mixed(_tinted(color, 0.03 * clouds), vein, veins)[cut]
    joint = 0.6 * tiling.mortar(0.5)
    return SurfaceMaps(slabs * (1 - joint)[..., None], 0.8 * tiling.rounded(2.5), 0.1 + 0.5 * joint)


def _grass(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    value, tip = blades(rng, 15000, 34, 2)
    patches = noise(rng, 1.7, 2)
    dry = np.clip((value - 0.9) * 10, 0, 1)
    tone = 0.55 * (value - 0.5) + 0.5 * (tip - 0.5) + 0.1 * patches
    lawn = _tinted(color, tone, 0.09 * (value * 7 % 1 - 0.5) + 0.04 * patches)
    straw = np.array([0.62, 0.58, 0.32])
    surface = _mixed(lawn, straw * (0.7 + 0.4 * tip)[..., None], 0.55 * dry)
    return SurfaceMaps(surface, 5 * tip + 2 * value, np.array(0.8))


def _carpet(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    value, tip = blades(rng, 26000, 9, 2)
    pile = noise(rng, 1.7, 3)
    tone = 0.20 * (value - 0.5) + 0.30 * (tip - 0.5) + 0.035 * pile
    return SurfaceMaps(_tinted(color, tone), 2.2 * tip + value + 0.8 * pile, np.array(1.0))


def _sand(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    u, v = grid()
    dunes, grain = noise(rng, 2.2, 1), noise(rng, 0.15, 90)
    phase = 2 * np.pi * (9 * v + 2 * u) + 1.1 * dunes
    ripples = np.sin(phase + 0.45 * np.sin(phase)) * (0.65 + 0.35 * np.tanh(noise(rng, 2, 2)))
    tone = 0.045 * ripples + 0.03 * dunes + 0.075 * grain
    height = 3.4 * ripples + 3.0 * dunes + 0.35 * grain
    return SurfaceMaps(_tinted(color, tone, 0.015 * grain), height, np.array(0.95))


def _earth(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    clods, crumbs = noise(rng, 1.25, 6), noise(rng, 0.6, 24)
    pebbles = stones(rng, 40, 0.45)
    shown = pebbles.to_pixels(rng.random(pebbles.count) > 0.93) * pebbles.rounded(5)
    soil = _tinted(color, 0.10 * clods + 0.09 * crumbs, 0.02 * noise(rng, 1.8, 2))
    rock = _tinted(0.4 * color + 0.3, 0.08 * crumbs)
    height = 3.0 * clods + 1.1 * crumbs + 4.0 * shown
    return SurfaceMaps(_mixed(soil, rock, 0.8 * shown), height, np.array(0.95))


def _plaster(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    clouds, stipple = noise(rng, 1.7, 2), noise(rng, 0.7, 26)
    return SurfaceMaps(_tinted(color, 0.012 * clouds), 0.35 * stipple, 0.8 + 0.03 * clouds)


def _papered(rng: np.random.Generator, color: np.ndarray, share: np.ndarray) -> SurfaceMaps:
    """White paper, printed in the colour where ``share`` (N, N) is 1."""
    fibre = noise(rng, 0.4, 30)
    paper = _tinted(np.array([0.91, 0.90, 0.86]), 0.01 * fibre)
    print_ = _tinted(color, 0.02 * fibre)
    return SurfaceMaps(_mixed(paper, print_, share), 0.25 * fibre + 0.4 * share, 0.75 - 0.1 * share)


def _striped(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    u, _ = grid()
    return _papered(rng, color, np.clip((0.25 - np.abs(8 * u % 1 - 0.5)) * SIZE / 8 + 0.5, 0, 1))


def _dotted(rng: np.random.Generator, color: np.ndarray) -> SurfaceMaps:
    u, v = grid()
    x = 8 * u + 0.5 * np.floor(8 * v)
    from_center = np.hypot(x % 1 - 0.5, 8 * v % 1 - 0.5)
    return _papered(rng, color, np.clip((0.24 - from_center) * SIZE / 8 + 0.5, 0, 1))


_TEXTURES: dict[str, Callable[[np.random.Generator, np.ndarray], SurfaceMaps]] = {
    "asphalt": _asphalt,
    "bricks": _bricks,
    "carpet": _carpet,
    "checker": _checker,
    "cobbles": _cobbles,
    "concrete": _concrete,
    "dotted": _dotted,
    "earth": _earth,
    "grass": _grass,
    "gravel": _gravel,
    "marble": _marble,
    "panels": _panels,
    "parquet": _parquet,
    "planks": _planks,
    "plaster": _plaster,
    "sand": _sand,
    "small_tiles": _small_tiles,
    "striped": _striped,
    "tiles": _tiles,
}
