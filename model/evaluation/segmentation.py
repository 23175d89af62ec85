"""Finds the pixels of subjects in a generated picture, without a pretrained segmenter.

A linear classifier says whether a pixel shows a subject or background. Its inputs do not depend on
the mask that the result is compared with: the features of the network at the pixel, and how common
the colour of the pixel is in the background, in the background nearby, and among the references.
The classifier is fitted to real pictures of the training split (``fit_segmenter``). The score of
the real pictures of the test split says how good it is, and bounds every other score from above.

The masks of the evaluated scene are used in one way: pixels far away from all of them are examples
of background *colours*; that does not make these pixels background. So a picture that ignores the
control scores only as much as its subjects happen to overlap the masks: mirrored real pictures
under masks that are not mirrored scored 0.27 (mini set, 64 px), where the mirrored masks themselves
overlap by 0.28; pictures of other scenes 0.19, where the masks of those scenes overlap by 0.21;
noise 0.02, one flat colour 0, everything foreground 0.19. Real pictures scored 0.81, and 0.71 when
blurred by one pixel. The distance in feature space to the nearest far pixel was tried and left out:
far pixels are nearest to themselves, so it reveals where the masks are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from scipy import ndimage, optimize
from scipy.special import expit, log_expit

from model.evaluation.color import lab, linear
from model.evaluation.features import Network, expect_picture

_SIDE = 256
"""The longer side is resized to this before the network sees it: 16 cells of stride 16."""
_FAR = 0.06  # of the longer side: a subject that is a little too large is no background yet
_FEWEST = 20  # least number of pixels that a colour density is estimated from
_SAMPLES = 1000  # pixels per picture that the classifier is fitted to
_RIDGE = 1e-4

_BIN = 5.0  # Lab units
_LOW = np.array([0.0, -100.0, -100.0])
_SHAPE = (20, 40, 40)
_BACKGROUND_WIDTH = np.array([6.0, 4.0, 4.0])
_REFERENCE_WIDTH = np.array([10.0, 6.0, 6.0])
_FLOOR = 1e-7
_BLOCKS = 4  # per side, for the background nearby

_CONFIDENCE = 5.0
_COUPLING = 0.8
_LIKE = np.array([16.0, 8.0, 8.0])  # Lab units; lightness counts half: shading is not an outline
_REACH = 1.2  # pixels
_ROUNDS = 10
_NEIGHBOURS = [(y, x) for y in range(3) for x in range(-2, 3) if (y, x) > (0, 0)]


@dataclass(frozen=True)
class SegmenterExample:
    """A picture with known subjects.

    Attributes:
        image: (H, W, 3) uint8.
        masks: (N, H, W) bool.
        palette: (K, 3), the Lab colours of the references under all lights
            (``metrics.Identities.palette``).
    """

    image: np.ndarray
    masks: np.ndarray
    palette: np.ndarray


@dataclass(frozen=True)
class Segmenter:
    """The classifier: ``weights`` (C + 3,) of the C features of the network and of the three log
    densities, and a bias."""

    weights: np.ndarray
    bias: float


def fit_segmenter(examples: Iterable[SegmenterExample], network: Network) -> Segmenter:
    """Fits the classifier: ridge-penalised logistic regression on pixels. Deterministic.

    Args:
        examples: Real pictures of the size that will be evaluated, and of another split. 50 scenes
            are enough (score 0.81 on real pictures, mini set, 64 px); up to there each doubling
            added 0.02.
        network: Extracts C features.

    Raises:
        ValueError: no example has enough pixels far from all its masks.
    """
    inputs, labels = [], []
    for example in examples:
        expect_picture(example.image, example.masks)
        seen = _pixel_inputs(example.image, example.masks, example.palette, network)
        if seen is None:
            continue
        pixels = np.linspace(0, len(seen) - 1, min(_SAMPLES, len(seen))).astype(int)
        inputs.append(seen[pixels])
        labels.append(example.masks.any(axis=0).ravel()[pixels])
    if not inputs:
        raise ValueError("no example has pixels far from all its masks: nothing to fit to")
    x, y = np.concatenate(inputs).astype(float), np.where(np.concatenate(labels), 1.0, -1.0)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-3
    x = np.column_stack([(x - mean) / deviation, np.ones(len(x))])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = y * (x @ w)
        ridge = np.append(w[:-1], 0.0) * _RIDGE
        gradient = -((y * expit(-margin)) @ x) / len(x) + 2 * ridge
        return float(-log_expit(margin).mean() + ridge @ w), gradient

    w = optimize.minimize(
        loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200}
    ).x
    weights = w[:-1] / deviation
    return Segmenter(weights, float(w[-1] - weights @ mean))


def segment(
    image: np.ndarray,
    masks: np.ndarray,
    palette: np.ndarray,
    network: Network,
    segmenter: Segmenter,
) -> np.ndarray | None:
    """Finds the pixels that show any subject; arguments as in ``SegmenterExample``.

    Returns:
        (H, W) bool, or None where fewer than 20 pixels are far from all masks: then the colours of
        the background are not known.
    """
    expect_picture(image, masks)
    seen = _pixel_inputs(image, masks, palette, network)
    if seen is None:
        return None
    evidence = (seen @ segmenter.weights + segmenter.bias).reshape(masks.shape[1:])
    return _smooth(evidence.clip(-_CONFIDENCE, _CONFIDENCE), lab(linear(image))) > 0


def spatial_iou(foreground: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Intersection over union of each subject with its mask.

    A foreground pixel belongs to the subject whose mask is nearest. So this measures place and
    outline; which subject is there is measured by routing.

    Args:
        foreground: (H, W) bool, the pixels of any subject.
        masks: (N, H, W) bool.

    Returns:
        (N,), NaN for an empty mask.
    """
    scores = np.full(len(masks), np.nan)
    shown = [i for i, mask in enumerate(masks) if mask.any()]
    if not shown:
        return scores
    nearest = np.argmin([ndimage.distance_transform_edt(~masks[i]) for i in shown], axis=0)
    for cell, i in enumerate(shown):
        found = foreground & (nearest == cell)
        scores[i] = (found & masks[i]).sum() / (found | masks[i]).sum()
    return scores


def _pixel_inputs(
    image: np.ndarray, masks: np.ndarray, palette: np.ndarray, network: Network
) -> np.ndarray | None:
    """Inputs of the classifier (H * W, C + 3) float32, or None: see ``segment``."""
    height, width = image.shape[:2]
    far = ndimage.distance_transform_edt(~masks.any(axis=0)) > _FAR * max(height, width)
    if far.sum() < _FEWEST:
        return None
    colors = lab(linear(image))
    at = colors.reshape(-1, 3)
    whole = _log_density(colors[far], at, _BACKGROUND_WIDTH)
    densities = [
        whole,
        _near_density(colors, far, whole),
        _log_density(palette, at, _REFERENCE_WIDTH),
    ]
    return np.column_stack([_dense(image, network), *densities]).astype(np.float32)


def _dense(image: np.ndarray, network: Network) -> np.ndarray:
    """Features of the network at each pixel: (H * W, C)."""
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    size = [max(32, round(side * scale / 32) * 32) for side in (width, height)]
    large = Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.BILINEAR)
    maps = torch.from_numpy(network(np.asarray(large)[None]))
    dense = torch.nn.functional.interpolate(maps, (height, width), mode="bilinear")
    return dense[0].flatten(1).numpy().T


def _near_density(colors: np.ndarray, far: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Log density (H * W,) of the colour of each pixel among the far pixels nearby.

    Estimated on a grid of overlapping blocks and interpolated linearly between their centres; in
    blocks without background, ``whole``, the density over the whole picture, is used.
    """
    height, width = far.shape
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    total, weights = np.zeros(far.shape), np.zeros(far.shape)
    for row, column in np.ndindex(_BLOCKS, _BLOCKS):
        dy = np.abs(y - (row + 0.5) / _BLOCKS)[:, None]
        dx = np.abs(x - (column + 0.5) / _BLOCKS)
        weight = (1 - dy * _BLOCKS).clip(0) * (1 - dx * _BLOCKS).clip(0)
        here = weight > 0
        near = far & (dy < 1 / _BLOCKS) & (dx < 1 / _BLOCKS)
        if near.sum() < _FEWEST:
            density = whole.reshape(far.shape)[here]
        else:
            density = _log_density(colors[near], colors[here], _BACKGROUND_WIDTH)
        total[here] += weight[here] * density
        weights += weight
    return (total / weights).ravel()


def _log_density(samples: np.ndarray, at: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Log density of Lab colours ``at`` (P, 3) among ``samples`` (K, 3): a histogram, smoothed by
    a Gaussian of ``width`` Lab units. Per bin, not per unit of volume: the bias absorbs the factor.
    """
    bins = ((samples - _LOW) / _BIN).astype(int).clip(0, np.array(_SHAPE) - 1)
    flat = np.ravel_multi_index(tuple(bins.T), _SHAPE)
    counts = np.bincount(flat, minlength=int(np.prod(_SHAPE))).reshape(_SHAPE) / len(samples)
    smooth = ndimage.gaussian_filter(
        counts.astype(np.float32), width / _BIN, mode="constant", truncate=3.0
    )
    place = ((at - _LOW) / _BIN - 0.5).T
    return np.log(ndimage.map_coordinates(smooth, place, order=1, mode="nearest") + _FLOOR)


def _smooth(evidence: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Mean-field rounds of a conditional random field: neighbours of like colour agree
    (Kraehenbuehl and Koltun 2011, here with neighbours up to two pixels away)."""
    height, width = evidence.shape
    pairs = []
    for y, x in _NEIGHBOURS:
        one = (slice(0, max(0, height - y)), slice(max(0, -x), max(0, width - max(0, x))))
        other = (slice(y, height), slice(max(0, x), max(0, width + min(0, x))))
        apart = ((colors[one] - colors[other]) / _LIKE) ** 2
        reach = (y * y + x * x) / _REACH**2
        pairs.append((one, other, _COUPLING * np.exp(-(apart.sum(axis=-1) + reach) / 2)))
    state = evidence
    for _ in range(_ROUNDS):
        belief = np.tanh(state / 2)
        state = evidence.copy()
        for one, other, weight in pairs:
            state[one] += weight * belief[other]
            state[other] += weight * belief[one]
    return state
