"""Features of regions: what the picture shows under a mask, never the mask itself."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.color import LIGHTS, lab, linear, relit
from model.evaluation.features import region_features, view_features
from tests.model import truth
from tests.model.truth import network


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0.0, 0.0)),
    ],
)
def test_lab_of_known_colours(
    rgb: tuple[int, int, int], expected: tuple[float, float, float]
) -> None:
    """Figures of B. Lindbloom's calculator, sRGB, D65."""
    np.testing.assert_allclose(lab(linear(np.array(rgb, np.uint8))), expected, atol=0.02)


def test_lights_contain_the_unchanged_light() -> None:
    pixels = linear(np.random.default_rng(0).integers(0, 256, (50, 3), dtype=np.uint8))
    same = int(np.flatnonzero((LIGHTS == 1).all(axis=1))[0])
    np.testing.assert_allclose(relit(pixels)[same], lab(pixels))
    assert relit(pixels)[..., 0].max() <= 100 + 1e-9


def test_features_of_a_flat_picture_do_not_depend_on_the_mask() -> None:
    scene = truth.scenes()[0]
    grey = region_features(truth.flat(scene), scene.masks, network())[:, 1]
    seen = region_features(scene.image, scene.masks, network())[:, 1]
    assert np.abs(grey).max() < 1e-4 < np.linalg.norm(seen, axis=1).min()


def test_grey_features_ignore_brightness_and_contrast() -> None:
    scene = truth.scenes()[1]
    dimmed = (scene.image * 0.6 + 40).round().astype(np.uint8)
    one, other = (region_features(i, scene.masks, network())[:, 1] for i in (scene.image, dimmed))
    for a, b in zip(one, other, strict=True):
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.97


def test_view_features_ignore_transparent_pixels() -> None:
    views = truth.scenes()[0].references
    painted = views.copy()
    painted[views[..., 3] <= 127] = (255, 0, 255, 0)
    np.testing.assert_array_equal(
        view_features(views, network()), view_features(painted, network())
    )


def test_region_features_at_the_frame_and_of_an_empty_region() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    masks = np.zeros((3, 40, 56), bool)
    masks[0, 39, 55] = True
    masks[1, :, :20] = True
    features = region_features(image, masks, network())
    assert features.shape == (3, 2, 112)
    assert np.isfinite(features[:2]).all()
    assert np.isnan(features[2]).all()


def test_region_features_do_not_depend_on_other_regions() -> None:
    scene = truth.scenes()[2]
    together = region_features(scene.image, scene.masks, network())
    alone = region_features(scene.image, scene.masks[1:2], network())
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)
