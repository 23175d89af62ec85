"""Controls for training: shares, bounds, and reproducibility of what is chosen at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from datagen.scene import (
    AssetCredit,
    Box3D,
    CameraRecord,
    Prompt,
    Rle,
    Sample,
    SceneRecord,
    Subject,
    View,
)
from model.controls.control_image import PAPER, RoutingEncoding
from model.controls.control_sampling import (
    ControlSamplingConfig,
    sample_controls,
    sample_granularities,
    sample_region,
)
from model.controls.kinds import region_of
from model.controls.regions import Granularity, box2d_region, box3d_region

HEIGHT, WIDTH, FOCAL = 48, 72, 60.0
INTRINSICS = ((FOCAL, 0.0, WIDTH / 2), (0.0, FOCAL, HEIGHT / 2), (0.0, 0.0, 1.0))
UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
BOXES = ((6, 8, 22, 40), (26, 14, 44, 34), (48, 20, 66, 30))
FRONTS = (2.0, 3.0, 2.5)
EVERY: tuple[Granularity, ...] = ("mask", "mask_depth", "box3d", "box2d")
EXACT = ControlSamplingConfig(dilation=0.0, aspect_jitter=0.0, channel_drop=0.0)

granularities = st.sampled_from(EVERY)
generators = st.integers(0, 2**32).map(np.random.default_rng)


def subject(index: int) -> Subject:
    x_min, y_min, x_max, y_max = BOXES[index - 1]
    front = FRONTS[index - 1]
    scale = front / FOCAL
    center = (
        ((x_min + x_max) / 2 - WIDTH / 2) * scale,
        ((y_min + y_max) / 2 - HEIGHT / 2) * scale,
        front + 0.1,
    )
    size = ((x_max - x_min) * scale, (y_max - y_min) * scale, 0.2)
    return Subject(
        index=index,
        identity=f"id-{index}",
        category="ball",
        caption="a ball",
        box2d=BOXES[index - 1],
        box2d_amodal=BOXES[index - 1],
        box3d=Box3D(center, size, UPRIGHT, estimated=False),
        visibility=1.0,
        truncation=0.0,
        area=0.1,
        amodal_rle=Rle((HEIGHT, WIDTH), ""),
        asset=AssetCredit("ball", "tests", "nobody", "CC0-1.0"),
        views=(View("crop", 0.0, 0.0, "hall"),),
    )


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Three ellipses that fill their 2D boxes and bulge towards the camera."""
    depth = np.full((HEIGHT, WIDTH), 6000, np.uint16)
    instances = np.zeros((HEIGHT, WIDTH), np.uint8)
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for i, ((x_min, y_min, x_max, y_max), front) in enumerate(zip(BOXES, FRONTS, strict=True)):
        x = (2 * u - x_min - x_max) / (x_max - x_min)
        y = (2 * v - y_min - y_max) / (y_max - y_min)
        inside = x**2 + y**2 < 1
        instances[inside] = i + 1
        depth[inside] = 1000 * (front + 0.1 * (x**2 + y**2)[inside])
    record = SceneRecord(
        key="000001",
        source="render",
        split="train",
        width=WIDTH,
        height=HEIGHT,
        prompt=Prompt("three balls in a hall", "a hall"),
        camera=CameraRecord(INTRINSICS, tuple(map(tuple, np.eye(4).tolist())), estimated=False),
        n_subjects=3,
        subjects=tuple(subject(i) for i in (1, 2, 3)),
    )
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return Sample(record, image, depth, instances, np.zeros((12, 4, 4), np.uint8))


def random_image(
    sample: Sample,
    config: ControlSamplingConfig,
    rng: np.random.Generator,
    encoding: RoutingEncoding = PAPER,
) -> np.ndarray:
    """Granularities and control image of a sample, as the data loader makes them."""
    granularities = sample_granularities(sample.record.n_subjects, config, rng)
    return sample_controls(sample, granularities, config, rng, encoding)


def rate(hits: list[bool]) -> float:
    return float(np.mean(hits))


def near(p: float, draws: int) -> object:
    """Within four standard deviations of a share ``p`` of so many draws."""
    return pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / draws))


# Granularity


def test_sample_controls_is_reproducible_from_its_generator(sample: Sample) -> None:
    def images(seed: int) -> list[bytes]:
        rng = np.random.default_rng(seed)
        return [random_image(sample, ControlSamplingConfig(), rng).tobytes() for _ in range(20)]

    assert images(1) == images(1)
    assert images(1) != images(2)


def test_sample_granularities_are_equally_likely_and_mixed_in_the_given_share() -> None:
    rng, draws = np.random.default_rng(0), 1500
    config = replace(EXACT, mixed_share=0.4)
    drawn = [sample_granularities(3, config, rng) for _ in range(draws)]
    assert all(len(one) == 3 for one in drawn)
    # Three subjects that draw for themselves agree by chance in 1 of 16 samples.
    assert rate([len(set(one)) > 1 for one in drawn]) == near(0.4 * 15 / 16, draws)
    for index in range(3):
        for granularity in EVERY:
            assert rate([one[index] == granularity for one in drawn]) == near(0.25, draws)


def test_sample_granularities_keeps_to_the_configured_kinds() -> None:
    rng = np.random.default_rng(0)
    config = ControlSamplingConfig(granularities=("mask_depth", "box2d"), mixed_share=0.0)
    drawn = {sample_granularities(3, config, rng) for _ in range(60)}
    assert drawn == {("mask_depth",) * 3, ("box2d",) * 3}


@given(chosen=st.tuples(granularities, granularities, granularities), rng=generators)
def test_sample_controls_uses_the_granularity_of_each_subject(
    sample: Sample, chosen: tuple[Granularity, ...], rng: np.random.Generator
) -> None:
    image = sample_controls(sample, chosen, EXACT, rng, RoutingEncoding("one_hot"))
    for index, granularity in enumerate(chosen, start=1):
        expected = region_of(sample, index, granularity).mask
        np.testing.assert_array_equal(image[..., index - 1] > 0, expected)


@given(seed=st.integers(0, 2**32))
def test_sample_controls_random_numbers_do_not_depend_on_the_encoding(
    sample: Sample, seed: int
) -> None:
    config = ControlSamplingConfig(channel_drop=0.5)
    paper, hot = (
        random_image(sample, config, np.random.default_rng(seed), encoding)
        for encoding in (RoutingEncoding(), RoutingEncoding("one_hot", slots=3))
    )
    np.testing.assert_array_equal(paper[..., 2], hot[..., 3])
    np.testing.assert_array_equal((paper[..., :2] > 0).any(axis=2), (hot[..., :3] > 0).any(axis=2))


# Dropped channels


def test_channel_drop_is_the_probability_per_channel(sample: Sample) -> None:
    rng, draws = np.random.default_rng(0), 2000
    config = replace(EXACT, granularities=("mask_depth",), channel_drop=0.1)
    dropped = [~random_image(sample, config, rng).any(axis=(0, 1)) for _ in range(draws)]
    for channel in range(3):
        assert rate([one[channel] for one in dropped]) == near(0.1, draws)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert rate([drop[one] and drop[other] for drop in dropped]) == near(0.01, draws)


def test_one_hot_routing_is_dropped_where_both_routing_maps_are(sample: Sample) -> None:
    rng, draws = np.random.default_rng(0), 1200
    config = replace(EXACT, granularities=("mask_depth",), channel_drop=0.4)
    encoding = RoutingEncoding("one_hot", slots=3)
    kept = [random_image(sample, config, rng, encoding).any(axis=(0, 1)) for _ in range(draws)]
    assert {tuple(one[:3].tolist()) for one in kept} == {(True,) * 3, (False,) * 3}
    assert rate([not one[0] for one in kept]) == near(0.16, draws)
    assert rate([not one[3] for one in kept]) == near(0.4, draws)


def test_channels_that_are_not_dropped_are_unchanged(sample: Sample) -> None:
    rng = np.random.default_rng(0)
    config = replace(EXACT, granularities=("mask_depth",))
    whole = random_image(sample, config, rng)
    for _ in range(20):
        image = random_image(sample, replace(config, channel_drop=0.5), rng)
        for channel in range(3):
            here = image[..., channel]
            assert not here.any() or (here == whole[..., channel]).all()


# Loosened outlines


@given(index=st.integers(1, 3), granularity=granularities, rng=generators)
def test_sample_region_without_loosening_equals_region_of(sample, index, granularity, rng) -> None:
    drawn = sample_region(sample, index, granularity, EXACT, rng)
    own = region_of(sample, index, granularity)
    np.testing.assert_array_equal(drawn.mask, own.mask)
    np.testing.assert_array_equal(drawn.depth, own.depth)
    assert drawn.granularity == granularity


@given(
    index=st.integers(1, 3),
    granularity=st.sampled_from(["mask", "mask_depth"]),
    dilation=st.floats(0, 0.5),
    rng=generators,
)
def test_dilated_mask_grows_evenly_and_at_most_by_dilation(
    sample, index, granularity, dilation, rng
) -> None:
    drawn = sample_region(sample, index, granularity, replace(EXACT, dilation=dilation), rng)
    visible = sample.instances == index
    x_min, y_min, x_max, y_max = BOXES[index - 1]
    limit = dilation * np.sqrt((x_max - x_min) * (y_max - y_min))
    away = ndimage.distance_transform_edt(~visible)
    assert (drawn.mask | ~visible).all(), "it loses nothing"
    assert away[drawn.mask].max() <= limit
    assert away[~drawn.mask].min() > away[drawn.mask].max(), "by one distance on all sides"
    np.testing.assert_array_equal(drawn.depth, region_of(sample, index, granularity).depth)


@given(
    index=st.integers(1, 3),
    dilation=st.floats(0, 0.5),
    jitter=st.floats(0, 0.2),
    rng=generators,
)
def test_loosened_boxes_stay_within_dilation_and_jitter(
    sample, index, dilation, jitter, rng
) -> None:
    config = replace(EXACT, dilation=dilation, aspect_jitter=jitter)
    most, least = (1 + 2 * dilation) * np.sqrt(1 + jitter), 1 / np.sqrt(1 + jitter)
    own = subject(index)
    low, high = np.split(np.array(own.box2d, float), 2)
    center, half = (low + high) / 2, (high - low) / 2
    flat = sample_region(sample, index, "box2d", config, rng).mask
    deep = sample_region(sample, index, "box3d", config, rng).mask
    for factor, holds in ((least * 0.999, np.less_equal), (most * 1.001, np.greater_equal)):
        bound = [*(center - factor * half), *(center + factor * half)]
        assert holds(box2d_region(bound, (HEIGHT, WIDTH)).mask, flat).all()
        x, y, z = own.box3d.size
        solid = replace(own.box3d, size=(factor * x, factor * y, factor * z))
        assert holds(box3d_region(solid, INTRINSICS, (HEIGHT, WIDTH)).mask, deep).all()


@pytest.mark.parametrize("granularity", EVERY)
def test_dilation_varies_over_its_range(sample: Sample, granularity: Granularity) -> None:
    rng = np.random.default_rng(0)
    config = replace(EXACT, dilation=0.25)
    areas = [sample_region(sample, 1, granularity, config, rng).mask.sum() for _ in range(40)]
    own = region_of(sample, 1, granularity).mask.sum()
    assert min(areas) < 1.15 * own
    assert max(areas) > 1.7 * own


def test_aspect_jitter_varies_a_box_by_one_percent(sample: Sample) -> None:
    """Measured on a frame so large that a pixel is 0.1% of the box."""
    rng = np.random.default_rng(0)
    box = (500, 500, 2000, 1500)
    large = replace(
        sample,
        instances=np.zeros((2000, 2500), np.uint8),
        record=replace(
            sample.record,
            subjects=(replace(sample.record.subjects[0], box2d=box),),
            n_subjects=1,
        ),
    )
    config = replace(EXACT, dilation=0.1, aspect_jitter=0.01)
    ratios = []
    for _ in range(25):
        mask = sample_region(large, 1, "box2d", config, rng).mask
        ratios.append(mask.any(axis=0).sum() / mask.any(axis=1).sum() / 1.5)
    assert max(ratios) < 1.012
    assert min(ratios) > 0.988
    assert max(ratios) > 1.003
    assert min(ratios) < 0.997


def test_dilated_mask_at_the_edge_of_the_frame_grows_inwards(sample: Sample) -> None:
    instances = np.zeros((HEIGHT, WIDTH), np.uint8)
    instances[:10, -12:] = 1
    first = replace(sample.record.subjects[0], box2d=(WIDTH - 12, 0, WIDTH, 10))
    record = replace(sample.record, subjects=(first,), n_subjects=1)
    cornered = replace(sample, instances=instances, record=record)
    config = replace(EXACT, dilation=0.5)
    masks = [
        sample_region(cornered, 1, "mask", config, np.random.default_rng(seed)).mask
        for seed in range(10)
    ]
    assert max(mask.sum() for mask in masks) > 180
    assert all(mask[:10, -12:].all() and not mask[20:, :40].any() for mask in masks)
