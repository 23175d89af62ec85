"""A sample at the size that training wants: pixels from the codec, and a record that fits them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from datagen.scene import Mat3, Sample, SceneRecord, Subject
from datagen.shards import codec


def decode(members: Mapping[str, bytes], key: str, size: int, *, depth: bool = True) -> Sample:
    """Decode a sample at ``size`` x ``size`` pixels; other proportions are stretched.

    Args:
        members: the five members' bytes by extension, as ``ShardSet.verified_members`` returns.
        key: of the sample, checked against the record.
        size: edge of image, depth and instances in pixels. The identity sheet keeps its size.
        depth: whether to decode depth. If not, it is 0 everywhere, which means unknown.

    Returns:
        The sample, with the record of ``scale_record``. Its arrays may be read-only.

    Raises:
        BadSample: see ``codec.decode_pictures``.
    """
    sample = codec.decode(members, key, size=size, depth=depth)
    return replace(sample, record=scale_record(sample.record, size))


def scale_record(record: SceneRecord, size: int) -> SceneRecord:
    """The record of a sample whose pictures are resized to ``size`` x ``size`` pixels.

    Intrinsics are scaled. A 2D box becomes the pixels whose centres lie in the old box, and at
    least one pixel; so it still holds what nearest-neighbour sampling leaves of its mask.
    ``amodal_rle`` keeps the size that it names.
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
    """The span of ``new`` pixels whose centres lie in [low, high) of ``old`` ones. In whole
    numbers: the centre of pixel i is at (2 i + 1) old / (2 new)."""
    first, end = (-((old - 2 * new * edge) // (2 * old)) for edge in (low, high))
    if first < end:
        return first, end
    first = (low + high) * new // (2 * old)
    return first, first + 1


def _times(row: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return row[0] * factor, row[1] * factor, row[2] * factor
