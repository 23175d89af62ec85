"""Rejection reasons of the quality gate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datagen.annotate.annotate import annotate
from datagen.annotate.quality import GateConfig, rejection_reasons
from datagen.scene import Sample


@pytest.fixture(scope="module")
def sample(stage, rendered) -> Sample:
    return annotate(stage.spec, rendered, stage.shapes, {})


def with_subject(sample: Sample, **changes: float) -> Sample:
    first, *others = sample.record.subjects
    subjects = (replace(first, **changes), *others)
    return replace(sample, record=replace(sample.record, subjects=subjects))


def test_a_good_sample_has_no_rejection_reasons(sample: Sample) -> None:
    assert rejection_reasons(sample, GateConfig()) == ()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (lambda image: image // 40, "too dark"),
        (lambda image: 255 - image // 40, "too bright"),
        (lambda image: np.where(image > np.median(image), 255, 0).astype(np.uint8), "clipped"),
    ],
)
def test_rejection_reasons_for_brightness(sample: Sample, image, reason: str) -> None:
    assert reason in rejection_reasons(replace(sample, image=image(sample.image)), GateConfig())


def test_rejection_reasons_for_area_and_visibility(sample: Sample) -> None:
    assert rejection_reasons(with_subject(sample, area=0.009), GateConfig()) == (
        "subject too small",
    )
    assert rejection_reasons(with_subject(sample, visibility=0.29), GateConfig()) == (
        "subject hidden",
    )


def test_rejection_reasons_for_identity_views(sample: Sample) -> None:
    blank = sample.identities.copy()
    blank[:64, 64:128] = 0
    assert rejection_reasons(replace(sample, identities=blank), GateConfig()) == (
        "blank identity view",
    )
    unlit = sample.identities.copy()
    unlit[:64, 64:128, :3] = 1
    assert rejection_reasons(replace(sample, identities=unlit), GateConfig()) == (
        "unlit identity view",
    )


@pytest.mark.parametrize(
    ("color", "reason"),
    [
        ((250, 248, 245), "overexposed identity view"),
        ((2, 3, 4), "unlit identity view"),
    ],
)
def test_identity_views_are_judged_by_their_subject_alone(
    sample: Sample, color: tuple[int, int, int], reason: str
) -> None:
    painted = sample.identities.copy()
    painted[:64, 64:128, :3] = np.where(painted[:64, 64:128, 3:] > 0, color, 128)
    assert rejection_reasons(replace(sample, identities=painted), GateConfig()) == (reason,)


def test_identity_views_with_a_clipped_subject_are_rejected(sample: Sample) -> None:
    painted = sample.identities.copy()
    painted[:28, 64:128, :3] = 255
    block = painted[:64, 64:128]
    share = np.mean((block[block[..., 3] >= 128][:, :3] == 255).all(axis=-1))
    clipped = replace(sample, identities=painted)
    assert rejection_reasons(clipped, GateConfig(max_clipped=share - 0.01)) == (
        "clipped identity view",
    )
    assert rejection_reasons(clipped, GateConfig(max_clipped=share + 0.01)) == ()
