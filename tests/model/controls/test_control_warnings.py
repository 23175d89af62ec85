"""Warnings about references and controls that are allowed but probably not intended."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from datagen.scene import Box3D
from model.controls.control_image import RoutingEncoding, routing_maps
from model.controls.control_warnings import OPAQUE, control_warnings
from model.controls.regions import box2d_region, box3d_region, mask_region
from tests.model.regions import INTRINSICS, UPRIGHT, H, W, rectangle, region_lists


def test_no_warnings_for_sound_controls() -> None:
    depth = np.full((H, W), 3.0)
    assert not control_warnings(
        [
            mask_region(rectangle(0, 4, 0, 3)),
            mask_region(rectangle(2, 6, 2, 5), depth),
            box2d_region((4, 0, 12, 4), (H, W)),
        ]
    )


def test_warning_of_empty_regions_and_missing_depth_by_kind() -> None:
    nothing = rectangle(0, 0, 0, 0)
    behind = Box3D((0, 0, -3), (1, 1, 1), UPRIGHT, estimated=False)
    found = control_warnings(
        [
            mask_region(rectangle(0, 2, 0, 2)),
            mask_region(nothing),
            box2d_region((0.1, 0.1, 0.4, 0.4), (H, W)),
            box3d_region(behind, INTRINSICS, (H, W)),
            mask_region(rectangle(3, 5, 0, 2), np.zeros((H, W))),
        ]
    )
    assert [line.split(",")[0] for line in found] == [
        "subject 2: empty mask",
        "subject 3: out of frame or too small",
        "subject 4: out of frame or too small",
        "subject 5: no depth",
    ]
    assert "box3d" in found[2]
    assert "9 x 6" in found[2]


@given(regions=region_lists())
def test_warning_of_subjects_hidden_in_both_routing_maps(regions) -> None:
    maps = routing_maps(regions)
    hidden = [
        f"subject {i}"
        for i, region in enumerate(regions, start=1)
        if region.mask.any() and not (maps == 10 * i).any()
    ]
    named = [line.split(":")[0] for line in control_warnings(regions) if "hidden in both" in line]
    assert named == hidden
    assert "hidden" not in " ".join(control_warnings(regions, RoutingEncoding("one_hot"))), (
        "it has no two maps"
    )


def test_warning_of_opaque_references() -> None:
    views = [np.full((8, 8, 4), 255, np.uint8) for _ in range(2)]
    views[0][0, 0, 3] = 254
    region = mask_region(rectangle(0, 2, 0, 2))
    assert control_warnings([region], references=views) == (f"reference of subject 2: {OPAQUE}",)


def test_warning_of_subjects_outside_the_paintable_mask() -> None:
    inside, across, outside = (mask_region(rectangle(0, 2, x, x + 2)) for x in (0, 2, 4))
    (warning,) = control_warnings([inside, across, outside], paintable=rectangle(0, H, 0, 3))
    assert warning == "subject 3: outside of where the background may be painted on"


def test_warning_of_heavy_overlap() -> None:
    one, other = mask_region(rectangle(0, 5, 0, 2)), mask_region(rectangle(1, 6, 0, 2))
    cup = mask_region(rectangle(0, 1, 0, 1))
    assert not control_warnings([one, other, cup]), "they share 8 pixels of 12"
    (warning,) = control_warnings([cup, one, mask_region(rectangle(0, 4, 0, 2))])
    assert warning == "subjects 2 and 3: heavy overlap, they share 80% of their place"
