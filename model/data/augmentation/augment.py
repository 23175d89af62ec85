"""What stretches a small set: flips, other colours, new layouts. Sample to sample, pure.

For samples at the size that training sees, before controls are drawn. All that a record says
stays true of its pixels, so controls, crops and captions can be taken from an augmented sample as
from any other. Where words would lie they are changed: ``prompt.full`` is then another text than
the shard's, ``prompt.background`` is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from datagen.scene import Box3D, CameraRecord, Mat4, Rle, Sample, SceneRecord, Subject
from datagen.validation import Share
from model.data.augmentation.recolor import NATURAL, recolored
from model.data.augmentation.recompose import recompose
from model.data.augmentation.wording import mirrored

MIRRORED = "-mirrored"
"""Ends the identity of a subject that is a mirror image."""

NO_AMODAL = Rle((0, 0), "")
"""A mask of no pixels: what a mirrored record knows of amodal silhouettes. To unpack and pack
them costs more than all the rest, and training reads none."""


@dataclass(frozen=True)
class AugmentConfig:
    """Chances, each drawn by itself."""

    recompose: Share = 0.3
    """Of a sample to be recomposed."""
    recolor: Share = 0.4
    """Of each subject to get other colours."""
    flip: Share = 0.5
    """Of a sample to be flipped."""
    natural: tuple[str, ...] = NATURAL
    """Categories that keep their colours."""


def augment(samples: Sequence[Sample], rng: np.random.Generator, config: AugmentConfig) -> Sample:
    """``samples[0]``, augmented as drawn; its key and its number of subjects stay. The others, of
    the same split and size, are a pool of subjects that may be pasted into it. It is not
    recomposed where they are too few or nothing fits."""
    sample = samples[0]
    count = sample.record.n_subjects
    if rng.random() < config.recompose:
        sample = recompose(samples, count, rng) or sample
    drawn = rng.random(count) < config.recolor
    changed = [
        subject.index
        for subject, change in zip(sample.record.subjects, drawn, strict=True)
        if change and subject.category not in config.natural
    ]
    sample = recolored(sample, changed, rng)
    return flipped(sample) if rng.random() < config.flip else sample


def flipped(sample: Sample) -> Sample:
    """The picture of the mirrored world: camera, subjects and their reference views are mirrored
    too, and "left" and "right" change places in the words. Twice gives all back but the amodal
    masks, which are dropped."""
    record = sample.record
    # A pixel's four bytes as one number are moved five times as fast.
    blocks = sample.views.view(np.uint32)[..., ::-1, :].swapaxes(1, 2)
    return Sample(
        record=_flipped_record(record),
        image=np.ascontiguousarray(sample.image[:, ::-1]),
        depth=np.ascontiguousarray(sample.depth[:, ::-1]),
        instances=np.ascontiguousarray(sample.instances[:, ::-1]),
        identities=np.ascontiguousarray(blocks).view(np.uint8).reshape(sample.identities.shape),
    )


def _flipped_record(record: SceneRecord) -> SceneRecord:
    prompt = record.prompt
    return replace(
        record,
        prompt=replace(prompt, full=mirrored(prompt.full), background=mirrored(prompt.background)),
        camera=_flipped_camera(record.camera, record.width),
        subjects=tuple(_flipped_subject(subject, record.width) for subject in record.subjects),
    )


def _flipped_camera(camera: CameraRecord, width: int) -> CameraRecord:
    """Mirrored along its own x and along the world's, the pose is a rigid transform again."""
    (fx, skew, cx), row, last = camera.intrinsics
    (a, b, c, x), (d, e, f, y), (g, h, i, z), fourth = camera.camera_to_world
    pose: Mat4 = ((a, -b, -c, -x), (-d, e, f, y), (-g, h, i, z), fourth)
    return replace(camera, intrinsics=((fx, -skew, width - cx), row, last), camera_to_world=pose)


def _flipped_subject(subject: Subject, width: int) -> Subject:
    identity = subject.identity
    return replace(
        subject,
        identity=(
            identity.removesuffix(MIRRORED) if identity.endswith(MIRRORED) else identity + MIRRORED
        ),
        caption=mirrored(subject.caption),
        box2d=_flipped_box2d(subject.box2d, width),
        box2d_amodal=_flipped_box2d(subject.box2d_amodal, width),
        box3d=_flipped_box3d(subject.box3d),
        amodal_rle=NO_AMODAL,
        views=tuple(replace(view, azimuth=-view.azimuth) for view in subject.views),
    )


def _flipped_box2d(box: tuple[int, int, int, int], width: int) -> tuple[int, int, int, int]:
    x_min, y_min, x_max, y_max = box
    return (width - x_max, y_min, width - x_min, y_max)


def _flipped_box3d(box: Box3D) -> Box3D:
    """The same solid in the mirror. Three axes in a mirror are no rotation: the first, from one
    side of the subject to the other, is turned round, so that front and top stay what they are."""
    x, y, z = box.center
    (a, b, c), (d, e, f), (g, h, i) = box.rotation
    return replace(box, center=(-x, y, z), rotation=((a, -b, -c), (-d, e, f), (-g, h, i)))
