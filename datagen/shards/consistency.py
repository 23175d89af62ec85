"""Check that a sample's record agrees with its pixels.

What the format promises of the record alone, the decoder has checked. What annotation has written
is measured again, from the sample alone. Blender renders the visible masks and a ray caster the
amodal ones, so silhouettes may differ by a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from datagen.geometry import back_project, tight_box
from datagen.scene import Box3D, Sample, Subject
from datagen.shards.rle import decode_rle

EDGE = 2  # pixels by which two renderers may differ at a silhouette
STRAY = 0.02  # share of a subject's pixels that may break a rule: aliased edges
VISIBILITY_SLACK = 0.02
ROUNDING = 1e-5  # records are rounded to six decimals


def check_sample(sample: Sample) -> tuple[str, ...]:
    """Check a sample at full size.

    Returns:
        What is wrong, one line per contradiction; empty for a sound sample.
    """
    return tuple(_contradictions(sample))


def _contradictions(sample: Sample) -> Iterator[str]:
    for subject in sample.record.subjects:
        for wrong in (
            *_check_masks(subject, sample.instances == subject.index),
            *_check_box3d(sample, subject),
            *_check_views(sample.views[subject.index - 1]),
        ):
            yield f"subject {subject.index}: {wrong}"


def _check_masks(subject: Subject, visible: np.ndarray) -> Iterator[str]:
    count = int(visible.sum())
    if not count:
        yield "has no pixel in instances.png"
        return
    if (tight := tight_box(visible)) != subject.box2d:
        yield f"box2d is {list(subject.box2d)}, its mask spans {list(tight)}"
    if abs(subject.area - count / visible.size) > ROUNDING:
        yield f"area is {subject.area}, its mask has {count / visible.size:.6f}"
    amodal = decode_rle(subject.amodal_rle)
    total = int(amodal.sum())
    if not total:
        yield "amodal mask is empty"
        return
    measured = min(1.0, count / total)
    if abs(subject.visibility - measured) > VISIBILITY_SLACK:
        yield f"visibility is {subject.visibility}, its masks have {measured:.3f}"
    outside = _far_from(visible, amodal)
    if outside > STRAY * count:
        yield f"{outside} of {count} visible pixels lie outside the amodal mask"
    inner, outer = tight_box(amodal), subject.box2d_amodal
    if any(outer[i] > inner[i] + EDGE or outer[i + 2] < inner[i + 2] - EDGE for i in (0, 1)):
        yield f"box2d_amodal is {list(outer)}, its amodal mask spans {list(inner)}"


def _check_box3d(sample: Sample, subject: Subject) -> Iterator[str]:
    box = subject.box3d
    if box.estimated:
        return
    visible = sample.instances == subject.index
    known = visible & (sample.depth > 0)
    count, unknown = int(visible.sum()), int((visible & ~known).sum())
    if unknown > STRAY * count:
        yield f"{unknown} of {count} visible pixels have no depth"
    intrinsics = sample.record.camera.intrinsics
    depth = sample.depth * sample.record.depth.meters_per_unit
    outside = _outside(box, back_project(intrinsics, depth, known), intrinsics[0][0])
    if outside > STRAY * count:
        yield f"{outside} of {count} visible pixels, back-projected by depth, lie outside box3d"


def _outside(box: Box3D, points: np.ndarray, focal: float) -> int:
    """Number of points outside the box, by more than 5 mm, 1% of its longest edge and the width
    of a pixel together: depth is in whole millimetres, of a point anywhere in the pixel."""
    local = (points - np.array(box.center)) @ np.array(box.rotation)
    slack = 0.005 + 0.01 * max(box.size) + points[:, 2:] / focal
    return int((np.abs(local) > np.array(box.size) / 2 + slack).any(axis=1).sum())


def _check_views(views: np.ndarray) -> Iterator[str]:
    for column, view in enumerate(views):
        if not view[..., 3].any():
            yield f"identity picture {column} is blank"


def _far_from(visible: np.ndarray, amodal: np.ndarray) -> int:
    """Number of visible pixels further than one pixel from the amodal mask."""
    rows, columns = np.nonzero(visible & ~amodal)
    near = np.zeros(len(rows), dtype=bool)
    padded = np.pad(amodal, 1)
    for dy in range(3):
        for dx in range(3):
            near |= padded[rows + dy, columns + dx]
    return int((~near).sum())
