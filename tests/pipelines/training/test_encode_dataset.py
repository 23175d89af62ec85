"""What frozen encoders make of a set before training, beside what training then asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from model.controls.regions import Format
from model.data.batch import Batch, DataConfig, held_out_keys, load_batches
from model.data.curriculum import CurriculumStage
from model.data.loader import Loader
from model.data.shard_index import ShardIndex, open_shard_index
from model.network.encoder_cache import Encoded
from model.network.lora import LoraConfig
from model.sigma_gen import ModelConfig, build
from model.training.train import TrainConfig
from pipelines.training.config import JobConfig, TrainingConfig
from pipelines.training.encode_dataset import Encoder, mark, wanted
from pipelines.training.loop import assembly, validation
from tests.model.kontext import save_kontext
from tests.model.sets import make_set


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_kontext(tmp_path_factory.mktemp("hub") / "FLUX.1-Kontext-dev")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> ShardIndex:
    return open_shard_index(str(make_set(tmp_path_factory.mktemp("set"))))


@pytest.fixture(scope="module")
def config(base) -> TrainingConfig:
    return TrainingConfig(
        "wee",
        "mini",
        ModelConfig(str(base), Format(32, 16), lora=LoraConfig(2, 4)),
        DataConfig(batch_size=2, workers=0),
        train=TrainConfig((CurriculumStage(99),)),
        job=JobConfig(encode=True),
    )


def encoded(config: TrainingConfig, source: ShardIndex, folder: Path) -> Encoded:
    encoder = Encoder(config, source.folder.url, str(folder))
    assert encoder.encode(wanted(config, source)) == 0
    return Encoded(folder)


@pytest.fixture(scope="module")
def held(config, source, tmp_path_factory) -> tuple[TrainingConfig, Encoded]:
    """The few scenes of ``val``, encoded to be trained on."""
    first = replace(config, data=replace(config.data, split="val"))
    return first, encoded(first, source, tmp_path_factory.mktemp("encoded"))


def batches(config: TrainingConfig, source: ShardIndex) -> Iterator[Batch]:
    """Some epochs to train on, and what is held out."""
    yield from islice(Loader(assembly(config, source), config.train.curriculum).batches(), 12)
    yield from load_batches(validation(config, source), held_out_keys(source, 8))


def missing(kept: Encoded, batch: Batch) -> int:
    """How many prompts, images and blocks of sheets an encoder would have to be asked for."""
    blocks = [block for sheet in batch.sheets for block in sheet.chunk(batch.n_subjects, dim=1)]
    found = [kept.prompt(prompt) for prompt in batch.prompts]
    found += [kept.picture(picture) for picture in (*batch.images, *blocks)]
    return sum(one is None for one in found)


def test_training_finds_all_that_it_asks_for(config, source, base, tmp_path):
    """By itself, and by a model that has lost its encoders."""
    kept = encoded(config, source, tmp_path / "encoded")
    bare = Path(shutil.copytree(base, tmp_path / "base"))
    for part in ("text_encoder", "text_encoder_2"):
        shutil.rmtree(bare / part)
    whole = build(config.model, 0)
    sigma = build(replace(config.model, base=str(bare)), 0, encoded=kept)
    sigma.codec.vae.encoder = None
    counts = set()
    for batch in batches(config, source):
        counts.add(batch.n_subjects)
        assert missing(kept, batch) == 0, batch.keys
        for ask in (
            lambda model, batch: model.text(batch.prompts).tokens,
            lambda model, batch: model.targets(batch.images),
            lambda model, batch: model.codec.sheet_tokens(batch.sheets),
        ):
            torch.testing.assert_close(ask(sigma, batch), ask(whole, batch), atol=0.05, rtol=0.05)
    assert counts == set(source.pools("train"))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("data", {"split": "train"}),
        ("format", {"size": 48}),
        ("format", {"identity_size": 32}),
        ("data", {"batch_size": 3}),
        ("data", {"seed": 1}),
        ("data", {"full_prompts": 1.0}),
    ],
)
def test_a_mark_is_of_all_that_is_wanted(held, source, part, changes):
    """With another value it is another one, if something is missing then, and only if."""
    first, kept = held
    if part == "data":
        other = replace(first, data=replace(first.data, **changes))
    else:
        format = replace(first.model.format, **changes)
        other = replace(first, model=replace(first.model, format=format))
    complete = not any(missing(kept, batch) for batch in batches(other, source))
    assert (mark(other, source) == mark(first, source)) == complete


def test_another_set_has_another_mark(config, source):
    fewer = replace(source.manifest, shards=source.manifest.shards[1:])
    assert mark(config, replace(source, manifest=fewer)) != mark(config, source)
