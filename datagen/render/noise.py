"""Noise, tilings and strokes, from which seamless textures are made.

Everything is periodic over a square of ``SIZE`` pixels. Arrays are (N, N) with N = ``SIZE``; u goes
to the right and v down, both 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

SIZE = 512
"""Pixels along each side of the square."""


def grid() -> tuple[np.ndarray, np.ndarray]:
    """u and v (N, N) of the pixel centres, 0 to 1."""
    axis = (np.arange(SIZE) + 0.5) / SIZE
    u, v = np.meshgrid(axis, axis)
    return u, v


def noise(
    rng: np.random.Generator, slope: float, coarsest: float = 1, stretch: float = 1
) -> np.ndarray:
    """Noise of mean 0 and standard deviation 1 whose amplitude falls as frequency ** -slope.

    Args:
        rng: source of randomness.
        slope: exponent of the amplitude.
        coarsest: waves per square below which the amplitude is constant.
        stretch: factor by which the noise is longer along u.

    Returns:
        (N, N).
    """
    waves = np.fft.fftfreq(SIZE, 1 / SIZE)
    frequency = np.hypot(waves[None, :] * stretch, waves[:, None])
    amplitude = np.maximum(frequency, coarsest) ** -slope
    amplitude[0, 0] = 0
    field: np.ndarray = np.fft.ifft2(
        np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * amplitude
    ).real
    field /= field.std()
    return field


@dataclass(frozen=True, eq=False)
class Tiling:
    """``count`` pieces that cover the square. ``piece`` (N, N): index of the piece at each pixel;
    ``edge`` (N, N): distance to the border of the piece in pixels."""

    piece: np.ndarray
    edge: np.ndarray
    count: int

    def to_pixels(self, values: np.ndarray) -> np.ndarray:
        """Values (count, ...) per piece as values (N, N, ...) per pixel."""
        per_pixel: np.ndarray = values[self.piece]
        return per_pixel

    def mortar(self, width: float | np.ndarray) -> np.ndarray:
        """(N, N): 1 within ``width`` pixels of a border, falling to 0 within 1.5 pixels."""
        return np.clip((width - self.edge) / 1.5 + 1, 0, 1)

    def rounded(self, radius: float) -> np.ndarray:
        """(N, N): 0 at borders, rising to 1 at ``radius`` pixels along a quarter circle."""
        shoulder: np.ndarray = np.sqrt(1 - (1 - np.clip(self.edge / radius, 0, 1)) ** 2)
        return shoulder


def courses(rows: int, columns: int, shifts: np.ndarray) -> Tiling:
    """Rows of equal pieces, ``columns`` per row; row i is shifted along u by ``shifts[i]``
    pieces."""
    u, v = grid()
    row = np.floor(v * rows).astype(int)
    x = (u * columns + shifts[row]) % columns
    y = v * rows % 1
    to_side = np.minimum(x % 1, 1 - x % 1) * SIZE / columns
    to_row = np.minimum(y, 1 - y) * SIZE / rows
    piece = row * columns + np.floor(x).astype(int)
    return Tiling(piece, np.minimum(to_side, to_row), rows * columns)


def herringbone(cells: int, length: int) -> tuple[Tiling, np.ndarray]:
    """A herringbone of blocks of 1 by ``length`` cells, and where (N, N) the blocks are along v."""
    u, v = grid()
    i, j = np.floor(u * cells).astype(int), np.floor(v * cells).astype(int)
    step = (i - j) % (2 * length)
    flat = step < length
    first_i = np.where(flat, i - step, i) % cells
    first_j = np.where(flat, j, j - (2 * length - 1 - step)) % cells
    x, y = (u * cells - first_i) % cells, (v * cells - first_j) % cells
    wide, high = np.where(flat, length, 1), np.where(flat, 1, length)
    edge = np.minimum(np.minimum(x, wide - x), np.minimum(y, high - y)) * SIZE / cells
    piece = (first_i * cells + first_j) * 2 + flat
    return Tiling(piece, edge, 2 * cells * cells), ~flat


def stones(rng: np.random.Generator, across: int, jitter: float) -> Tiling:
    """Voronoi cells of the jittered nodes of a staggered grid with ``across`` (even) nodes per
    side."""
    i, j = np.meshgrid(np.arange(across), np.arange(across))
    nodes = np.column_stack([(i + 0.5 * (j % 2)).ravel(), j.ravel()]) + 0.5
    nodes = (nodes + rng.uniform(-jitter, jitter, nodes.shape)) / across % 1
    bend = np.dstack([noise(rng, 2.6, across), noise(rng, 2.6, across)])
    wobble = 0.1 / across * bend
    points = (np.dstack(grid()) + wobble).reshape(-1, 2) % 1
    distances, owners = cKDTree(nodes, boxsize=1).query(points, k=2)
    gap = nodes[owners[:, 0]] - nodes[owners[:, 1]]
    apart = np.linalg.norm((gap + 0.5) % 1 - 0.5, axis=1)
    # Distance to the bisector of the two nearest nodes.
    edge = (distances[:, 1] ** 2 - distances[:, 0] ** 2) / (2 * apart) * SIZE
    return Tiling(owners[:, 0].reshape(SIZE, SIZE), edge.reshape(SIZE, SIZE), len(nodes))


def blades(
    rng: np.random.Generator, count: int, length: float, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """``count`` strokes in random directions, later strokes over earlier ones; ``length`` and
    ``width`` in pixels.

    Returns:
        A random value per stroke, and the share of the stroke's length from its root; both (N, N),
        0 to 1.
    """
    steps = np.linspace(0, 1, int(length * 1.3))
    start = rng.uniform(0, SIZE, (count, 2))
    angle, bend = rng.uniform(0, 2 * np.pi, count), rng.normal(0, 0.7, count)
    lengths = length * rng.uniform(0.5, 1.0, count)
    heading = angle[:, None] + bend[:, None] * steps
    path = np.stack([np.cos(heading), np.sin(heading)], axis=2)
    path *= (lengths / len(steps))[:, None, None]
    spots = start[:, None, :] + np.cumsum(path, axis=1)
    value, tip = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
    values = np.broadcast_to(rng.random(count)[:, None], spots.shape[:2])
    tips = np.broadcast_to(steps, spots.shape[:2])
    # In groups, so that the whole width of a stroke is over the strokes of earlier groups.
    for part in np.array_split(np.arange(count), 24):
        for offset in range(width):
            x = (spots[part, :, 0] + offset).astype(int) % SIZE
            y = spots[part, :, 1].astype(int) % SIZE
            value[y, x], tip[y, x] = values[part], tips[part]
    return value, tip
