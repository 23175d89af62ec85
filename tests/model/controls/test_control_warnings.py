"""What is told of references and controls that are allowed, and perhaps not meant."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from datagen.scene import Box3D
from model.controls.control_warnings import OPAQUE, faults
from model.controls.regions import Encoding, box2d_region, box3d_region, mask_region, routing_maps
from tests.model.regions import INTRINSICS, UPRIGHT, H, W, rectangle, region_lists


def test_sound_controls_have_no_faults() -> None:
    depth = np.full((H, W), 3.0)
    assert not faults(
        [
            mask_region(rectangle(0, 4, 0, 3)),
            mask_region(rectangle(2, 6, 2, 5), depth),
            box2d_region((4, 0, 12, 4), (H, W)),
        ]
    )


def test_what_shows_nowhere_is_named_by_its_kind() -> None:
    nothing = rectangle(0, 0, 0, 0)
    behind = Box3D((0, 0, -3), (1, 1, 1), UPRIGHT, estimated=False)
    found = faults(
        [
            mask_region(rectangle(0, 2, 0, 2)),
            mask_region(nothing),
            box2d_region((0.1, 0.1, 0.4, 0.4), (H, W)),
            box3d_region(behind, INTRINSICS, (H, W)),
            mask_region(rectangle(3, 5, 0, 2), np.zeros((H, W))),
        ]
    )
    assert [fault.split(",")[0] for fault in found] == [
        "subject 2: empty mask",
        "subject 3: out of frame or too small",
        "subject 4: out of frame or too small",
        "subject 5: no depth",
    ]
    assert "box3d" in found[2]
    assert "9 x 6" in found[2]


@given(regions=region_lists())
def test_who_is_hidden_in_both_maps_is_named_and_nobody_else(regions) -> None:
    maps = routing_maps(regions)
    hidden = [
        f"subject {i}"
        for i, region in enumerate(regions, start=1)
        if region.mask.any() and not (maps == 10 * i).any()
    ]
    told = [fault.split(":")[0] for fault in faults(regions) if "hidden in both" in fault]
    assert told == hidden
    assert "hidden" not in " ".join(faults(regions, Encoding("one_hot"))), "it has no two maps"


def test_references_with_a_background_are_named() -> None:
    views = [np.full((8, 8, 4), 255, np.uint8) for _ in range(2)]
    views[0][0, 0, 3] = 254
    region = mask_region(rectangle(0, 2, 0, 2))
    assert faults([region], references=views) == (f"reference of subject 2: {OPAQUE}",)


def test_who_may_not_be_painted_at_all_is_named() -> None:
    inside, across, outside = (mask_region(rectangle(0, 2, x, x + 2)) for x in (0, 2, 4))
    (told,) = faults([inside, across, outside], paintable=rectangle(0, H, 0, 3))
    assert told == "subject 3: outside of where the background may be painted on"


def test_two_who_claim_one_place_are_named() -> None:
    one, other = mask_region(rectangle(0, 5, 0, 2)), mask_region(rectangle(1, 6, 0, 2))
    cup = mask_region(rectangle(0, 1, 0, 1))
    assert not faults([one, other, cup]), "they share 8 pixels of 12"
    (told,) = faults([cup, one, mask_region(rectangle(0, 4, 0, 2))])
    assert told == "subjects 2 and 3: heavy overlap, they share 80% of their place"
