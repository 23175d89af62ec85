"""The gate names what is wrong with a sample, and lets a good one through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datagen.annotate.annotate import annotate
from datagen.annotate.quality import GateConfig, judge
from datagen.scene import Sample


@pytest.fixture(scope="module")
def sample(stage, rendered) -> Sample:
    return annotate(stage.spec, rendered, stage.shapes, {})


def with_subject(sample: Sample, **changes: float) -> Sample:
    first, *others = sample.record.subjects
    subjects = (replace(first, **changes), *others)
    return replace(sample, record=replace(sample.record, subjects=subjects))


def test_a_good_sample_passes(sample: Sample) -> None:
    assert judge(sample, GateConfig()) == ()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (lambda image: image // 40, "too dark"),
        (lambda image: 255 - image // 40, "too bright"),
        (lambda image: np.where(image > np.median(image), 255, 0).astype(np.uint8), "clipped"),
    ],
)
def test_exposure(sample: Sample, image, reason: str) -> None:
    assert reason in judge(replace(sample, image=image(sample.image)), GateConfig())


def test_size_and_visibility(sample: Sample) -> None:
    assert judge(with_subject(sample, area=0.009), GateConfig()) == ("subject too small",)
    assert judge(with_subject(sample, visibility=0.29), GateConfig()) == ("subject hidden",)


def test_identity_views(sample: Sample) -> None:
    blank = sample.identities.copy()
    blank[:64, 64:128] = 0
    assert judge(replace(sample, identities=blank), GateConfig()) == ("blank identity view",)
    unlit = sample.identities.copy()
    unlit[:64, 64:128, :3] = 0
    assert judge(replace(sample, identities=unlit), GateConfig()) == ("unlit identity view",)
