"""Fast decoding shows the sample that the format's own decoder shows, at another size."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from datagen.scene import Rle, Sample
from datagen.shards import codec
from datagen.shards.codec import BadSample
from model.controls.box3d import surface_depth
from model.controls.kinds import region_of
from model.data.decode import decode, scale_record
from tests import boxes

KEY = "000001"
SAMPLE = boxes.make_sample(KEY, 3)
MEMBERS = codec.members(codec.encode(SAMPLE))


def square(side: int) -> Sample:
    """A sample of other proportions: three boxes, as wide as high."""
    nothing = coco.encode(np.zeros((side, side), np.uint8, order="F"))["counts"].decode()
    subjects = tuple(
        replace(one, box2d=(0, 0, side, side), amodal_rle=Rle((side, side), nothing))
        for one in SAMPLE.record.subjects
    )
    record = replace(SAMPLE.record, width=side, height=side, subjects=subjects)
    return replace(
        SAMPLE,
        record=record,
        image=np.zeros((side, side, 3), np.uint8),
        depth=np.zeros((side, side), np.uint16),
        instances=np.zeros((side, side), np.uint8),
    )


def saved(array: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def test_decoding_at_the_original_size_equals_full_size_decoding() -> None:
    sample = square(40)
    rng = np.random.default_rng(0)
    sample = replace(
        sample,
        image=rng.integers(0, 255, (5, 5, 3), np.uint8).repeat(8, 0).repeat(8, 1),
        depth=rng.integers(0, 60_000, (40, 40), np.uint16),
        instances=rng.integers(0, 4, (40, 40), np.uint8),
    )
    members = codec.members(codec.encode(sample))
    ours, theirs = decode(members, KEY, 40), codec.decode(members, KEY)
    assert ours.record == theirs.record
    assert np.array_equal(ours.depth, theirs.depth)
    assert ours.depth.dtype == np.uint16
    assert np.array_equal(ours.instances, theirs.instances)
    assert np.array_equal(ours.identities, theirs.identities)
    assert np.abs(ours.image.astype(int) - theirs.image).max() <= 1


@given(st.integers(4, 150))
def test_labels_and_depth_are_nearest_neighbours(size: int) -> None:
    small = decode(MEMBERS, KEY, size)
    rows = np.floor((np.arange(size) + 0.5) * boxes.HEIGHT / size).astype(int)
    columns = np.floor((np.arange(size) + 0.5) * boxes.WIDTH / size).astype(int)
    assert small.image.shape == (size, size, 3)
    assert np.array_equal(small.instances, SAMPLE.instances[rows[:, None], columns])
    assert np.array_equal(small.depth, SAMPLE.depth[rows[:, None], columns])


@given(st.integers(2, 150))
def test_scaled_boxes_fit_the_scaled_masks(size: int) -> None:
    small = decode(MEMBERS, KEY, size)
    for subject in small.record.subjects:
        x_min, y_min, x_max, y_max = subject.box2d
        assert 0 <= x_min < x_max <= size
        assert 0 <= y_min < y_max <= size
        rows, columns = np.nonzero(small.instances == subject.index)
        if len(rows):  # these are upright rectangles, but for what hides them
            assert (columns.min(), rows.min()) == (x_min, y_min)
            assert (columns.max(), rows.max()) == (x_max - 1, y_max - 1)


def test_a_subject_too_small_to_show_keeps_a_pixel_of_box() -> None:
    sample = boxes.edit_subject(SAMPLE, 2, box2d=(95, 63, 96, 64))
    box = scale_record(sample.record, 5).subjects[1].box2d
    assert box == (4, 4, 5, 5)
    shown = replace(SAMPLE, record=scale_record(sample.record, 5), instances=np.zeros((5, 5)))
    assert region_of(shown, 2, "box2d").mask.sum() == 1


@given(st.integers(8, 150))
def test_scaled_intrinsics_project_the_same_points(size: int) -> None:
    small = scale_record(SAMPLE.record, size)
    assert (small.width, small.height) == (size, size)
    point = np.array([0.3, -0.2, 4.0])
    before = np.array(SAMPLE.record.camera.intrinsics) @ point
    after = np.array(small.camera.intrinsics) @ point
    stretch = np.array([size / boxes.WIDTH, size / boxes.HEIGHT])
    assert after[:2] / after[2] == pytest.approx(before[:2] / before[2] * stretch)
    for subject in small.subjects:
        seen = surface_depth(subject.box3d, small.camera.intrinsics, (size, size)) > 0
        x_min, y_min, x_max, y_max = subject.box2d_amodal
        assert seen.sum() == pytest.approx(
            (x_max - x_min) * (y_max - y_min), abs=2 * (x_max - x_min + y_max - y_min) + 4
        )


@pytest.mark.parametrize("size", [16, 20, 24, 32])
def test_a_smaller_image_is_antialiased(size: int) -> None:
    """Stripes of one pixel are grey from afar; sampling would make them black or white."""
    stripes = np.zeros((64, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    image = decode(MEMBERS | {"image.jpg": saved(stripes, "JPEG", quality=95)}, KEY, size).image
    assert image.mean() == pytest.approx(127.5, abs=4)
    assert image.std() < 20


def test_unwanted_depth_is_zero_and_not_read() -> None:
    broken = MEMBERS | {"depth.png": b"no picture"}
    assert not decode(broken, KEY, 16, depth=False).depth.any()
    with pytest.raises(BadSample, match=r"depth\.png"):
        decode(broken, KEY, 16)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("/tmp/unpickled"),))


LARGE = simplejpeg.encode_jpeg(np.zeros((64, 8200, 3), np.uint8))
DAMAGE = {
    "image.jpg": [
        LARGE,
        saved(np.zeros((64, 96), np.uint8), "JPEG"),
        MEMBERS["image.jpg"][:-300],
        saved(SAMPLE.image, "PNG"),
    ],
    "depth.png": [
        saved(SAMPLE.depth[:-1], "PNG"),
        saved(SAMPLE.instances, "PNG"),
        MEMBERS["depth.png"][:-30],
        MEMBERS["image.jpg"],
    ],
    "instances.png": [
        saved(SAMPLE.instances[:, 1:], "PNG"),
        saved(SAMPLE.instances + np.uint8(4), "PNG"),
        saved(SAMPLE.image, "PNG"),
        MEMBERS["instances.png"][:-30],
    ],
    "identities.webp": [
        saved(SAMPLE.identities[1:], "WEBP"),
        saved(SAMPLE.identities[:16], "WEBP"),
        MEMBERS["identities.webp"][:-30],
        saved(
            SAMPLE.identities,
            "WEBP",
            save_all=True,
            append_images=[Image.fromarray(255 - SAMPLE.identities)],
        ),
    ],
    "json": [MEMBERS["json"][:-1], MEMBERS["json"].replace(b'"n_subjects":3', b'"n_subjects":11')],
}


@pytest.mark.parametrize(
    ("member", "data"),
    [(member, data) for member, kinds in DAMAGE.items() for data in [*kinds, b""]]
    + [(member, pickle.dumps(Bomb())) for member in DAMAGE],
)
def test_damaged_members_are_named(member: str, data: bytes) -> None:
    with pytest.raises(BadSample) as caught:
        decode(MEMBERS | {member: data}, KEY, 32)
    assert (caught.value.key, caught.value.member) == (KEY, member)
    assert not Path("/tmp/unpickled").exists()


def test_a_sheet_may_come_without_alpha() -> None:
    opaque = SAMPLE.identities.copy()
    opaque[..., 3] = 255
    sheet = saved(opaque[..., :3], "WEBP", lossless=True)
    found = decode(MEMBERS | {"identities.webp": sheet}, KEY, 32).identities
    assert np.array_equal(found, opaque)
