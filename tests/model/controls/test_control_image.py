"""The control image: routing and structure of subjects that overlap."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datagen.errors import UserError
from model.controls.control_image import (
    FARTHEST,
    RoutingEncoding,
    control_image,
    one_hot_routing,
    routing_maps,
    structure,
)
from model.controls.control_warnings import control_warnings
from model.controls.regions import Region, mask_region
from tests.model.regions import H, W, rectangle, region_lists


def covering(regions: list[Region]) -> np.ndarray:
    """(N, H, W): which subjects lie where."""
    return np.stack([region.mask for region in regions])


# Routing


@given(regions=region_lists(), step=st.sampled_from([1, 10, 42]))
def test_routing_maps_paste_in_ascending_and_descending_order(regions, step: int) -> None:
    maps = routing_maps(regions, step)
    assert maps.dtype == np.uint8
    for row, column in np.ndindex(H, W):
        here = [i for i, region in enumerate(regions, start=1) if region.mask[row, column]]
        expected = [step * here[-1], step * here[0]] if here else [0, 0]
        assert maps[row, column].tolist() == expected


def test_routing_value_of_subject_i_is_ten_i_by_default() -> None:
    regions = [mask_region(rectangle(0, H, i, i + 1)) for i in range(W)]
    image = control_image(regions)
    assert image.shape == (H, W, 3)
    for channel in (0, 1):
        assert image[0, :, channel].tolist() == [10 * (i + 1) for i in range(W)]


@given(regions=region_lists(2, 2))
def test_each_of_two_subjects_is_whole_in_one_routing_map(regions) -> None:
    ascending, descending = np.moveaxis(routing_maps(regions), 2, 0)
    np.testing.assert_array_equal(ascending == 20, regions[1].mask)
    np.testing.assert_array_equal(descending == 10, regions[0].mask)


@given(regions=region_lists(3, 6))
def test_routing_loses_a_pixel_that_a_lower_and_a_higher_index_cover(regions) -> None:
    maps, there = routing_maps(regions), covering(regions)
    for i in range(len(regions)):
        shown = (maps == 10 * (i + 1)).any(axis=2)
        lost = there[:i].any(axis=0) & there[i + 1 :].any(axis=0)
        np.testing.assert_array_equal(shown, there[i] & ~lost)


@given(regions=region_lists())
def test_reversing_the_subjects_swaps_the_routing_maps(regions) -> None:
    maps, back = routing_maps(regions), routing_maps(regions[::-1])
    renumbered = np.where(back > 0, 10 * (len(regions) + 1) - back.astype(int), 0)
    np.testing.assert_array_equal(maps, renumbered[..., ::-1])


@given(regions=region_lists(), data=st.data())
def test_permuting_subjects_permutes_routing_and_keeps_structure(
    regions, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(regions))))
    moved = [regions[i] for i in order]
    np.testing.assert_array_equal(
        one_hot_routing(moved)[..., : len(order)], one_hot_routing(regions)[..., list(order)]
    )
    np.testing.assert_array_equal(structure(moved), structure(regions))
    alone = covering(regions).sum(axis=0) <= 1
    renumber = np.array([0, *(10 * (order.index(i) + 1) for i in range(len(order)))])
    before, after = routing_maps(regions)[alone], routing_maps(moved)[alone]
    np.testing.assert_array_equal(after, renumber[before // 10])


@given(regions=region_lists(), spare=st.integers(0, 3))
def test_one_hot_routing_keeps_every_pixel_of_every_subject(regions, spare: int) -> None:
    slots = len(regions) + spare
    maps = one_hot_routing(regions, slots)
    assert maps.shape == (H, W, slots)
    np.testing.assert_array_equal(np.moveaxis(maps, 2, 0)[: len(regions)], 255 * covering(regions))
    assert not maps[..., len(regions) :].any()


@given(regions=region_lists(most=4))
def test_routing_encoding_states_the_number_of_channels(regions) -> None:
    for encoding in (
        RoutingEncoding(),
        RoutingEncoding(step=60),
        RoutingEncoding("one_hot", slots=4),
    ):
        image = control_image(regions, encoding)
        assert image.shape == (H, W, encoding.channels)
        np.testing.assert_array_equal(image[..., -1], structure(regions))


# Structure


@given(regions=region_lists())
def test_structure_is_nonzero_exactly_where_depth_is_known(regions) -> None:
    values = structure(regions)
    known = np.any([region.depth > 0 for region in regions], axis=0)
    np.testing.assert_array_equal(values > 0, known)
    assert not values[~covering(regions).any(axis=0)].any()
    assert not known.any() or (values[known].min() >= FARTHEST and values.max() == 255)


@given(regions=region_lists())
def test_structure_is_brighter_for_nearer_depth_of_the_nearest_subject(regions) -> None:
    depth = np.min([np.where(r.depth > 0, r.depth, np.inf) for r in regions], axis=0)
    order = np.argsort(depth, axis=None)
    values = structure(regions).ravel()[order]
    assert all(near >= far for near, far in pairwise(values.tolist()))
    finite = depth[np.isfinite(depth)]
    if finite.size and finite.max() > 1.01 * finite.min():
        assert values[finite.size - 1] == FARTHEST


@given(
    depth=arrays(np.float64, (H, W), elements=st.floats(1, 20)),
    scale=st.floats(0.1, 10),
    shift=st.floats(0, 1),
)
def test_structure_ignores_scale_and_shift_of_inverse_depth(
    depth, scale: float, shift: float
) -> None:
    mask = rectangle(1, 5, 2, 8)
    metric = structure([mask_region(mask, depth)]).astype(int)
    relative = structure([mask_region(mask, 1 / (scale / depth + shift))])
    inverse = 1 / depth[mask]
    if np.ptp(inverse) > 0.01:  # else rounding to float32 is stretched over the range
        assert np.abs(metric - relative).max() <= 1


def test_structure_of_one_constant_depth_is_255() -> None:
    flat = mask_region(rectangle(1, 3, 1, 3), np.full((H, W), 4.0))
    assert set(structure([flat])[flat.mask].tolist()) == {255}


def test_background_depth_fills_only_pixels_of_no_region() -> None:
    deep = mask_region(rectangle(0, 3, 0, 3), np.full((H, W), 5.0))
    flat = mask_region(rectangle(0, 3, 4, 7))
    background = np.full((H, W), 2.0)
    background[5] = np.nan
    values = structure([deep, flat], background)
    assert set(values[deep.mask].tolist()) == {FARTHEST}, "nearer background does not cover it"
    assert not values[flat.mask].any()
    assert not values[5].any()
    free = ~deep.mask & ~flat.mask
    free[5] = False
    assert set(values[free].tolist()) == {255}
    image = control_image([deep, flat], background_depth=background)
    np.testing.assert_array_equal(image[..., 2], values)


# What is refused


@pytest.mark.parametrize(
    "make", [control_image, routing_maps, one_hot_routing, structure, control_warnings]
)
def test_regions_of_unequal_size_or_no_regions_are_refused(make) -> None:
    small = mask_region(np.ones((H, W - 2), bool))
    with pytest.raises(UserError, match="subject 2: 7 x 6 pixels, subject 1 has 9 x 6"):
        make([mask_region(np.ones((H, W), bool)), small])
    with pytest.raises(UserError, match="no subjects"):
        make([])


def test_too_many_subjects_for_the_routing_encoding_are_refused() -> None:
    regions = [mask_region(np.ones((H, W), bool))] * 3
    assert routing_maps(regions, 85).max() == 255
    with pytest.raises(UserError, match=r"3 subjects at a routing step of 86.*85 or less"):
        routing_maps(regions, 86)
    with pytest.raises(UserError, match="step of 0"):
        routing_maps(regions, 0)
    with pytest.raises(UserError, match="room for 2"):
        control_image(regions, RoutingEncoding("one_hot", slots=2))
    with pytest.raises(UserError, match="background depth: 6 x 9 pixels"):
        structure(regions, np.ones((W, H)))
