"""Whose reference a region shows: told on truth, at chance on pictures that know nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.evaluation.metrics import (
    MEASURES,
    describe,
    distances,
    followed,
    measure,
    measure_swap,
    relative_distances,
    routed,
)
from model.evaluation.segmentation import fit_segmenter
from tests.model import truth
from tests.model.truth import Scene, network

RED, BLUE = np.array([210, 60, 50]), np.array([60, 80, 190])


def accuracy(
    picture_of: Callable[[Scene], np.ndarray], scenes: list[Scene], relative: bool = False
) -> dict[str, float]:
    found: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
    for scene in scenes:
        known = truth.identities(scene.key)
        for name, apart in distances(picture_of(scene), scene.masks, known, network()).items():
            found[name].append(routed(relative_distances(apart) if relative else apart))
    return {name: float(np.nanmean(np.concatenate(values))) for name, values in found.items()}


@pytest.mark.parametrize(
    ("n", "least"), [(2, (0.9, 0.9, 0.75)), (3, (0.9, 0.7, 0.5)), (4, (0.75, 0.9, 0.7))]
)
def test_routing_of_real_pictures_is_right(n: int, least: tuple[float, float, float]) -> None:
    """The ceiling, with 8 to 16 subjects each: measured 1.00, 0.92 and 0.81 by colour (N = 2, 3,
    4), 1.00, 0.75 and 0.94 by features, 0.88, 0.58 and 0.75 by pattern."""
    found = accuracy(lambda s: s.image, [s for s in truth.scenes() if len(s.masks) == n])
    assert all(found[name] >= value for name, value in zip(MEASURES, least, strict=True)), found


@pytest.mark.parametrize("n", [2, 3, 4])
def test_assignment_of_real_pictures_is_right(n: int) -> None:
    """The ceiling: measured 1.00, 1.00 and 0.94 or more (N = 2, 3, 4)."""
    scenes = [s for s in truth.scenes() if len(s.masks) == n]
    found = accuracy(lambda s: s.image, scenes, relative=True)
    assert found["color"] >= 0.9
    assert found["features"] >= 0.9
    assert found["pattern"] >= 0.75


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("null", truth.NULLS)
def test_routing_of_unrelated_pictures_is_at_chance(null: str, relative: bool) -> None:
    """36 regions: one standard deviation is 0.08. Masks alone must not give the subject away."""
    scenes = list(truth.scenes())
    chance = np.mean(np.concatenate([np.full(len(s.masks), 1 / len(s.masks)) for s in scenes]))
    for name, value in accuracy(truth.NULLS[null], scenes, relative).items():
        assert abs(value - chance) < 0.2, name


def test_routing_follows_permuted_references() -> None:
    for scene in truth.scenes()[:4]:
        known = truth.identities(scene.key)
        shifted = describe(np.roll(scene.references, 1, axis=0), network())
        straight = distances(scene.image, scene.masks, known, network())
        turned = distances(scene.image, scene.masks, shifted, network())
        for name in MEASURES:
            np.testing.assert_allclose(np.roll(straight[name], 1, axis=1), turned[name], atol=1e-5)
        assert routed(turned["color"]).mean() <= 1 - routed(straight["color"]).mean()


def paste(view: np.ndarray, image: np.ndarray, mask: np.ndarray) -> None:
    """Puts a view into the mask's box, resized to it; the mask becomes its outline."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    own = Image.fromarray(view).crop(Image.fromarray(view[..., 3]).getbbox())
    patch = np.asarray(own.resize((int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)))
    target = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    opaque = patch[..., 3] > 127
    target[opaque] = patch[..., :3][opaque]
    mask[:] = False
    mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = opaque


@pytest.mark.parametrize("exchanged", [False, True])
def test_swap_response_follows_pasted_references(exchanged: bool) -> None:
    """The scenes' own references, squeezed into their own or each other's region. Shape suffers
    by that: measured 0.92 by colour, 0.83 by features, 0.75 by pattern where they are exchanged,
    0.04, 0.04 and 0.17 where not; of the assignment 1.00, 0.83 and 0.75, and 0.00."""
    found: dict[str, list[float]] = {}
    for scene in truth.scenes():
        image, masks = scene.image.copy(), scene.masks.copy()
        for region, source in ((0, 1), (1, 0)) if exchanged else ((0, 0), (1, 1)):
            paste(scene.references[source], image, masks[region])
        known = truth.identities(scene.key)
        for name, value in measure_swap(image, masks, known, (0, 1), network()).items():
            found.setdefault(name, []).extend(value)
    kinds = ("swap", "swap assignment")
    assert set(found) == {f"{kind}/{name}" for kind in kinds for name in MEASURES}
    for name, least in (("color", 0.9), ("features", 0.75), ("pattern", 0.65)):
        for kind in kinds:
            share = np.mean(found[f"{kind}/{name}"])
            assert share >= least if exchanged else share <= 0.2, (kind, name)


def surface(kind: str, side: int, phase: int) -> np.ndarray:
    """Red and blue in equal parts, (side, side, 3), eight repeats."""
    y, x = (np.mgrid[:side, :side] + phase) // max(2, side // 8)
    odd = (x + y) % 2 if kind == "checks" else y % 2
    return np.where(odd[..., None] == 1, RED, BLUE).astype(np.uint8)


def outline(kind: str, side: int) -> np.ndarray:
    y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    return x**2 + y**2 < 0.9 if kind == "disc" else np.maximum(np.abs(x), np.abs(y)) < 0.9


@pytest.mark.parametrize("shapes", [("disc", "square"), ("disc", "disc")])
def test_routing_by_color_is_blind_to_pattern(shapes: tuple[str, str]) -> None:
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    kinds = ("checks", "stripes")
    for _ in range(16):
        references = np.zeros((2, 96, 96, 4), np.uint8)
        image, masks = np.full((64, 64, 3), 145, np.uint8), np.zeros((2, 64, 64), bool)
        for i in range(2):
            side = int(rng.integers(60, 90))
            references[i, :side, :side, :3] = surface(kinds[i], side, int(rng.integers(8)))
            references[i, :side, :side, 3] = outline(shapes[i], side) * 255
            side = int(rng.integers(20, 27))
            y, x = int(rng.integers(64 - side)), 32 * i + int(rng.integers(32 - side))
            mask = outline(shapes[i], side)
            masks[i, y : y + side, x : x + side] = mask
            image[y : y + side, x : x + side][mask] = surface(kinds[i], side, 1)[mask]
        known = describe(references, network())
        for name, apart in distances(image, masks, known, network()).items():
            found.setdefault(name, []).extend(routed(apart))
    assert abs(np.mean(found["color"]) - 0.5) < 0.25
    assert np.mean(found["pattern"]) >= 0.95
    assert np.mean(found["features"]) >= 0.95


def test_routing_by_pattern_is_blind_to_color() -> None:
    """Two discs that differ in colour alone: told by colour, and not at all by pattern."""
    disc = outline("disc", 32)
    references = np.zeros((2, 32, 32, 4), np.uint8)
    image, masks = np.full((64, 64, 3), 145, np.uint8), np.zeros((2, 64, 64), bool)
    for i, color in enumerate((RED, BLUE)):
        references[i, ..., :3], references[i, ..., 3] = color, disc * 255
        masks[i, 16:48, 32 * i : 32 * i + 32] = disc
        image[masks[i]] = color
    apart = distances(image, masks, describe(references, network()), network())
    assert routed(apart["color"]).tolist() == [1, 1]
    np.testing.assert_allclose(apart["pattern"][:, 0], apart["pattern"][:, 1], atol=1e-4)


def test_empty_region_is_nan() -> None:
    scene = next(s for s in truth.scenes() if len(s.masks) == 3)
    masks = scene.masks.copy()
    masks[1] = False
    known = truth.identities(scene.key)
    for apart in distances(scene.image, masks, known, network()).values():
        assert np.isnan(routed(apart)).tolist() == [False, True, False]
        assert np.isnan(followed(apart, (0, 1))).tolist() == [False, True]
    masks[:] = False
    assert all(
        np.isnan(routed(apart)).all()
        for apart in distances(scene.image, masks, known, network()).values()
    )


def test_measures_are_deterministic() -> None:
    scene = truth.scenes()[0]
    known = describe(scene.references, network())
    segmenter = fit_segmenter([truth.example(scene)], network())
    first, second = (
        measure(scene.image, scene.masks, known, network(), segmenter) for _ in range(2)
    )
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_routing_is_missing_for_one_subject() -> None:
    scene = truth.scenes()[0]
    lone, masks = describe(scene.references[:1], network()), scene.masks[:1]
    segmenter = fit_segmenter([truth.example(scene)], network())
    found = measure(scene.image, masks, lone, network(), segmenter)
    assert set(found) == {"iou"}
    assert found["iou"].shape == (1,)


def test_iou_is_nan_without_background() -> None:
    scene = truth.scenes()[0]
    segmenter = fit_segmenter([truth.example(scene)], network())
    masks = np.zeros_like(scene.masks)
    for mask, rows in zip(masks, np.array_split(np.arange(64), len(masks)), strict=True):
        mask[rows] = True
    found = measure(scene.image, masks, truth.identities(scene.key), network(), segmenter)
    assert np.isnan(found["iou"]).all()
    assert not np.isnan(found["routing/color"]).any()


def test_routing_is_wrong_where_a_region_looks_like_the_other_reference() -> None:
    """The first region is exactly like the second reference. Only the pair's assignment is right:
    the sum of distances is 99, and 101 the other way round."""
    apart = np.array([[1.0, 0.0], [100.0, 98.0]])
    assert routed(apart).tolist() == [0, 1]
    assert routed(relative_distances(apart)).tolist() == [1, 1]
    assert followed(apart, (0, 1)).tolist() == [1, 0]
    assert followed(relative_distances(apart), (0, 1)).tolist() == [0, 0]


def test_routing_counts_a_region_by_itself_where_the_pair_is_assigned_right() -> None:
    apart = np.array([[0.0, 100.0], [1.0, 99.0]])
    assert routed(apart).tolist() == [1, 0]
    assert routed(relative_distances(apart)).tolist() == [1, 1]


@given(st.integers(0, 2**32))
def test_assignment_of_two_subjects_is_that_of_the_smaller_sum(seed: int) -> None:
    apart = np.random.default_rng(seed).random((2, 2))
    right = np.trace(apart) < np.trace(apart[::-1])
    assert routed(relative_distances(apart)).tolist() == [right, right]


@given(st.integers(0, 2**32), st.integers(2, 10))
def test_assignment_ignores_distances_that_all_regions_share(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    apart = rng.random((n, n))
    shared = relative_distances(apart + rng.normal(0, 10, n))
    relative = relative_distances(apart)
    np.testing.assert_array_equal(routed(relative), routed(shared))
    np.testing.assert_array_equal(followed(relative, (0, n - 1)), followed(shared, (0, n - 1)))


@given(st.integers(0, 2**32), st.integers(2, 10))
def test_routed_does_not_depend_on_the_order_of_subjects(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    apart, order = rng.random((n, n)), rng.permutation(n)
    np.testing.assert_array_equal(routed(apart)[order], routed(apart[np.ix_(order, order)]))


@given(st.integers(2, 10))
def test_routed_of_equal_regions_is_right_once(n: int) -> None:
    apart = np.broadcast_to(np.random.default_rng(n).random(n), (n, n))
    assert routed(apart).sum() == 1
    assert followed(apart, (0, 1)).sum() == 1
    assert routed(relative_distances(apart)).sum() == 1
    assert followed(relative_distances(apart), (0, 1)).sum() == 0


def test_routed_of_one_measurable_region() -> None:
    apart = np.array([[0.1, 0.5], [np.nan, np.nan]])
    np.testing.assert_array_equal(routed(apart), [1, np.nan])
    np.testing.assert_array_equal(routed(apart[:, ::-1]), [0, np.nan])


@pytest.mark.parametrize("exchanged", [(0, 0), (0, 3), (-1, 1)])
def test_swap_response_refuses_other_indices_than_two_subjects(exchanged: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected two of 0\.\.2"):
        followed(np.eye(3), exchanged)


def test_metrics_refuse_wrong_shapes() -> None:
    scene = truth.scenes()[0]
    image, masks, known = scene.image, scene.masks, truth.identities(scene.key)
    for bad, words in (
        ((image[..., 0], masks), r"image is uint8 \(64, 64\), expected uint8 \(H, W, 3\)"),
        ((image / 255, masks), r"image is float64"),
        ((image, masks.astype(np.uint8)), r"masks are uint8 .* expected bool \(N, 64, 64\)"),
        ((image, masks[:, ::2]), r"masks are bool \(\d, 32, 64\), expected"),
        ((image, np.zeros((11, 64, 64), bool)), r"N 1 to 10"),
        ((image, masks[:1]), r"1 masks for \d references"),
    ):
        with pytest.raises(ValueError, match=words):
            distances(*bad, known, network())
    blank = scene.references.copy()
    blank[1, ..., 3] = 127
    for references, words in (
        (scene.references[..., :3], r"expected uint8 \(N, s, s, 4\)"),
        (scene.references[:, :10], r"expected uint8 \(N, s, s, 4\)"),
        (scene.references[:0], r"N 1 to 10"),
        (blank, r"reference 1 has no pixel of alpha above 0.5"),
    ):
        with pytest.raises(ValueError, match=words):
            describe(references, network())
