"""Which training configurations can be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from datagen.errors import UserError
from datagen.validation import convert
from pipelines.training.config import TrainingConfig

PRESETS = sorted((Path(__file__).parents[3] / "pipelines" / "presets" / "train").glob("*.yaml"))


def config(preset: Path, key: str = "", value: Any = None) -> TrainingConfig:
    """A shipped preset, one key changed."""
    plain = yaml.safe_load(preset.read_text())
    place = plain
    *parts, last = key.split(".")
    for part in parts:
        place = place.setdefault(part, {})
    if last:
        place[last] = value
    return convert(plain, TrainingConfig)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_shipped_presets_are_valid(preset):
    assert config(preset).name == preset.stem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../elsewhere"),
        ("model.format.size", 0),
        ("model.format.size", 60),
        ("model.format.identity_size", 33),
        ("model.format.encoding.slots", 0),
        ("model.base.rope", [7, 12, 13]),
        ("model.base.heads", 0),
        ("model.base.patch", 0),
        ("model.lora", {"rank": 4}),
        ("data.batch_size", 0),
        ("data.batch_size", 3),
        ("data.workers", -1),
        ("data.full_prompts", 7.0),
        ("data.draws.mixed_share", float("nan")),
        ("data.draws.granularities", []),
        ("augment.flip", 9.0),
        ("train.seed", -1),
        ("train.ema", 2.0),
        ("train.image_dropout", 5.0),
        ("train.image_dropout", 0.0),
        ("train.subject_weight", -4.0),
        ("train.optimizer.lr", 0.0),
        ("train.optimizer.clip", float("inf")),
        ("report.num_inference_steps", 0),
        ("job.retries", -5),
        ("job.encode", True),
    ],
)
def test_the_error_names_the_key_of_an_invalid_value(key, value):
    tiny = next(preset for preset in PRESETS if preset.stem == "tiny")
    with pytest.raises(UserError, match=key.replace(".", r"\.")) as caught:
        config(tiny, key, value)
    assert "expected" in str(caught.value) or "set it to" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model.format.encoding.routing", "one_hot", "which a pretrained base cannot take"),
        ("model.format.size", 520, "expected a multiple of 16"),
        ("model.lora.rank", 0, "expected 1 or more"),
        ("model.lora.alpha", 0, "expected 1 or more"),
        ("model.lora.alpha", -128, "expected 1 or more"),
    ],
)
def test_the_error_names_a_key_that_a_pretrained_base_cannot_have(key, value, words):
    kontext = next(preset for preset in PRESETS if preset.stem == "kontext")
    with pytest.raises(UserError, match=rf"{re.escape(key)}: {value}, .*{words}"):
        config(kontext, key, value)


def test_a_pretrained_base_may_move_between_resumes():
    kontext = next(preset for preset in PRESETS if preset.stem == "kontext")
    here, there, other = (
        config(kontext, "model.base", base).reproducibility_keys()
        for base in ("models/FLUX.1-Kontext-dev", "/mnt/FLUX.1-Kontext-dev/", "models/another")
    )
    assert here == there != other
