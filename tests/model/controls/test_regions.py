"""Control images and identity sheets: what is promised of every subject, order and size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import open3d as o3d
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.spatial.transform import Rotation

from datagen.errors import UserError
from datagen.geometry import resize_nearest
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
from model.controls.control_warnings import faults
from model.controls.regions import (
    FARTHEST,
    SHEET_BACKGROUND,
    Encoding,
    Region,
    box2d_region,
    box3d_region,
    control_image,
    identity_sheet,
    mask_region,
    one_hot_routing,
    reference_view,
    region_of,
    resize_region,
    routing_maps,
    structure,
)
from tests.model.regions import INTRINSICS, UPRIGHT, H, W, rectangle, region_lists


def covering(regions: list[Region]) -> np.ndarray:
    """(N, H, W): which subjects lie where."""
    return np.stack([region.mask for region in regions])


# Routing


@given(regions=region_lists(), step=st.sampled_from([1, 10, 42]))
def test_the_last_covers_in_one_map_and_the_first_in_the_other(regions, step: int) -> None:
    maps = routing_maps(regions, step)
    assert maps.dtype == np.uint8
    for row, column in np.ndindex(H, W):
        here = [i for i, region in enumerate(regions, start=1) if region.mask[row, column]]
        expected = [step * here[-1], step * here[0]] if here else [0, 0]
        assert maps[row, column].tolist() == expected


def test_by_default_subject_i_has_exactly_ten_i() -> None:
    regions = [mask_region(rectangle(0, H, i, i + 1)) for i in range(W)]
    image = control_image(regions)
    assert image.shape == (H, W, 3)
    for channel in (0, 1):
        assert image[0, :, channel].tolist() == [10 * (i + 1) for i in range(W)]


@given(regions=region_lists(2, 2))
def test_of_two_subjects_each_shows_whole_in_one_map(regions) -> None:
    ascending, descending = np.moveaxis(routing_maps(regions), 2, 0)
    np.testing.assert_array_equal(ascending == 20, regions[1].mask)
    np.testing.assert_array_equal(descending == 10, regions[0].mask)


@given(regions=region_lists(3, 6))
def test_of_more_a_pixel_is_lost_where_a_lower_and_a_higher_index_cover_it(regions) -> None:
    maps, there = routing_maps(regions), covering(regions)
    for i in range(len(regions)):
        shown = (maps == 10 * (i + 1)).any(axis=2)
        lost = there[:i].any(axis=0) & there[i + 1 :].any(axis=0)
        np.testing.assert_array_equal(shown, there[i] & ~lost)


@given(regions=region_lists())
def test_reversing_the_subjects_exchanges_the_maps(regions) -> None:
    maps, back = routing_maps(regions), routing_maps(regions[::-1])
    renumbered = np.where(back > 0, 10 * (len(regions) + 1) - back.astype(int), 0)
    np.testing.assert_array_equal(maps, renumbered[..., ::-1])


@given(regions=region_lists(), data=st.data())
def test_permuting_the_subjects_permutes_the_image(regions, data: st.DataObject) -> None:
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
def test_one_hot_loses_nothing(regions, spare: int) -> None:
    slots = len(regions) + spare
    maps = one_hot_routing(regions, slots)
    assert maps.shape == (H, W, slots)
    np.testing.assert_array_equal(np.moveaxis(maps, 2, 0)[: len(regions)], 255 * covering(regions))
    assert not maps[..., len(regions) :].any()


@given(regions=region_lists(most=4))
def test_an_encoding_says_how_many_channels_it_makes(regions) -> None:
    for encoding in (Encoding(), Encoding(step=60), Encoding("one_hot", slots=4)):
        image = control_image(regions, encoding)
        assert image.shape == (H, W, encoding.channels)
        np.testing.assert_array_equal(image[..., -1], structure(regions))


# Structure


@given(regions=region_lists())
def test_structure_is_there_exactly_where_depth_is(regions) -> None:
    values = structure(regions)
    known = np.any([region.depth > 0 for region in regions], axis=0)
    np.testing.assert_array_equal(values > 0, known)
    assert not values[~covering(regions).any(axis=0)].any()
    assert not known.any() or (values[known].min() >= FARTHEST and values.max() == 255)


@given(regions=region_lists())
def test_nearer_is_brighter_and_the_nearest_subject_counts(regions) -> None:
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
def test_relative_depth_does_as_well_as_metres(depth, scale: float, shift: float) -> None:
    mask = rectangle(1, 5, 2, 8)
    metric = structure([mask_region(mask, depth)]).astype(int)
    relative = structure([mask_region(mask, 1 / (scale / depth + shift))])
    inverse = 1 / depth[mask]
    if np.ptp(inverse) > 0.01:  # else rounding to float32 is stretched over the range
        assert np.abs(metric - relative).max() <= 1


def test_one_distance_is_as_near_as_can_be() -> None:
    flat = mask_region(rectangle(1, 3, 1, 3), np.full((H, W), 4.0))
    assert set(structure([flat])[flat.mask].tolist()) == {255}


def test_what_is_no_distance_is_no_depth() -> None:
    depth = np.full((H, W), 2.0)
    depth[0, :4] = [np.nan, np.inf, -1.0, 0.0]
    region = mask_region(rectangle(0, 2, 0, W), depth)
    assert region.depth.dtype == np.float32
    assert region.depth[0, :4].tolist() == [0, 0, 0, 0]
    assert (region.depth > 0).sum() == 2 * W - 4
    assert not region.depth[2:].any()


def test_background_depth_lies_behind_every_subject_with_depth_or_without() -> None:
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


# Resizing


@given(
    regions=region_lists(),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    routing=st.sampled_from(["intensity", "one_hot"]),
)
def test_no_resize_makes_a_value_that_was_not_declared(regions, size, routing) -> None:
    image = control_image(regions, Encoding(routing))
    small = resize_nearest(image, size)
    assert small.shape == (*size, image.shape[2])
    declared = set(map(tuple, image.reshape(-1, image.shape[2]).tolist()))
    assert set(map(tuple, small.reshape(-1, image.shape[2]).tolist())) <= declared


@given(
    regions=region_lists(),
    up=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_enlarged_by_whole_numbers_every_pixel_becomes_a_block(regions, up) -> None:
    image = control_image(regions)
    large = resize_nearest(image, (H * up[0], W * up[1]))
    np.testing.assert_array_equal(large, image.repeat(up[0], axis=0).repeat(up[1], axis=1))
    np.testing.assert_array_equal(resize_nearest(large, (H, W)), image)
    np.testing.assert_array_equal(resize_nearest(large[..., 0], (H, W)), image[..., 0])


def test_made_smaller_every_block_becomes_its_middle() -> None:
    image = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)
    np.testing.assert_array_equal(resize_nearest(image, (2, 3)), image[1::3, 1::3])


@given(regions=region_lists(), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_a_region_is_resized_as_its_control_is(regions, size) -> None:
    small = [resize_region(region, size) for region in regions]
    np.testing.assert_array_equal(routing_maps(small), resize_nearest(routing_maps(regions), size))
    for before, after in zip(regions, small, strict=True):
        assert after.granularity == before.granularity
        np.testing.assert_array_equal(after.depth, resize_nearest(before.depth, size))


# Regions


def test_a_whole_box_is_half_open_and_is_cut_at_the_frame() -> None:
    np.testing.assert_array_equal(box2d_region((2, 1, 5, 3), (H, W)).mask, rectangle(1, 3, 2, 5))
    np.testing.assert_array_equal(box2d_region((-4, 4, 3, 90), (H, W)).mask, rectangle(4, H, 0, 3))
    assert not box2d_region((W, 0, W + 5, H), (H, W)).mask.any()


def test_a_box_of_fractions_holds_the_pixels_whose_centres_it_holds() -> None:
    region = box2d_region((1.5, 0.6, 4.5, 2.51), (H, W))
    np.testing.assert_array_equal(region.mask, rectangle(1, 3, 1, 4))
    assert not region.depth.any()


@pytest.mark.parametrize("box", [(5, 1, 2, 3), (2, 3, 5, 3), (0, 0, float("nan"), 2)])
def test_a_box_with_its_corners_exchanged_is_refused(box) -> None:
    with pytest.raises(UserError, match=r"box2d: .* expected \[x_min"):
        box2d_region(box, (H, W))


def test_a_mask_must_be_bool_and_its_depth_as_large() -> None:
    with pytest.raises(UserError, match="mask: uint8"):
        mask_region(np.zeros((H, W), np.uint8))
    with pytest.raises(UserError, match="9 x 5 pixels, its mask has 9 x 6"):
        mask_region(np.zeros((H, W), bool), np.zeros((H - 1, W)))


def test_a_3d_box_is_its_silhouette_with_depth_on_all_of_it() -> None:
    region = box3d_region(Box3D((0, 0, 2), (0.5, 0.5, 1), UPRIGHT, False), INTRINSICS, (H, W))
    assert region.mask.any()
    np.testing.assert_array_equal(region.mask, region.depth > 0)
    np.testing.assert_allclose(region.depth[region.mask], 1.5)


@pytest.mark.parametrize("make", [control_image, routing_maps, one_hot_routing, structure, faults])
def test_controls_that_cannot_be_stacked_are_refused(make) -> None:
    small = mask_region(np.ones((H, W - 2), bool))
    with pytest.raises(UserError, match="subject 2: 7 x 6 pixels, subject 1 has 9 x 6"):
        make([mask_region(np.ones((H, W), bool)), small])
    with pytest.raises(UserError, match="no subjects"):
        make([])


def test_what_has_no_room_is_refused() -> None:
    regions = [mask_region(np.ones((H, W), bool))] * 3
    assert routing_maps(regions, 85).max() == 255
    with pytest.raises(UserError, match=r"3 subjects at a routing step of 86.*85 or less"):
        routing_maps(regions, 86)
    with pytest.raises(UserError, match="step of 0"):
        routing_maps(regions, 0)
    with pytest.raises(UserError, match="room for 2"):
        control_image(regions, Encoding("one_hot", slots=2))
    with pytest.raises(UserError, match="background depth: 6 x 9 pixels"):
        structure(regions, np.ones((W, H)))


# The identity sheet


def plain_view(side: int, rgba: tuple[int, int, int, int]) -> np.ndarray:
    return np.full((side, side, 4), rgba, np.uint8)


def test_the_sheet_has_one_block_a_subject_in_order() -> None:
    colors = [(200, 10, 10), (10, 200, 10), (10, 10, 200)]
    views = [plain_view(side, (*rgb, 255)) for side, rgb in zip((5, 16, 40), colors, strict=True)]
    sheet = identity_sheet(views, 16)
    assert sheet.shape == (48, 16, 3)
    assert sheet.dtype == np.uint8
    for block, rgb in zip(np.split(sheet, 3), colors, strict=True):
        assert (block == rgb).all()


def test_alpha_weighs_subject_against_background() -> None:
    views = [plain_view(8, (255, 0, 0, alpha)) for alpha in (0, 102, 255)]
    clear, part, full = np.split(identity_sheet(views, 8), 3)
    assert (clear == SHEET_BACKGROUND).all(), "colour under transparency does not show"
    expected = 0.4 * np.array([255, 0, 0]) + 0.6 * SHEET_BACKGROUND
    assert np.abs(part.astype(float) - expected).max() <= 1
    assert (full == (255, 0, 0)).all()


@given(size=st.integers(3, 40))
def test_hidden_colour_bleeds_into_no_edge(size: int) -> None:
    """Opaque red beside green that alpha hides: between red and grey, green equals blue."""
    view = plain_view(24, (0, 255, 0, 0))
    view[:, :13] = (255, 0, 0, 255)
    sheet = identity_sheet([view], size).astype(int)
    assert np.abs(sheet[..., 1] - sheet[..., 2]).max() <= 1


def test_a_smaller_sheet_is_antialiased() -> None:
    view = plain_view(64, (0, 0, 0, 255))
    view[::2, :, :3] = 255
    sheet = identity_sheet([view], 16)
    assert np.abs(sheet.astype(int) - 128).max() <= 12  # 127 where every fourth row is picked


@pytest.mark.parametrize(
    "view",
    [
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((8, 6, 4), np.uint8),
        np.zeros((8, 8, 4), np.float32),
    ],
)
def test_a_view_that_is_no_square_rgba_picture_is_refused(view: np.ndarray) -> None:
    with pytest.raises(UserError, match="identity view of subject 2"):
        identity_sheet([plain_view(8, (0, 0, 0, 255)), view], 8)


def test_a_sheet_of_nobody_is_refused() -> None:
    with pytest.raises(UserError, match="no views"):
        identity_sheet([], 8)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("RGB", (8, 8)), r"\(8, 8, 3\): RGB, expected RGBA; cut the subject out"),
        (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\), expected uint8 \(s, s, 4\)"),
        (np.ones((8, 8, 4)), "float64"),
        (np.full((8, 6, 4), 255, np.uint8), "6 x 8 pixels, expected a square; pad it"),
        (np.full((8, 8, 4), 127, np.uint8), "transparent throughout"),
        (np.zeros((0, 0, 4), np.uint8), "transparent throughout"),
    ],
)
def test_what_is_no_reference_is_refused_with_what_to_do(picture, message: str) -> None:
    with pytest.raises(UserError, match=message):
        reference_view(picture)


def test_a_reference_may_be_pils() -> None:
    view = plain_view(8, (200, 10, 10, 255))
    np.testing.assert_array_equal(reference_view(Image.fromarray(view)), view)


# From a sample


@pytest.fixture(scope="module")
def sample() -> Sample:
    """A cone that hides a part of a tilted cylinder, cast by Open3D; boxes around both."""
    height, width, focal = 90, 120, 130.0
    intrinsics = ((focal, 0.0, width / 2), (0.0, focal, height / 2), (0.0, 0.0, 1.0))
    shapes = [
        (o3d.geometry.TriangleMesh.create_cone(0.3, 0.9), (1.4, 0.2, 0.3), (-0.1, 0.3, 2.5)),
        (o3d.geometry.TriangleMesh.create_cylinder(0.25, 1.0), (0.9, -0.5, 0.2), (0.25, 0.1, 3.5)),
    ]
    scene, boxes = o3d.t.geometry.RaycastingScene(), []
    for mesh, turn, at in shapes:
        rotation = Rotation.from_rotvec(turn).as_matrix()
        bounds = mesh.get_axis_aligned_bounding_box()
        center = rotation @ bounds.get_center() + at
        size = tuple(bounds.get_extent().tolist())
        rows = tuple(map(tuple, rotation.tolist()))
        boxes.append(Box3D(tuple(center.tolist()), size, rows, estimated=False))
        mesh.rotate(rotation, (0, 0, 0)).translate(at)
        scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    v, u = np.mgrid[:height, :width] + 0.5
    directions = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(intrinsics).T
    rays = np.concatenate([np.zeros_like(directions), directions], axis=-1).astype(np.float32)
    cast = scene.cast_rays(o3d.core.Tensor(rays))
    hit = cast["t_hit"].numpy()
    seen = np.isfinite(hit)
    instances = np.where(seen, cast["geometry_ids"].numpy() + 1, 0).astype(np.uint8)
    depth = np.round(np.where(seen, hit, 0) * 1000).astype(np.uint16)
    subjects = tuple(subject(i, box, instances == i) for i, box in enumerate(boxes, start=1))
    eye = tuple(map(tuple, np.eye(4).tolist()))
    record = SceneRecord(
        key="000001",
        source="render",
        split="train",
        width=width,
        height=height,
        prompt=Prompt("a cone and a cylinder in a hall", "a hall"),
        camera=CameraRecord(intrinsics, eye, estimated=False),
        n_subjects=2,
        subjects=subjects,
    )
    sheet = np.zeros((2 * 4, 4, 4), np.uint8)
    return Sample(record, np.zeros((height, width, 3), np.uint8), depth, instances, sheet)


def subject(index: int, box: Box3D, visible: np.ndarray) -> Subject:
    rows, columns = np.nonzero(visible)
    span = (
        int(columns.min()),
        int(rows.min()),
        int(columns.max()) + 1,
        int(rows.max()) + 1,
    )
    return Subject(
        index=index,
        identity=f"id-{index}",
        category="shape",
        caption="a shape",
        box2d=span,
        box2d_amodal=span,
        box3d=box,
        visibility=1.0,
        truncation=0.0,
        area=float(visible.mean()),
        amodal_rle=Rle(visible.shape, ""),
        asset=AssetCredit("shape", "tests", "nobody", "CC0-1.0"),
        views=(View("crop", 0.0, 0.0, "hall"),),
    )


@pytest.mark.parametrize("index", [1, 2])
def test_masks_and_2d_boxes_are_of_what_is_visible(sample: Sample, index: int) -> None:
    visible = sample.instances == index
    for granularity in ("mask", "mask_depth"):
        np.testing.assert_array_equal(region_of(sample, index, granularity).mask, visible)
    box = region_of(sample, index, "box2d").mask
    assert not (visible & ~box).any()
    rows, columns = np.nonzero(visible)
    assert box.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert not region_of(sample, index, "mask").depth.any()
    assert not region_of(sample, index, "box2d").depth.any()


@pytest.mark.parametrize("index", [1, 2])
def test_depth_is_the_pictures_in_metres(sample: Sample, index: int) -> None:
    region = region_of(sample, index, "mask_depth")
    np.testing.assert_allclose(region.depth[region.mask], sample.depth[region.mask] / 1000)
    assert 2 < region.depth[region.mask].mean() < 4
    assert not region.depth[~region.mask].any()


@pytest.mark.parametrize("index", [1, 2])
def test_the_3d_box_holds_the_subject_and_lies_before_it(sample: Sample, index: int) -> None:
    visible = sample.instances == index
    region = region_of(sample, index, "box3d")
    assert (visible & region.mask).sum() >= 0.99 * visible.sum()
    both = visible & region.mask
    assert (region.depth[both] <= sample.depth[both] / 1000 + 0.002).all()
    assert region.mask.sum() < 3 * visible.sum(), "and holds little else"


def test_every_granularity_names_itself(sample: Sample) -> None:
    for granularity in ("mask", "mask_depth", "box3d", "box2d"):
        assert region_of(sample, 1, granularity).granularity == granularity
