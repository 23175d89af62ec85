"""What the shard format promises of a record beyond the types and bounds of its fields.

The bounds of each field stand in ``datagen.scene``; here is what relates fields to each other. The
encoder and the decoder both apply the rules, so that nothing behind them has to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from datagen.bounds import MAX_PIXELS
from datagen.geometry import is_rotation
from datagen.scene import FORMAT_VERSION, SceneRecord, Subject
from datagen.shards import tar

MAX_NESTING = 16
"""Levels of lists and objects under ``environment`` and ``provenance``."""


def record_fault(record: SceneRecord) -> str:
    """The first rule that a record breaks, in words; "" for a sound record."""
    return next(_faults(record), "")


def _faults(record: SceneRecord) -> Iterator[str]:
    n = record.n_subjects
    if record.format_version != FORMAT_VERSION:
        yield f"format version {record.format_version}, expected {FORMAT_VERSION}"
    if not tar.is_key(record.key):
        yield f"key {record.key!r} is not 1 to 64 of 0-9A-Za-z_-"
    if record.width * record.height > MAX_PIXELS:
        yield f"{record.width} x {record.height} pixels, expected at most {MAX_PIXELS} in all"
    if len(record.subjects) != n:
        yield f"n_subjects is {n}, but {len(record.subjects)} subjects are listed"
    indices = [subject.index for subject in record.subjects]
    if indices != list(range(1, n + 1)):
        yield f"subject indices are {indices}, expected 1 to {n} in order"
    if len({subject.identity for subject in record.subjects}) != n:
        yield "an identity occurs twice"
    if len({len(subject.views) for subject in record.subjects}) != 1:
        yield "subjects differ in their number of views"
    yield from _rotation_faults(record)
    for subject in record.subjects:
        for fault in _subject_faults(subject, record):
            yield f"subject {subject.index}: {fault}"
    for name in ("environment", "provenance"):
        if fault := _open_fault(getattr(record, name), f"$.{name}", 0):
            yield fault


def _subject_faults(subject: Subject, record: SceneRecord) -> Iterator[str]:
    x_min, y_min, x_max, y_max = subject.box2d
    if not (0 <= x_min < x_max <= record.width and 0 <= y_min < y_max <= record.height):
        yield (
            f"box2d is {list(subject.box2d)}, expected [x_min, y_min, x_max, y_max] within "
            f"{record.width} x {record.height} pixels"
        )
    x_min, y_min, x_max, y_max = subject.box2d_amodal
    if not (x_min < x_max and y_min < y_max):
        yield f"box2d_amodal is {list(subject.box2d_amodal)}, expected min below max"
    if tuple(subject.amodal_rle.size) != (record.height, record.width):
        yield (
            f"amodal_rle.size is {subject.amodal_rle.size}, "
            f"expected {(record.height, record.width)}"
        )


def _rotation_faults(record: SceneRecord) -> Iterator[str]:
    pose = [row[:3] for row in record.camera.camera_to_world[:3]]
    rotations = np.array([pose, *(subject.box3d.rotation for subject in record.subjects)])
    if is_rotation(rotations):  # all at once: one by one, this would be most of decoding a record
        return
    if not is_rotation(rotations[0]):
        yield "camera.camera_to_world is not a rigid transform"
    for subject, rotation in zip(record.subjects, rotations[1:], strict=True):
        if not is_rotation(rotation):
            yield f"subject {subject.index}: box3d.rotation is not a rotation"


def _open_fault(value: Any, path: str, depth: int) -> str:
    """What is wrong with a value whose keys the format leaves open, "" for nothing."""
    if depth > MAX_NESTING:
        return f"{path}: nested more than {MAX_NESTING} deep"
    match value:
        case dict():
            inner = ((f"{path}.{key}", item) for key, item in value.items())
        case list() | tuple():
            inner = ((f"{path}[{i}]", item) for i, item in enumerate(value))
        case int() if not -(2**63) <= value < 2**63:
            return f"{path}: {value} does not fit 64 bits"
        case _:
            return ""
    return next((f for where, item in inner if (f := _open_fault(item, where, depth + 1))), "")
