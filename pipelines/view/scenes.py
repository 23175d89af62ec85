"""What the page of one scene requests: the record, stored arrays, and images made from them."""

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
from datagen.shards.codec import BadSample
from datagen.shards.reader import ShardSet
from datagen.shards.rle import decode_rle
from model.controls.control_image import control_image, routing_maps
from model.controls.identity_sheet import identity_sheet
from model.controls.kinds import CONTROL_KINDS, region_of
from model.controls.regions import Granularity
from pipelines.view.suspects import find_suspicions
from pipelines.visualize.drawing import COLORS, corners, project

THUMBNAIL = 256  # the longer side of a thumbnail, in pixels
CONTROLS = {name: kind for name, kind in CONTROL_KINDS.items() if kind.in_viewer}
"""Kinds of control that the page of a scene offers; it asks for this list."""

Made = tuple[bytes, str]
"""Bytes and their media type."""


class Scenes:
    """Samples by key. The last few are cached: a page makes many requests for one scene."""

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards
        self.sample = lru_cache(maxsize=4)(self._sample)
        self.members = lru_cache(maxsize=64)(shards.members)

    def _sample(self, key: str) -> Sample:
        return self.shards.sample(key)

    def describe(self, key: str) -> dict[str, Any]:
        """Everything about a scene that is not an image, for JSON.

        Returns:
            ``record``: the record of the shard. ``boxes``: for each subject the corners of its 3D
            box, as ``corners`` (8, 3), in metres in the camera frame, and ``pixels`` (8, 2), null
            if a corner is behind the camera. ``suspicions``: messages, mostly none.

        Raises:
            BadSample: a member of the sample is damaged.
            UserError: the shard is missing.
        """
        sample = self.sample(key)
        record = sample.record
        boxes = []
        for subject in record.subjects:
            points = corners(subject.box3d)
            pixels = project(subject.box3d, record.camera.intrinsics)
            in_front = points[:, 2].min() > 0
            shown = pixels.tolist() if in_front else None
            boxes.append({"corners": points.tolist(), "pixels": shown})
        return {
            "record": msgspec.to_builtins(record),
            "boxes": boxes,
            "suspicions": [": ".join(suspicion) for suspicion in find_suspicions(sample)],
        }

    def part(self, key: str, name: str) -> Made:
        """An image or array of a scene.

        Args:
            key: of the scene.
            name: one of ``PARTS``.

        Returns:
            The bytes and their media type.

        Raises:
            KeyError: ``name`` is not in ``PARTS``.
            BadSample: a member of the sample is damaged.
            UserError: the shard is missing.
        """
        return PARTS[name](self, key)


def amodal_bits(sample: Sample) -> np.ndarray:
    """The amodal masks of all subjects in one array.

    Returns:
        (H, W) uint16: bit i - 1 is set where subject i is, visible or occluded.

    Raises:
        BadSample: an amodal mask cannot be decoded.
    """
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
    """The image, reduced. All members are verified first, so that the grid shows which samples are
    damaged."""
    members = scenes.shards.verified_members(key)
    record = codec.decode_record(members["json"], key)
    data = members["image.jpg"]
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if picture.size != (record.width, record.height):
                expected = f"the record says {(record.width, record.height)}"
                raise BadSample(key, "image.jpg", f"is {picture.size}, {expected}")
            picture.draft("RGB", (THUMBNAIL, THUMBNAIL))  # decodes a smaller size if it can
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


def _control(granularity: Granularity, panel: int | None) -> Callable[[Scenes, str], Made]:
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
    for granularity in CONTROLS
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
