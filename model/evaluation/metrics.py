"""Metrics of one generated picture: identity and placement of its subjects.

- **Routing**: is each region nearer to its own reference than to the others of the scene? Chance is
  1/N.
- **Swap response**: when two references are exchanged, is each region nearer to the one that it was
  given than to its own? Chance is 1/2.
- **Assignment** and **swap assignment**: the same of distances relative to the other regions
  (``relative_distances``), of equal chance. With two subjects it is a verdict on both together:
  which of the two assignments of references to regions has the smaller sum of distances. A region
  that looks like the other subject counts as right if the other region does even more so.
- **Spatial IoU**: does each subject fill its mask (``model.evaluation.segmentation``)?

All but the last are measured in three ways: ``color`` (distribution of Lab colours; blind
to pattern), ``features`` (a pretrained network; colour, pattern and shape together) and ``pattern``
(the same network on grey pictures of equal mean and contrast; blind to colour).

References are re-posed views (N, s, s, 4), never the crop from the same image. Masks (N, H, W) are
the pixels where each subject should be visible. An empty region cannot be measured: its value is
NaN, which counts neither as right nor as wrong.
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
_TIE = 1e-9  # so that rounding errors of exactly equal regions are no swap response
_LIGHTNESS = 0.5  # weight of lightness against a and b: shading is not identity


@dataclass(frozen=True, eq=False)
class Identities:
    """The references of a scene, measured once for all pictures of the scene.

    Attributes:
        colors: (N, 27, Q, D), quantiles of the Lab pixels under each light, along each direction.
        palette: (K, 3), those Lab pixels, of all subjects together.
        features: (N, 2, C), in colour and in grey.
    """

    colors: np.ndarray
    palette: np.ndarray
    features: np.ndarray


def describe(references: np.ndarray, network: Network) -> Identities:
    """Measures the references of a scene.

    Args:
        references: (N, s, s, 4) uint8 RGBA, N 1..10; pixels of alpha above 0.5 count.
        network: Extracts features.

    Raises:
        ValueError: the array has another shape or type, or a view has no such pixel.
    """
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
    """Routing, assignment and spatial IoU of one picture.

    Args:
        image: (H, W, 3) uint8.
        masks: (N, H, W) bool.
        identities: The references of the scene.
        network: Extracts features.
        segmenter: Finds the pixels of subjects.

    Returns:
        ``routing/NAME`` and ``assignment/NAME`` for each of ``MEASURES`` (1 right, 0 wrong; missing
        where N = 1) and ``iou``, each (N,), NaN where it cannot be measured.

    Raises:
        ValueError: an array has another shape or type.
    """
    found = {}
    if len(masks) > 1:
        apart = distances(image, masks, identities, network)
        found = {f"routing/{name}": routed(values) for name, values in apart.items()}
        for name, values in apart.items():
            found[f"assignment/{name}"] = routed(relative_distances(values))
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
    """Swap response of one picture that was generated with two references exchanged.

    Args:
        image: (H, W, 3) uint8.
        masks: (N, H, W) bool, in the order of the scene.
        identities: The references, in the order of the scene.
        exchanged: Indices from 0 of the two subjects.
        network: Extracts features.

    Returns:
        ``swap/NAME`` and ``swap assignment/NAME`` for each of ``MEASURES``, each (2,): 1 where the
        region shows the reference of the other subject, 0 where not, NaN where it cannot be
        measured.
    """
    apart = distances(image, masks, identities, network)
    found = {f"swap/{name}": followed(values, exchanged) for name, values in apart.items()}
    for name, values in apart.items():
        found[f"swap assignment/{name}"] = followed(relative_distances(values), exchanged)
    return found


def distances(
    image: np.ndarray, masks: np.ndarray, identities: Identities, network: Network
) -> Mapping[str, np.ndarray]:
    """Distances from each region to each reference, by each of ``MEASURES``.

    Returns:
        (N, N) per measure, NaN in the rows of empty regions; in Lab units for ``color``, else
        1 - cosine.
    """
    expect_picture(image, masks)
    _expect_subjects(masks, identities)
    grid = region_features(image, masks, network)
    by_feature = [_cosine_distances(grid[:, k], identities.features[:, k]) for k in range(2)]
    return dict(
        zip(MEASURES, [_color_distances(image, masks, identities), *by_feature], strict=True)
    )


def routed(apart: np.ndarray) -> np.ndarray:
    """Which regions are nearest to their own reference.

    Args:
        apart: (N, N), distances from regions to references, as they are or relative.

    Returns:
        (N,): 1 where it is, 0 where it is not, NaN where it cannot be measured.
    """
    unknown = np.isnan(apart).any(axis=1)
    nearest = np.where(unknown[:, None], 0.0, apart).argmin(axis=1)
    return np.where(unknown, np.nan, (nearest == np.arange(len(apart))).astype(float))


def followed(apart: np.ndarray, exchanged: tuple[int, int]) -> np.ndarray:
    """Which of two regions are nearer to the reference of the other than to their own.

    Args:
        apart: (N, N), distances from regions to references, as they are or relative.
        exchanged: Indices from 0 of the two subjects.

    Returns:
        (2,): 1 where it is, 0 where it is not, NaN where it cannot be measured.

    Raises:
        ValueError: ``exchanged`` are not two subjects of the scene.
    """
    i, j = exchanged
    if i == j or not {i, j} <= set(range(len(apart))):
        raise ValueError(f"exchanged is {exchanged}, expected two of 0..{len(apart) - 1}")
    gain = np.array([apart[i, i] - apart[i, j], apart[j, j] - apart[j, i]])
    return np.where(np.isnan(gain), np.nan, (gain > _TIE).astype(float))


def relative_distances(apart: np.ndarray) -> np.ndarray:
    """Distances minus their mean over all regions, per reference.

    Light, blur and rendering of the scene move all regions together, nearer to one reference and
    farther from another; what is left says which region is nearest to a reference, more than which
    reference is nearest to a region. Where all regions are equal, 1/N of them are right.

    Args:
        apart: (N, N), distances from regions to references.

    Returns:
        (N, N); with fewer than two measurable regions ``apart`` itself.
    """
    measurable = ~np.isnan(apart).any(axis=1)
    if measurable.sum() < 2:
        return apart
    return apart - apart[measurable].mean(axis=0)


def _color_distances(image: np.ndarray, masks: np.ndarray, identities: Identities) -> np.ndarray:
    """Sliced Wasserstein-1 distance (Bonneel et al. 2015) to each reference in its best light."""
    colors = lab(linear(image))
    apart = np.full((len(masks), len(masks)), np.nan)
    for i, mask in enumerate(masks):
        if mask.any():
            gap = np.abs(identities.colors - _quantiles(colors[mask]))
            apart[i] = gap.mean(axis=(2, 3)).min(axis=1)
    return apart


def _quantiles(colors: np.ndarray) -> np.ndarray:
    """Quantiles (Q, D) of Lab pixels (P, 3) along each direction."""
    ordered = np.sort((colors * [_LIGHTNESS, 1.0, 1.0]) @ _hemisphere().T, axis=0)
    place = _QUANTILES * (len(ordered) - 1)
    below = place.astype(int)
    above = np.minimum(below + 1, len(ordered) - 1)
    part = (place - below)[:, None]
    return ordered[below] * (1 - part) + ordered[above] * part


def _hemisphere() -> np.ndarray:
    """Directions (D, 3), spread evenly by the golden angle over a half sphere: opposite directions
    have the same quantiles."""
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
