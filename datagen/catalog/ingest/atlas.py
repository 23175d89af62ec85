"""A texture in which every triangle of a mesh has texels of its own, for colours that cannot be
stored over the mesh's own texture coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Texels along a triangle's square: interpolation between 2 is exact for a linear gradient.
_FEWEST, _MOST = 2, 512


@dataclass(frozen=True, eq=False)
class TextureAtlas:
    """``side``: pixels of the square texture. ``uv`` (F, 3, 2): texture coordinates of the corners,
    v upward. For each of N texels that belong to a triangle: its triangle in ``faces`` (N,), its
    place in the texture (``rows``, ``columns``), and its barycentric coordinates ``weights``
    (N, 3), some a little outside the triangle."""

    side: int
    uv: np.ndarray
    faces: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    weights: np.ndarray

    def interpolate(self, corners: np.ndarray) -> np.ndarray:
        """Values (N, D) of the texels from values (F, 3, D) of the triangles' corners."""
        return np.einsum("nc,ncd->nd", self.weights, corners[self.faces])

    def draw(self, values: np.ndarray) -> np.ndarray:
        """The texture (side, side, D) of values (N, D) of the texels; 0 elsewhere."""
        pixels = np.zeros((self.side, self.side, values.shape[1]))
        pixels[self.rows, self.columns] = values
        return pixels


def make_atlas(texels: np.ndarray, area: int) -> TextureAtlas:
    """Gives each triangle a square of texels, of which it uses one half.

    The sides of the squares are powers of two. In descending order, laid out along a Z-order curve
    (Morton 1966), such squares leave no gap.

    Args:
        texels: (F,) texels wanted along the longest edge of each triangle.
        area: most texels of the whole texture. Where the triangles want more, each gets fewer, but
            at least one.
    """
    wanted = np.clip(texels, _FEWEST, _MOST)
    sizes = 2 ** np.ceil(np.log2(wanted)).astype(np.int64)
    while (sizes**2).sum() > area and sizes.max() > 1:
        smallest = _FEWEST if sizes.max() > _FEWEST else 1
        sizes = np.maximum(sizes // 2, smallest)
    order = np.argsort(-sizes, kind="stable")
    starts = np.zeros(len(sizes), np.int64)
    starts[order] = np.cumsum(sizes[order] ** 2) - sizes[order] ** 2
    left, top = _every_second_bit(starts), _every_second_bit(starts >> 1)
    side = 1 << int(np.ceil(np.log2(np.sqrt((sizes**2).sum()))))

    parts = []
    uv = np.zeros((len(sizes), 3, 2))
    for size in np.unique(sizes).tolist():
        members = np.flatnonzero(sizes == size)
        column, row = [axis.ravel() for axis in np.meshgrid(np.arange(size), np.arange(size))]
        # Corners lie at the centres of texels, so that no neighbour is mixed in.
        x, y = (column / (size - 1), row / (size - 1)) if size > 1 else (1 / 3, 1 / 3)
        weights = np.column_stack(np.broadcast_arrays(1 - x - y, x, y))
        count = len(column)
        parts.append(
            (
                np.repeat(members, count),
                (top[members, None] + row).ravel(),
                (left[members, None] + column).ravel(),
                np.tile(weights.reshape(count, 3), (len(members), 1)),
            )
        )
        corner = np.array([[0, 0], [size - 1, 0], [0, size - 1]]) + 0.5
        origin = np.column_stack([left[members], top[members]])
        uv[members] = (origin[:, None] + corner) / side
    uv[..., 1] = 1 - uv[..., 1]
    faces, rows, columns, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    return TextureAtlas(side, uv, faces, rows, columns, weights)


def _every_second_bit(codes: np.ndarray) -> np.ndarray:
    """The even bits of 64-bit codes, moved together."""
    bits = np.zeros_like(codes)
    for bit in range(31):
        bits |= ((codes >> (2 * bit)) & 1) << bit
    return bits
