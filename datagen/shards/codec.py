"""Encode a sample to bytes, and decode it.

An encoded sample is a tar fragment: the five ``MEMBERS`` in this order, without an end-of-archive
mark, so that fragments concatenate to a shard. All members are read by the decoders here:
webdataset's own ``.decode()`` unpickles, and loses 16-bit depth and alpha.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import numpy as np
from PIL import Image, UnidentifiedImageError

from datagen.bounds import MAX_PIXELS, MAX_SIDE
from datagen.errors import UserError
from datagen.geometry import resize_nearest
from datagen.scene import Sample, SceneRecord
from datagen.shards import tar
from datagen.shards.record_rules import record_fault
from datagen.shards.rle import run_lengths
from datagen.validation import convert

MEMBERS = ("json", "image.jpg", "depth.png", "instances.png", "identities.webp")
JSON_LIMIT = 8 * 2**20  # bytes
DECIMALS = 6


class BadSample(Exception):
    """A damaged sample.

    Attributes:
        key: its key, "" where it is not known.
        member: the damaged member, one of ``MEMBERS``; "" where it is no one member.
        reason: what is wrong.
    """

    def __init__(self, key: str, member: str, reason: str) -> None:
        super().__init__(key, member, reason)
        self.key = key
        self.member = member
        self.reason = reason

    @property
    def what(self) -> str:
        """Member and reason, for a reader who knows the key."""
        return ": ".join(part for part in (self.member, self.reason) if part)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.key, self.what) if part)


def encode(sample: Sample) -> bytes:
    """Encode a sample as a tar fragment. Equal samples give equal bytes.

    Floats of the record are rounded to six decimals.

    Raises:
        ValueError: the format cannot hold a value (null, an empty list, NaN, an integer beyond
            64 bits; the error names its JSON path), the record breaks a promise of the format, or
            an image does not fit the record.
    """
    record = sample.record
    height, width = record.height, record.width
    _expect("image", sample.image, np.uint8, (height, width, 3))
    _expect("depth", sample.depth, np.uint16, (height, width))
    _expect("instances", sample.instances, np.uint8, (height, width))
    _expect("identities", sample.identities, np.uint8, (None, None, 4))
    data = encode_record(record)
    if reason := _sheet_fault(record, sample.identities.shape[1::-1]) or _mask_fault(record):
        raise ValueError(f"{record.key}: {reason}")
    parts = (
        data,
        _save(sample.image, "JPEG", quality=95, subsampling="4:4:4", optimize=True),
        _save(sample.depth, "PNG", compress_level=6),
        _save(sample.instances, "PNG", compress_level=6),
        # Method 4: on four sheets of 1024 x 768 px it took 0.2 s and 337 kB; 5 took 0.35 s for
        # 1% less, 6 took 5 s for 2% less.
        _save(sample.identities, "WEBP", quality=95, method=4, exact=True, alpha_quality=100),
    )
    return b"".join(
        tar.member(record.key, extension, part)
        for extension, part in zip(MEMBERS, parts, strict=True)
    )


def _misfit(data: bytes) -> str:
    """Which key of a record has which value, and what was expected: slower than decoding, and in
    better words."""
    try:
        convert(msgspec.json.decode(data), SceneRecord)
    except UserError as error:
        return str(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # the rest of the file is damaged, too
    return ""


def encode_record(record: SceneRecord) -> bytes:
    """Encode ``KEY.json``.

    Raises:
        ValueError: as ``encode``.
    """
    try:
        tidy = _tidy(msgspec.to_builtins(record), "$")
        typed = msgspec.convert(tidy, SceneRecord)  # so that floats are floats: 1 becomes 1.0
    except (TypeError, msgspec.ValidationError) as error:
        raise ValueError(f"{record.key}: {error}") from None
    if reason := record_fault(typed):
        raise ValueError(f"{record.key}: {reason}")
    return msgspec.json.encode(typed, order="deterministic")


def members(fragment: bytes) -> dict[str, bytes]:
    """The members of a fragment: data by extension, in order.

    Raises:
        BadSample: the fragment is damaged, or is not the five members of one key.
    """
    found = member_list(fragment)
    return {member.extension: member.data for member in found}


def member_list(fragment: bytes) -> tuple[tar.Member, ...]:
    """As ``members``, with key and offset of each. Raises BadSample."""
    try:
        found = tuple(tar.walk(io.BytesIO(fragment), fragment=True))
    except tar.BadTar as error:
        raise BadSample("", "", str(error)) from None
    keys = sorted({member.key for member in found})
    if len(keys) != 1:
        raise BadSample("", "", f"one sample was expected, found keys {keys}")
    extensions = tuple(member.extension for member in found)
    if extensions != MEMBERS:
        raise BadSample(keys[0], "", f"has members {list(extensions)}, not {list(MEMBERS)}")
    return found


def decode(
    members: Mapping[str, bytes],
    key: str | None = None,
    *,
    size: int | None = None,
    depth: bool = True,
) -> Sample:
    """Decode one sample: all that the format promises of it is true, or BadSample is raised. The
    size of every image is checked before its pixels are unpacked.

    Args:
        members: the five members by extension.
        key: the sample's key; the record must have the same. None takes the record's.
        size: None decodes at full size into arrays of one's own. A number is for training:
            image, depth and instances have ``size`` x ``size`` pixels (other proportions are
            stretched), as fast as it can be had: libjpeg scales while it decodes. The image is
            antialiased; depth and instances are nearest neighbours. The record and the identity
            sheet stay as they are. Arrays may be read-only. Needs simplejpeg (the train extra).
        depth: whether to decode depth; without, it is 0 throughout, which means "none".

    Raises:
        BadSample: a member is missing, damaged, or disagrees with the record.
    """
    name = key or ""
    for extension in MEMBERS:
        if extension not in members:
            raise BadSample(name, extension, "missing")
    if unknown := sorted(set(members) - set(MEMBERS)):
        raise BadSample(name, unknown[0], "no member of the format")
    record = decode_record(members["json"], key)
    load = partial(_load, record.key, members)
    shape = (record.width, record.height)
    fits = partial(_size_fault, shape)
    sheet = load("identities.webp", "WEBP", ("RGB", "RGBA"), partial(_sheet_fault, record))
    instances = load("instances.png", "PNG", ("L",), fits)
    # Before resampling, which could hide it.
    if (highest := instances.max()) > record.n_subjects:
        reason = f"holds {highest}, expected 0 to {record.n_subjects}"
        raise BadSample(record.key, "instances.png", reason)
    if depth:
        depths = load("depth.png", "PNG", ("I;16",), fits)
    else:
        depths = np.zeros((size, size) if size else instances.shape, np.uint16)
    if size is None:
        if reason := _mask_fault(record):  # training has no use for amodal masks
            raise BadSample(record.key, "json", reason)
        image = load("image.jpg", "JPEG", ("RGB",), fits)
        pixels = (np.array(one) for one in (image, depths, instances, sheet))  # PIL's are read-only
        return Sample(record, *pixels)
    return Sample(
        record=record,
        image=_load_scaled_jpeg(record.key, members["image.jpg"], shape, size),
        depth=_nearest(depths, size),
        instances=_nearest(instances, size),
        identities=sheet,
    )


def decode_record(data: bytes, key: str | None = None) -> SceneRecord:
    """Decode ``KEY.json``: within the types and bounds of ``SceneRecord`` and the rules of
    ``record_rules``; unknown keys are ignored.

    Args:
        data: the member's bytes.
        key: the sample's key; the record must have the same. None takes the record's.

    Raises:
        BadSample: the member is damaged; the reason names the JSON path.
    """
    name = key or ""
    if len(data) > JSON_LIMIT:
        raise BadSample(name, "json", f"{len(data)} bytes, over the limit of {JSON_LIMIT}")
    try:
        record = msgspec.json.decode(data, type=SceneRecord)
    except msgspec.ValidationError as error:
        raise BadSample(name, "json", _misfit(data) or str(error)) from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadSample(name, "json", str(error)) from None
    if key is not None and record.key != key:
        raise BadSample(name, "json", f"its key is {record.key!r}")
    if reason := record_fault(record):
        raise BadSample(name or record.key, "json", reason)
    return record


def _size_fault(expected: tuple[int, int], size: tuple[int, int]) -> str:
    return "" if size == expected else f"is {size}, the record says {expected}"


def _sheet_fault(record: SceneRecord, size: tuple[int, int]) -> str:
    rows, columns = record.n_subjects, len(record.subjects[0].views)
    width, height = size
    if height * columns != width * rows or height % rows:
        return f"the sheet is {width} x {height}, not {columns} x {rows} square blocks"
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        return f"the sheet is {width} x {height}, over {MAX_SIDE} a side or {MAX_PIXELS} in all"
    return ""


def _mask_fault(record: SceneRecord) -> str:
    for subject in record.subjects:
        try:
            run_lengths(subject.amodal_rle)
        except ValueError as error:
            return f"subject {subject.index}: amodal_rle: {error}"
    return ""


def _tidy(value: Any, path: str) -> Any:
    match value:
        case bool() | str():
            return value
        case int():
            if not -(2**63) <= value < 2**63:
                raise ValueError(f"{path}: {value} does not fit 64 bits; write it as a string")
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{path}: {value} has no place in JSON")
            return round(float(value), DECIMALS) + 0.0  # + 0.0: no minus zero
        case dict():
            return {key: _tidy(item, f"{path}.{key}") for key, item in value.items()}
        case list() | tuple():
            if not value:
                raise ValueError(f"{path}: an empty list; readers cannot infer its type")
            return [_tidy(item, f"{path}[{i}]") for i, item in enumerate(value)]
        case _:
            raise ValueError(f"{path}: {value!r} has no place in the format")


def _expect(
    name: str, array: np.ndarray, dtype: type[np.generic], shape: tuple[int | None, ...]
) -> None:
    fits = array.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        want = "x".join("any" if side is None else str(side) for side in shape)
        raise ValueError(
            f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {want}"
        )


def _save(array: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def _load(
    key: str,
    members: Mapping[str, bytes],
    name: str,
    kind: str,
    modes: tuple[str, ...],
    fault: Callable[[tuple[int, int]], str],
) -> np.ndarray:
    """An image in one of the PIL ``modes``, converted to the last of them. ``open`` reads the
    header only: what is wrong with its (width, height), by ``fault``, is known before pixels are
    unpacked."""
    try:
        with Image.open(io.BytesIO(members[name]), formats=[kind]) as picture:
            if reason := fault(picture.size):
                raise BadSample(key, name, reason)
            if picture.mode not in modes:
                raise BadSample(key, name, f"has mode {picture.mode}, expected {modes[-1]}")
            if getattr(picture, "n_frames", 1) != 1:
                raise BadSample(key, name, "is an animation")
            # WebP drops an alpha channel that is opaque throughout.
            return np.asarray(picture.convert(modes[-1]) if picture.mode != modes[-1] else picture)
    except BadSample:
        raise
    except Exception as error:  # PIL answers damaged bytes with many kinds of exception
        raise undecodable(key, name, kind, error) from None


def _load_scaled_jpeg(key: str, data: bytes, size: tuple[int, int], edge: int) -> np.ndarray:
    """``image.jpg``, of ``size`` (width, height), as (edge, edge, 3)."""
    import simplejpeg  # here, since only training needs it

    name = "image.jpg"
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if reason := _size_fault(size, (width, height)):
            raise BadSample(key, name, reason)
        if colors not in ("YCbCr", "RGB"):
            raise BadSample(key, name, f"has colours {colors}, expected YCbCr or RGB")
        image = simplejpeg.decode_jpeg(data, "RGB", min_height=edge, min_width=edge, min_factor=1)
    except ValueError as error:
        raise BadSample(key, name, f"cannot be decoded: {error}") from None
    if image.shape[:2] == (edge, edge):
        return np.asarray(image)
    return np.asarray(Image.fromarray(image).resize((edge, edge), Image.Resampling.BICUBIC))


def _nearest(picture: np.ndarray, edge: int) -> np.ndarray:
    return picture if picture.shape == (edge, edge) else resize_nearest(picture, (edge, edge))


def undecodable(key: str, name: str, kind: str, error: Exception) -> BadSample:
    """The BadSample for what PIL raised on member ``name``, an image of ``kind`` ("PNG")."""
    # For what is no image at all, PIL's message only names the buffer.
    reason = f"no {kind} file" if isinstance(error, UnidentifiedImageError) else str(error)
    return BadSample(key, name, f"cannot be decoded: {reason}")
