"""Encoder outputs that are cached before training, compared with those that training needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from model.controls.control_image import InputSpec
from model.data.batch import Batch, DataConfig, held_out_keys, load_batches
from model.data.curriculum import CurriculumStage
from model.data.loader import Loader
from model.data.shard_index import ShardIndex, open_shard_index
from model.network.encoder_cache import EncoderCache
from model.network.lora import LoraConfig
from model.sigma_gen import ModelConfig, build
from model.training.train import TrainConfig
from pipelines.training.config import JobConfig, TrainingConfig
from pipelines.training.encode_dataset import SceneEncoder, encoding_key, scene_keys
from pipelines.training.loop import training_builder, validation_builder
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
        ModelConfig(str(base), InputSpec(32, 16), lora=LoraConfig(2, 4)),
        DataConfig(batch_size=2, workers=0),
        train=TrainConfig((CurriculumStage(99),)),
        job=JobConfig(encode=True),
    )


def encoded(config: TrainingConfig, source: ShardIndex, folder: Path) -> EncoderCache:
    encoder = SceneEncoder(config, source.folder.url, str(folder))
    keys = scene_keys(config, source)
    assert encoder.encode(keys) == (len(keys), 0)
    return EncoderCache(folder)


@pytest.fixture(scope="module")
def held(config, source, tmp_path_factory) -> tuple[TrainingConfig, EncoderCache]:
    """The few scenes of ``val``, encoded to be trained on."""
    first = replace(config, data=replace(config.data, split="val"))
    return first, encoded(first, source, tmp_path_factory.mktemp("encoded"))


def batches(config: TrainingConfig, source: ShardIndex) -> Iterator[Batch]:
    """Some epochs to train on, and what is held out."""
    yield from islice(
        Loader(training_builder(config, source), config.train.curriculum).batches(), 12
    )
    yield from load_batches(validation_builder(config, source), held_out_keys(source, 8))


def missing(kept: EncoderCache, batch: Batch) -> int:
    """How many prompts, images and blocks of sheets an encoder would have to be asked for."""
    blocks = [block for sheet in batch.sheets for block in sheet.chunk(batch.n_subjects, dim=1)]
    found = [kept.prompt(prompt) for prompt in batch.prompts]
    found += [kept.picture(picture) for picture in (*batch.images, *blocks)]
    return sum(one is None for one in found)


def test_training_finds_all_prompts_and_images_in_the_encoder_cache(config, source, base, tmp_path):
    """In the cache itself, and through a model without encoders."""
    kept = encoded(config, source, tmp_path / "encoded")
    bare = Path(shutil.copytree(base, tmp_path / "base"))
    for part in ("text_encoder", "text_encoder_2"):
        shutil.rmtree(bare / part)
    whole = build(config.model, 0)
    sigma = build(replace(config.model, base=str(bare)), 0, cache=kept)
    sigma.image_tokenizer.vae.encoder = None
    counts = set()
    for batch in batches(config, source):
        counts.add(batch.n_subjects)
        assert missing(kept, batch) == 0, batch.keys
        for ask in (
            lambda model, batch: model.text(batch.prompts).tokens,
            lambda model, batch: model.targets(batch.images),
            lambda model, batch: model.image_tokenizer.sheet_tokens(batch.sheets),
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
def test_the_encoding_key_covers_all_that_training_encodes(held, source, part, changes):
    """A changed value changes the key if, and only if, something is not in the cache then."""
    first, kept = held
    if part == "data":
        other = replace(first, data=replace(first.data, **changes))
    else:
        format = replace(first.model.format, **changes)
        other = replace(first, model=replace(first.model, format=format))
    complete = not any(missing(kept, batch) for batch in batches(other, source))
    assert (encoding_key(other, source) == encoding_key(first, source)) == complete


def test_another_set_has_another_encoding_key(config, source):
    fewer = replace(source.manifest, shards=source.manifest.shards[1:])
    assert encoding_key(config, replace(source, manifest=fewer)) != encoding_key(config, source)
