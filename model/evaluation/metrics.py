"""What a generated picture kept of its subjects and of where they were asked to be.

- **Routing**: is each region nearer to its own reference than to the scene's others? Chance 1/N.
- **Swap response**: two references exchanged, do their regions follow? Chance 1/2.
- **Spatial IoU**: does each subject fill its mask (``model.evaluation.segmentation``)?

The first two are measured three ways: ``color`` (how Lab colours are distributed; blind to
pattern), ``features`` (a pretrained network; colour, pattern and shape together) and ``pattern``
(the same network on grey pictures of equal mean and contrast; blind to colour).

References are re-posed views (N, s, s, 4), never the crop from the same image. Masks (N, H, W) are
where each subject was asked to be seen. A region without a pixel cannot be measured: it is NaN,
neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.evaluation.color import lab, linear, relit
from model.evaluation.features import (
    Network,
    expect_picture,
    expect_views,
    region_features,
    view_features,
)
from model.evaluation.segmentation import Segmenter, segment, spatial_iou

MEASURES = ("color", "features", "pattern")

_DIRECTIONS = 16
_QUANTILES = (np.arange(32) + 0.5) / 32
_VIEW_PIXELS = 600
_TIE = 1e-9  # of regions exactly alike, rounding makes none follow
_LIGHTNESS = 0.5  # what lightness counts against a and b: shading is not identity


@dataclass(frozen=True, eq=False)
class Identities:
    """The references of a scene, measured once for all pictures of it.

    ``colors`` (N, 27, Q, D): quantiles of their Lab pixels under each light, along each direction.
    ``palette`` (K, 3): those pixels, of all subjects. ``features`` (N, 2, C): in colour and grey.
    """

    colors: np.ndarray
    palette: np.ndarray
    features: np.ndarray


def describe(references: np.ndarray, network: Network) -> Identities:
    """``references`` (N, s, s, 4) uint8 RGBA, N 1..10; a pixel counts where alpha > 0.5. Raises
    ValueError for other shapes, and for a view without such a pixel."""
    expect_views(references)
    lit = []
    for view in references:
        pixels = linear(view[..., :3][view[..., 3] > 127])
        lit.append(relit(pixels[np.linspace(0, len(pixels) - 1, _VIEW_PIXELS).astype(int)]))
    return Identities(
        colors=np.stack([[_quantiles(colors) for colors in view] for view in lit]),
        palette=np.concatenate(lit).reshape(-1, 3),
        features=view_features(references, network),
    )


def measure(
    image: np.ndarray,
    masks: np.ndarray,
    identities: Identities,
    network: Network,
    segmenter: Segmenter,
) -> dict[str, np.ndarray]:
    """All that one picture tells: ``routing/color``, ``routing/features`` and ``routing/pattern``
    (1 right, 0 wrong; left out where N = 1) and ``iou``, each (N,), NaN where not measurable.

    ``image`` (H, W, 3) uint8, ``masks`` (N, H, W) bool. Raises ValueError for other shapes.
    """
    found = {}
    if len(masks) > 1:
        apart = distances(image, masks, identities, network)
        found = {f"routing/{name}": routed(values) for name, values in apart.items()}
    _expect_subjects(masks, identities)
    foreground = segment(image, masks, identities.palette, network, segmenter)
    unknown = np.full(len(masks), np.nan)
    found["iou"] = unknown if foreground is None else spatial_iou(foreground, masks)
    return found


def measure_swap(
    image: np.ndarray,
    masks: np.ndarray,
    identities: Identities,
    exchanged: tuple[int, int],
    network: Network,
) -> dict[str, np.ndarray]:
    """``swap/color``, ``swap/features`` and ``swap/pattern``, each (2,): do the two regions show
    each other's reference in a picture made with these two exchanged? ``masks`` and ``identities``
    in the scene's own order, ``exchanged`` two indices from 0."""
    apart = distances(image, masks, identities, network)
    return {f"swap/{name}": followed(values, exchanged) for name, values in apart.items()}


def distances(
    image: np.ndarray, masks: np.ndarray, identities: Identities, network: Network
) -> Mapping[str, np.ndarray]:
    """From each region to each reference, by each of ``MEASURES``: (N, N), NaN in the rows of
    empty regions. Colour: Lab units. Features: 1 - cosine."""
    expect_picture(image, masks)
    _expect_subjects(masks, identities)
    grid = region_features(image, masks, network)
    by_feature = [_cosine_distances(grid[:, k], identities.features[:, k]) for k in range(2)]
    return dict(
        zip(MEASURES, [_color_distances(image, masks, identities), *by_feature], strict=True)
    )


def routed(apart: np.ndarray) -> np.ndarray:
    """Which regions are nearest to their own reference: (N,), 1 yes, 0 no, NaN not measurable.
    ``apart`` (N, N) from regions to references."""
    relative = _beyond_shared(apart)
    unknown = np.isnan(relative).any(axis=1)
    nearest = np.where(unknown[:, None], 0.0, relative).argmin(axis=1)
    return np.where(unknown, np.nan, (nearest == np.arange(len(apart))).astype(float))


def followed(apart: np.ndarray, exchanged: tuple[int, int]) -> np.ndarray:
    """Which of two regions are nearer to each other's reference than to their own: (2,), as
    ``routed``. Raises ValueError unless ``exchanged`` are two subjects of the scene."""
    i, j = exchanged
    if i == j or not {i, j} <= set(range(len(apart))):
        raise ValueError(f"exchanged is {exchanged}, expected two of 0..{len(apart) - 1}")
    relative = _beyond_shared(apart)
    gain = np.array([relative[i, i] - relative[i, j], relative[j, j] - relative[j, i]])
    return np.where(np.isnan(gain), np.nan, (gain > _TIE).astype(float))


def _beyond_shared(apart: np.ndarray) -> np.ndarray:
    """Distances less what all regions have in common towards a reference.

    The scene's light, its blur, its rendering move all regions together, nearer to one reference
    and farther from another. On truth pictures of the mini set (64 px, N = 4, no relighting) colour
    routed 0.53 rightly with it and 0.75 without. Where all regions are alike, 1/N are right.
    """
    measurable = ~np.isnan(apart).any(axis=1)
    if measurable.sum() < 2:
        return apart
    return apart - apart[measurable].mean(axis=0)


def _color_distances(image: np.ndarray, masks: np.ndarray, identities: Identities) -> np.ndarray:
    """Sliced Wasserstein-1 (Bonneel et al. 2015), each reference in the light that fits best."""
    colors = lab(linear(image))
    apart = np.full((len(masks), len(masks)), np.nan)
    for i, mask in enumerate(masks):
        if mask.any():
            gap = np.abs(identities.colors - _quantiles(colors[mask]))
            apart[i] = gap.mean(axis=(2, 3)).min(axis=1)
    return apart


def _quantiles(colors: np.ndarray) -> np.ndarray:
    """Of Lab pixels (P, 3), along each direction: (Q, D)."""
    ordered = np.sort((colors * [_LIGHTNESS, 1.0, 1.0]) @ _hemisphere().T, axis=0)
    place = _QUANTILES * (len(ordered) - 1)
    below = place.astype(int)
    above = np.minimum(below + 1, len(ordered) - 1)
    part = (place - below)[:, None]
    return ordered[below] * (1 - part) + ordered[above] * part


def _hemisphere() -> np.ndarray:
    """Directions (D, 3) spread evenly, by the golden angle; opposite ones tell the same."""
    k = np.arange(_DIRECTIONS) + 0.5
    z = 1 - k / _DIRECTIONS
    angle = k * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def _cosine_distances(regions: np.ndarray, references: np.ndarray) -> np.ndarray:
    unit = [x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-3) for x in (regions, references)]
    return 1 - unit[0] @ unit[1].T


def _expect_subjects(masks: np.ndarray, identities: Identities) -> None:
    if len(masks) != len(identities.colors):
        raise ValueError(f"{len(masks)} masks for {len(identities.colors)} references")
