"""Regions of masks and boxes, and how regions are resized."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.errors import UserError
from datagen.geometry import resize_nearest
from datagen.scene import Box3D
from model.controls.control_image import RoutingEncoding, control_image, routing_maps
from model.controls.regions import box2d_region, box3d_region, mask_region, resize_region
from tests.model.regions import INTRINSICS, UPRIGHT, H, W, rectangle, region_lists


def test_box2d_region_is_half_open_and_is_cut_at_the_frame() -> None:
    np.testing.assert_array_equal(box2d_region((2, 1, 5, 3), (H, W)).mask, rectangle(1, 3, 2, 5))
    np.testing.assert_array_equal(box2d_region((-4, 4, 3, 90), (H, W)).mask, rectangle(4, H, 0, 3))
    assert not box2d_region((W, 0, W + 5, H), (H, W)).mask.any()


def test_box2d_region_of_fractional_box_holds_pixels_by_their_centres() -> None:
    region = box2d_region((1.5, 0.6, 4.5, 2.51), (H, W))
    np.testing.assert_array_equal(region.mask, rectangle(1, 3, 1, 4))
    assert not region.depth.any()


@pytest.mark.parametrize("box", [(5, 1, 2, 3), (2, 3, 5, 3), (0, 0, float("nan"), 2)])
def test_box2d_region_refuses_exchanged_corners(box) -> None:
    with pytest.raises(UserError, match=r"box2d: .* expected \[x_min"):
        box2d_region(box, (H, W))


def test_mask_region_refuses_masks_that_are_not_bool_and_depth_of_another_size() -> None:
    with pytest.raises(UserError, match="mask: uint8"):
        mask_region(np.zeros((H, W), np.uint8))
    with pytest.raises(UserError, match="9 x 5 pixels, its mask has 9 x 6"):
        mask_region(np.zeros((H, W), bool), np.zeros((H - 1, W)))


def test_box3d_region_has_depth_on_its_whole_silhouette() -> None:
    region = box3d_region(Box3D((0, 0, 2), (0.5, 0.5, 1), UPRIGHT, False), INTRINSICS, (H, W))
    assert region.mask.any()
    np.testing.assert_array_equal(region.mask, region.depth > 0)
    np.testing.assert_allclose(region.depth[region.mask], 1.5)


def test_mask_region_ignores_depth_that_is_not_finite_or_not_positive() -> None:
    depth = np.full((H, W), 2.0)
    depth[0, :4] = [np.nan, np.inf, -1.0, 0.0]
    region = mask_region(rectangle(0, 2, 0, W), depth)
    assert region.depth.dtype == np.float32
    assert region.depth[0, :4].tolist() == [0, 0, 0, 0]
    assert (region.depth > 0).sum() == 2 * W - 4
    assert not region.depth[2:].any()


# Resizing


@given(
    regions=region_lists(),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    routing=st.sampled_from(["intensity", "one_hot"]),
)
def test_resize_makes_no_new_values(regions, size, routing) -> None:
    image = control_image(regions, RoutingEncoding(routing))
    small = resize_nearest(image, size)
    assert small.shape == (*size, image.shape[2])
    declared = set(map(tuple, image.reshape(-1, image.shape[2]).tolist()))
    assert set(map(tuple, small.reshape(-1, image.shape[2]).tolist())) <= declared


@given(
    regions=region_lists(),
    up=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_resize_to_a_whole_multiple_repeats_pixels(regions, up) -> None:
    image = control_image(regions)
    large = resize_nearest(image, (H * up[0], W * up[1]))
    np.testing.assert_array_equal(large, image.repeat(up[0], axis=0).repeat(up[1], axis=1))
    np.testing.assert_array_equal(resize_nearest(large, (H, W)), image)
    np.testing.assert_array_equal(resize_nearest(large[..., 0], (H, W)), image[..., 0])


def test_resize_to_a_whole_fraction_takes_the_middle_of_each_block() -> None:
    image = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)
    np.testing.assert_array_equal(resize_nearest(image, (2, 3)), image[1::3, 1::3])


@given(regions=region_lists(), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_resize_region_agrees_with_resize_of_its_control_image(regions, size) -> None:
    small = [resize_region(region, size) for region in regions]
    np.testing.assert_array_equal(routing_maps(small), resize_nearest(routing_maps(regions), size))
    for before, after in zip(regions, small, strict=True):
        assert after.granularity == before.granularity
        np.testing.assert_array_equal(after.depth, resize_nearest(before.depth, size))
