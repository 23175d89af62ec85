"""One scene, as its page asks for it: what is recorded, and pictures made from it."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from datagen.scene import Sample
from datagen.shards import codec
from datagen.shards.codec import MAX_SIDE, BadSample
from datagen.shards.reader import ShardSet
from datagen.shards.rle import decode_rle
from model.controls.regions import control_image, identity_sheet, region_of, routing_maps
from pipelines.view.suspects import suspicions
from pipelines.visualize.drawing import COLORS, corners, project

THUMBNAIL = 256
GRANULARITIES = ("mask_depth", "box3d", "box2d")

Made = tuple[bytes, str]
"""Bytes and their media type."""


class Scenes:
    """Samples by key, the last few of them kept: a page asks for many things of one."""

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards
        self.sample = lru_cache(maxsize=4)(self._sample)
        self.members = lru_cache(maxsize=64)(shards.members)

    def _sample(self, key: str) -> Sample:
        return self.shards.sample(key)

    def told(self, key: str) -> dict[str, Any]:
        """The record, and of each subject the corners of its 3D box: ``corners`` (8, 3) in the
        camera frame, and ``pixels`` (8, 2), null where one is behind the camera; and whatever is
        suspect of it. Raises BadSample, UserError."""
        sample = self.sample(key)
        record = sample.record
        boxes = []
        for subject in record.subjects:
            points = corners(subject.box3d)
            pixels = project(subject.box3d, record.camera.intrinsics)
            seen = points[:, 2].min() > 0
            boxes.append({"corners": points.tolist(), "pixels": pixels.tolist() if seen else None})
        return {
            "record": msgspec.to_builtins(record),
            "boxes": boxes,
            "suspicions": [": ".join(suspicion) for suspicion in suspicions(sample)],
        }

    def part(self, key: str, name: str) -> Made:
        """One of ``PARTS``. Raises KeyError, BadSample, UserError."""
        return PARTS[name](self, key)


def amodal_bits(sample: Sample) -> np.ndarray:
    """(H, W) uint16: bit i - 1 of a pixel is set where subject i is, seen or hidden. Raises
    BadSample."""
    record = sample.record
    bits = np.zeros((record.height, record.width), np.uint16)
    for subject in record.subjects:
        try:
            bits |= decode_rle(subject.amodal_rle).astype(np.uint16) << (subject.index - 1)
        except ValueError as error:
            raise BadSample(record.key, "json", f"amodal_rle of {subject.index}: {error}") from None
    return bits


def _member(extension: str, media: str) -> Callable[[Scenes, str], Made]:
    return lambda scenes, key: (scenes.members(key)[extension], media)


def _thumbnail(scenes: Scenes, key: str) -> Made:
    """Only of a sample that is sound as a whole, so that in a grid the damaged ones are seen."""
    members = scenes.shards.verified_members(key)
    codec.decode_record(members["json"], key)
    data = members["image.jpg"]
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if max(picture.size) > MAX_SIDE:
                raise BadSample(key, "image.jpg", f"is {picture.size}, over {MAX_SIDE} a side")
            picture.draft("RGB", (THUMBNAIL, THUMBNAIL))  # decodes an eighth where that will do
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            return _jpeg(picture)
    except (OSError, Image.DecompressionBombError) as error:
        raise codec.undecodable(key, "image.jpg", "JPEG", error) from None


def _depth(scenes: Scenes, key: str) -> Made:
    return _raw(scenes.sample(key).depth, "<u2")


def _instances(scenes: Scenes, key: str) -> Made:
    return _raw(scenes.sample(key).instances, "u1")


def _amodal(scenes: Scenes, key: str) -> Made:
    return _raw(amodal_bits(scenes.sample(key)), "<u2")


def _sheet(scenes: Scenes, key: str) -> Made:
    """The identity sheet as the model gets it: of each subject the first view that is no crop."""
    sample = scenes.sample(key)
    views = sample.views
    column = min(1, views.shape[1] - 1)
    return _png(identity_sheet(list(views[:, column]), views.shape[2]))


def _control(granularity: Any, panel: int | None) -> Callable[[Scenes, str], Made]:
    """A channel of the control image in grey, as the model has it; or, with no ``panel``, the
    ascending routing in the subjects' colours, shaded by structure."""

    def made(scenes: Scenes, key: str) -> Made:
        sample = scenes.sample(key)
        indices = range(1, sample.record.n_subjects + 1)
        regions = [region_of(sample, index, granularity) for index in indices]
        image = control_image(regions)
        if panel is not None:
            return _png(image[..., panel])
        subject = routing_maps(regions, step=1)[..., 0]
        colors = np.vstack([np.zeros((1, 3)), COLORS])[subject]
        shade = np.where(image[..., 2:] > 0, 0.35 + 0.65 * image[..., 2:] / 255, 0.75)
        return _png((colors * shade).astype(np.uint8))

    return made


PARTS: dict[str, Callable[[Scenes, str], Made]] = {
    "image.jpg": _member("image.jpg", "image/jpeg"),
    "identities.webp": _member("identities.webp", "image/webp"),
    "thumbnail.jpg": _thumbnail,
    "depth.raw": _depth,
    "instances.raw": _instances,
    "amodal.raw": _amodal,
    "sheet.png": _sheet,
} | {
    f"{granularity}-{name}.png": _control(granularity, panel)
    for granularity in GRANULARITIES
    for name, panel in (("colors", None), ("ascending", 0), ("descending", 1), ("structure", 2))
}


def _raw(array: np.ndarray, kind: str) -> Made:
    return array.astype(kind).tobytes(), "application/octet-stream"


def _png(array: np.ndarray) -> Made:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), "image/png"


def _jpeg(picture: Image.Image) -> Made:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue(), "image/jpeg"
