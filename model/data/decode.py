"""One sample's members to pixels at the size that training wants, as fast as it goes.

The same checks as the format's own decoder, and other tools: libjpeg scales while it decodes,
and what is not a square of the right size is scaled here, before anything is drawn from it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import simplejpeg
from PIL import Image

from datagen.geometry import resize_nearest
from datagen.scene import Mat3, Sample, SceneRecord, Subject
from datagen.shards import codec
from datagen.shards.codec import MAX_SIDE, BadSample


def decode(members: Mapping[str, bytes], key: str, size: int, *, depth: bool = True) -> Sample:
    """A sample of ``size`` x ``size`` pixels; other proportions are stretched. Its arrays may be
    read-only. The image is antialiased, instances and depth are those under the centres of the
    new pixels, the identity sheet stays as it is. Where ``depth`` is not wanted, it is 0
    throughout, which says that there is none. Sizes are checked before anything is unpacked.
    Raises BadSample."""
    record = codec.decode_record(members["json"], key)
    shape = record.height, record.width
    instances = _picture(key, members, "instances.png", "PNG", "L", shape)
    if instances.max() > record.n_subjects:
        reason = f"holds {instances.max()}, expected 0 to {record.n_subjects}"
        raise BadSample(key, "instances.png", reason)
    return Sample(
        record=scale_record(record, size),
        image=_image(key, members["image.jpg"], shape, size),
        depth=_nearest(_picture(key, members, "depth.png", "PNG", "I;16", shape), size)
        if depth
        else np.zeros((size, size), np.uint16),
        instances=_nearest(instances, size),
        identities=_sheet(key, members, record),
    )


def scale_record(record: SceneRecord, size: int) -> SceneRecord:
    """The record of the picture at ``size`` x ``size`` pixels. Boxes are the pixels whose centres
    lie in the old box, and so hold what nearest-neighbour sampling leaves of its mask; at least
    one pixel. ``amodal_rle`` stays at the size that it names."""
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


def _nearest(picture: np.ndarray, size: int) -> np.ndarray:
    return picture if picture.shape == (size, size) else resize_nearest(picture, (size, size))


def _image(key: str, data: bytes, shape: tuple[int, int], size: int) -> np.ndarray:
    name = "image.jpg"
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if (height, width) != shape:
            reason = f"is {(width, height)}, the record says {shape[::-1]}"
            raise BadSample(key, name, reason)
        if colors not in ("YCbCr", "RGB"):
            raise BadSample(key, name, f"has colours {colors}, expected YCbCr or RGB")
        image = simplejpeg.decode_jpeg(data, "RGB", min_height=size, min_width=size, min_factor=1)
    except ValueError as error:
        raise BadSample(key, name, f"cannot be decoded: {error}") from None
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def _sheet(key: str, members: Mapping[str, bytes], record: SceneRecord) -> np.ndarray:
    name = "identities.webp"
    sheet = _picture(key, members, name, "WEBP", "RGBA", None)
    height, width = sheet.shape[:2]
    rows, columns = record.n_subjects, len(record.subjects[0].views)
    if height * columns != width * rows or height % rows:
        reason = f"is {width} x {height}, not {columns} x {rows} square blocks"
        raise BadSample(key, name, reason)
    return sheet


def _picture(
    key: str,
    members: Mapping[str, bytes],
    name: str,
    kind: str,
    mode: str,
    shape: tuple[int, int] | None,
) -> np.ndarray:
    """``open`` reads the header only; what it says is checked before the rest is unpacked."""
    try:
        with Image.open(io.BytesIO(members[name]), formats=[kind]) as picture:
            if shape is not None and picture.size != shape[::-1]:
                reason = f"is {picture.size}, the record says {shape[::-1]}"
                raise BadSample(key, name, reason)
            if max(picture.size) > MAX_SIDE:
                raise BadSample(key, name, f"is {picture.size}, over {MAX_SIDE} a side")
            if getattr(picture, "n_frames", 1) != 1:
                raise BadSample(key, name, "is an animation")
            if picture.mode == mode:
                return np.asarray(picture)
            if (picture.mode, mode) != ("RGB", "RGBA"):
                raise BadSample(key, name, f"has mode {picture.mode}, expected {mode}")
            return np.asarray(picture.convert(mode))  # WebP drops alpha that is opaque throughout
    except BadSample:
        raise
    except Exception as error:  # PIL answers damaged bytes with many kinds of exception
        raise codec.undecodable(key, name, kind, error) from None
