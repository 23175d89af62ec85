"""The table of control kinds, and the regions that it makes of a sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import open3d as o3d
import pytest
from scipy.spatial.transform import Rotation

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
from model.controls.control_sampling import ControlSamplingConfig
from model.controls.kinds import CONTROL_KINDS, reads_depth, region_of


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
def test_region_of_mask_and_box2d_cover_the_visible_pixels(sample: Sample, index: int) -> None:
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
def test_region_of_mask_depth_is_in_metres(sample: Sample, index: int) -> None:
    region = region_of(sample, index, "mask_depth")
    np.testing.assert_allclose(region.depth[region.mask], sample.depth[region.mask] / 1000)
    assert 2 < region.depth[region.mask].mean() < 4
    assert not region.depth[~region.mask].any()


@pytest.mark.parametrize("index", [1, 2])
def test_region_of_box3d_covers_the_subject_and_lies_before_it(sample: Sample, index: int) -> None:
    visible = sample.instances == index
    region = region_of(sample, index, "box3d")
    assert (visible & region.mask).sum() >= 0.99 * visible.sum()
    both = visible & region.mask
    assert (region.depth[both] <= sample.depth[both] / 1000 + 0.002).all()
    assert region.mask.sum() < 3 * visible.sum(), "and holds little else"


def test_region_of_every_kind_has_its_granularity(sample: Sample) -> None:
    assert set(CONTROL_KINDS) == {"mask", "mask_depth", "box3d", "box2d"}
    for granularity in CONTROL_KINDS:
        assert region_of(sample, 1, granularity).granularity == granularity


def test_kinds_state_whether_their_regions_have_depth(sample: Sample) -> None:
    for granularity, kind in CONTROL_KINDS.items():
        assert region_of(sample, 1, granularity).depth.any() == kind.has_depth


def test_kinds_state_whether_they_read_the_depth_of_the_sample(sample: Sample) -> None:
    blank = replace(sample, depth=np.zeros_like(sample.depth))
    for granularity in CONTROL_KINDS:
        with_depth, without = (region_of(s, 1, granularity).depth for s in (sample, blank))
        assert reads_depth(["box2d", granularity]) != np.array_equal(with_depth, without)


def test_control_sampling_chooses_among_all_kinds_in_the_order_of_the_table() -> None:
    # A seed must give the same granularities as in models that are trained already.
    expected = ("mask", "mask_depth", "box3d", "box2d")
    assert ControlSamplingConfig().granularities == tuple(CONTROL_KINDS) == expected
