"""A sample at the size that training wants: its pixels, and the record that is true of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from datagen.scene import Mat3, Sample, SceneRecord, Subject
from datagen.shards import codec


def decode(members: Mapping[str, bytes], key: str, size: int, *, depth: bool = True) -> Sample:
    """Decode one sample at ``size`` x ``size`` pixels; see ``codec.decode``.

    Args:
        members: the five members by extension.
        key: the sample's key.
        size: edge of image, depth and instances, in pixels. The identity sheet keeps its size.
        depth: whether depth is wanted; without, it is 0 throughout, which means "none".

    Returns:
        The sample, its record rescaled; its arrays may be read-only.

    Raises:
        BadSample: the sample is damaged.
    """
    sample = codec.decode(members, key, size=size, depth=depth)
    return replace(sample, record=scale_record(sample.record, size))


def scale_record(record: SceneRecord, size: int) -> SceneRecord:
    """The record of the image at ``size`` x ``size`` pixels.

    2D boxes hold the new pixels whose centres lie in the old box, which is what nearest-neighbour
    sampling leaves of its mask; at least one pixel. ``amodal_rle`` keeps its size.
    """
    width, height = record.width, record.height
    if (width, height) == (size, size):
        return record
    across, down, last = record.camera.intrinsics
    intrinsics: Mat3 = (_times(across, size / width), _times(down, size / height), last)
    return replace(
        record,
        width=size,
        height=size,
        camera=replace(record.camera, intrinsics=intrinsics),
        subjects=tuple(_scale_subject(one, width, height, size) for one in record.subjects),
    )


def _scale_subject(subject: Subject, width: int, height: int, size: int) -> Subject:
    def scaled(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        left, right = _held(box[0], box[2], width, size)
        top, bottom = _held(box[1], box[3], height, size)
        return left, top, right, bottom

    return replace(subject, box2d=scaled(subject.box2d), box2d_amodal=scaled(subject.box2d_amodal))


def _held(low: int, high: int, old: int, new: int) -> tuple[int, int]:
    """The range of ``new`` pixels whose centres lie in [low, high) of ``old`` pixels. In integers:
    the centre of pixel i is at (2 i + 1) old / (2 new)."""
    first, end = (-((old - 2 * new * edge) // (2 * old)) for edge in (low, high))
    if first < end:
        return first, end
    first = (low + high) * new // (2 * old)
    return first, first + 1


def _times(row: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return row[0] * factor, row[1] * factor, row[2] * factor
