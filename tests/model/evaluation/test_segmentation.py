"""Subjects found in a picture without its masks: near them on truth, elsewhere on the rest."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evaluation.segmentation import (
    Segmenter,
    SegmenterExample,
    fit_segmenter,
    segment,
    spatial_iou,
)
from tests.model import truth
from tests.model.truth import Scene, network


@cache
def segmenter(fold: int) -> Segmenter:
    """Fitted to the scenes that are not of this fold of three."""
    return fit_segmenter(
        [truth.example(s) for i, s in enumerate(truth.scenes()) if i % 3 != fold], network()
    )


def iou(picture: np.ndarray, scene: Scene, fold: int) -> np.ndarray:
    palette = truth.identities(scene.key).palette
    found = segment(picture, scene.masks, palette, network(), segmenter(fold))
    assert found is not None
    return spatial_iou(found, scene.masks)


@pytest.mark.slow
def test_iou_of_real_pictures_is_far_above_others() -> None:
    """Fitted to eight scenes only; 53 scenes reach 0.81 at 64 px (docstring of the segmenter)."""
    pictures = {"truth": lambda s: s.image, **truth.NULLS}
    means = {
        name: np.mean(np.concatenate([iou(of(s), s, i % 3) for i, s in enumerate(truth.scenes())]))
        for name, of in pictures.items()
    }
    assert means["truth"] > 0.65
    assert means["noise"] < 0.15
    assert means["flat"] < 0.05
    assert means["another scene"] < 0.3


@pytest.mark.slow
def test_iou_of_pictures_that_ignore_the_control_is_the_overlap_of_masks() -> None:
    found, overlap = [], []
    for i, scene in enumerate(truth.scenes()):
        found.append(iou(np.ascontiguousarray(scene.image[:, ::-1]), scene, i % 3))
        overlap.append(spatial_iou(scene.masks.any(axis=0)[:, ::-1], scene.masks))
    assert np.mean(np.concatenate(found)) < np.mean(np.concatenate(overlap)) + 0.03


def test_segment_does_not_follow_the_outline_of_masks() -> None:
    """The same picture under grown masks: what is found stays where it is."""
    scene = truth.scenes()[0]
    palette = truth.identities(scene.key).palette
    grown = scene.masks.copy()
    grown[0, 2:, :] |= scene.masks[0, :-2, :]
    grown[0, :-2, :] |= scene.masks[0, 2:, :]
    one, other = (
        segment(scene.image, masks, palette, network(), segmenter(0))
        for masks in (scene.masks, grown)
    )
    assert one is not None
    assert other is not None
    assert (one & other).sum() / (one | other).sum() > 0.95


def test_iou_of_everything_foreground_is_low() -> None:
    for scene in truth.scenes():
        everything = spatial_iou(np.ones((64, 64), bool), scene.masks)
        area = scene.masks.sum() / 64**2
        assert np.mean(everything) < 2 * area


@given(st.integers(0, 2**32), st.integers(1, 10))
def test_spatial_iou_of_the_masks_themselves_is_1(seed: int, n: int) -> None:
    labels = np.random.default_rng(seed).integers(0, n + 1, (12, 15))
    masks = labels == np.arange(1, n + 1)[:, None, None]
    scores = spatial_iou(masks.any(axis=0), masks)
    np.testing.assert_array_equal(np.isnan(scores), ~masks.any(axis=(1, 2)))
    assert (scores[~np.isnan(scores)] == 1).all()
    assert np.nanmax(spatial_iou(np.zeros((12, 15), bool), masks)) == 0


def test_spatial_iou_gives_foreground_to_the_nearest_mask() -> None:
    masks = np.zeros((2, 10, 20), bool)
    masks[0, 2:6, 2:6], masks[1, 2:6, 14:18] = True, True
    found = masks.any(axis=0)
    found[6:8, 2:6] = True  # half as much again, below the first
    np.testing.assert_allclose(spatial_iou(found, masks), [16 / 24, 1.0])


def test_segment_takes_pictures_that_are_not_square() -> None:
    scene = truth.scenes()[0]
    image, masks = scene.image[:40], scene.masks[:, :40]
    found = segment(image, masks, truth.identities(scene.key).palette, network(), segmenter(0))
    assert found is not None
    assert found.shape == (40, 64)


def test_segment_without_background_is_none_and_cannot_be_fitted() -> None:
    scene = truth.scenes()[0]
    everywhere = np.ones((1, 64, 64), bool)
    palette = truth.identities(scene.key).palette
    assert segment(scene.image, everywhere, palette, network(), segmenter(0)) is None
    with pytest.raises(ValueError, match="nothing to fit to"):
        fit_segmenter([SegmenterExample(scene.image, everywhere, palette)], network())
    with pytest.raises(ValueError, match="masks are"):
        fit_segmenter([SegmenterExample(scene.image, everywhere[:, 1:], palette)], network())


def test_fit_segmenter_is_deterministic() -> None:
    examples = [truth.example(scene) for scene in truth.scenes()[:3]]
    one, other = fit_segmenter(examples, network()), fit_segmenter(examples, network())
    np.testing.assert_array_equal(one.weights, other.weights)
    assert one.bias == other.bias
