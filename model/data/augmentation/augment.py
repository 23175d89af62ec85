"""Augmentation of a sample: flips, other colours, new layouts. Pure functions of samples.

They take samples at training size, before controls are chosen. The record of an augmented sample is
true of its pixels, so controls, crops and captions can be taken from it as from any other sample.
Texts that would become false are changed: ``prompt.full`` then differs from that of the shard;
``prompt.background`` differs only in left and right.
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
"""Suffix of the identity of a mirrored subject."""

NO_AMODAL = Rle((0, 0), "")
"""An empty mask, which replaces the amodal masks of a mirrored record: decoding and encoding them
takes longer than all the rest, and training does not read them."""


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities of augmentations, which are independent of each other."""

    recompose: Share = 0.3
    """Probability of giving a sample a new layout, with subjects of other samples of its batch."""
    recolor: Share = 0.4
    """Probability of giving a subject other colours, per subject."""
    flip: Share = 0.5
    """Probability of mirroring a sample."""
    natural: tuple[str, ...] = NATURAL
    """Categories that are never recoloured."""


def augment(samples: Sequence[Sample], rng: np.random.Generator, config: AugmentConfig) -> Sample:
    """``samples[0]``, augmented at random; its key and its number of subjects stay the same.

    Args:
        samples: The sample to augment, and others of the same split and size, whose subjects may be
            pasted into it. If they are too few, or nothing fits, the layout is not changed.
        rng: All random choices are made with it.
        config: Probabilities.
    """
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
    """The sample as a picture of the mirrored world.

    Camera, subjects and reference views are mirrored too, and "left" and "right" are exchanged in
    the texts. Flipping twice gives the original sample without its amodal masks, which are dropped.
    """
    record = sample.record
    # Moving the four bytes of a pixel as one number is five times as fast.
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
    """The pose is mirrored along the x of the camera and the x of the world, so that it stays a
    rigid transform."""
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
    """The box of the mirrored subject. Mirrored axes are not a rotation: the first axis, from one
    side of the subject to the other, is reversed, so that front and top stay front and top."""
    x, y, z = box.center
    (a, b, c), (d, e, f), (g, h, i) = box.rotation
    return replace(box, center=(-x, y, z), rotation=((a, -b, -c), (-d, e, f), (-g, h, i)))
