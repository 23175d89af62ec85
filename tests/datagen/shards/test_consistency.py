"""The record said one thing and the pixels another: each such fault is named."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datagen.scene import Rle, Sample
from datagen.shards import codec
from datagen.shards.consistency import check_sample

MakeSample = Callable[..., Sample]
EditSubject = Callable[..., Sample]

ON_ITS_SIDE = ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))


def faults_stored(sample: Sample) -> tuple[str, ...]:
    """Faults of a sample that has been through the format."""
    return check_sample(codec.decode(codec.members(codec.encode(sample))))


@pytest.mark.parametrize("n", range(1, 11))
def test_consistent_samples_pass(make_sample: MakeSample, n: int) -> None:
    assert faults_stored(make_sample(n=n, seed=n)) == ()


def changed_box(sample: Sample, index: int, **changes: Any) -> dict[str, Any]:
    return {"box3d": dataclasses.replace(sample.record.subjects[index - 1].box3d, **changes)}


@pytest.mark.parametrize(
    ("index", "change", "reason"),
    [
        (1, lambda s: {"box2d": (4, 4, 40, 60)}, "box2d is [4, 4, 40, 60], its mask spans"),
        (2, lambda s: {"area": 0.5}, "area is 0.5, its mask has"),
        (1, lambda s: {"visibility": 0.95}, "visibility is 0.95, its masks have 0.7"),
        (
            1,
            lambda s: {"amodal_rle": s.record.subjects[1].amodal_rle},
            "visible pixels lie outside the amodal mask",
        ),
        (1, lambda s: {"amodal_rle": Rle((64, 96), "PP6")}, "amodal mask is empty"),
        (1, lambda s: {"box2d_amodal": (10, 4, 60, 60)}, "box2d_amodal is [10, 4, 60, 60]"),
        (2, lambda s: changed_box(s, 2, center=(0.0, 0.0, 2.0)), "lie outside box3d"),
        (2, lambda s: changed_box(s, 2, size=(0.5, 0.02, 0.5)), "lie outside box3d"),
        # A box turned on its side is still a rotation; only depth betrays it.
        (
            1,
            lambda s: changed_box(s, 1, rotation=ON_ITS_SIDE),
            "lie outside box3d",
        ),
    ],
)  # fmt: skip
def test_a_wrong_subject_record_is_found(
    make_sample: MakeSample,
    edit_subject: EditSubject,
    index: int,
    change: Callable[[Sample], dict[str, Any]],
    reason: str,
) -> None:
    sample = make_sample(n=2)
    wrong = edit_subject(sample, index, **change(sample))
    found = faults_stored(wrong)
    assert any(line.startswith(f"subject {index}: ") and reason in line for line in found), found


def record_changed(**changes: Any) -> Callable[[Sample], Sample]:
    return lambda s: dataclasses.replace(s, record=dataclasses.replace(s.record, **changes))


def pixels_changed(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Sample], Sample]:
    def changed(sample: Sample) -> Sample:
        pixels = getattr(sample, name).copy()
        change(pixels)
        return dataclasses.replace(sample, **{name: pixels})

    return changed


def fill(value: int, where: Any = ...) -> Callable[[np.ndarray], None]:
    return lambda pixels: pixels.__setitem__(where, value)


def swap_subjects(pixels: np.ndarray) -> None:
    pixels[:] = np.array([0, 2, 1], np.uint8)[pixels]


def move_camera(sample: Sample) -> Sample:
    camera = dataclasses.replace(
        sample.record.camera, intrinsics=((40.0, 0.0, 48.0), (0.0, 40.0, 32.0), (0.0, 0.0, 1.0))
    )
    return record_changed(camera=camera)(sample)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (pixels_changed("instances", fill(0)), "subject 2: has no pixel in instances.png"),
        (pixels_changed("instances", swap_subjects), "box2d is"),
        (pixels_changed("depth", fill(9000)), "lie outside box3d"),
        (pixels_changed("depth", fill(0)), "have no depth"),
        (pixels_changed("identities", fill(0, (slice(16), slice(16)))), "picture 0 is blank"),
        (move_camera, "lie outside box3d"),
    ],
)
def test_a_wrong_scene_record_is_found(
    make_sample: MakeSample,
    change: Callable[[Sample], Sample],
    reason: str,
) -> None:
    found = faults_stored(change(make_sample(n=2)))
    assert any(reason in line for line in found), found


def test_masks_may_differ_by_a_pixel_at_the_silhouette(make_sample: MakeSample) -> None:
    """One pixel of silhouette more, all around, is no fault; two are."""
    sample = make_sample(n=1)
    x0, y0, x1, y1 = sample.record.subjects[0].box2d
    for grown, sound in ((1, True), (2, False)):
        frame = (slice(y0 - grown, y1 + grown), slice(x0 - grown, x1 + grown))
        wider = pixels_changed("instances", fill(1, frame))(sample)
        told = any("outside the amodal mask" in line for line in faults_stored(wider))
        assert told != sound


def test_estimated_boxes_are_not_compared_with_depth(
    make_sample: MakeSample, edit_subject: EditSubject
) -> None:
    sample = make_sample(n=2)
    moved = changed_box(sample, 2, center=(0.0, 0.0, 2.0), estimated=True)
    assert faults_stored(edit_subject(sample, 2, **moved)) == ()
