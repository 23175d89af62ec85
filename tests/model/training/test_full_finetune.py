"""Training all weights of a pretrained Kontext, which is saved in bfloat16."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path

import pytest
import torch

from model.controls.control_image import InputSpec
from model.data.curriculum import CurriculumStage
from model.sigma_gen import ModelConfig, build, load_model, save_model
from model.training.checkpoint import CheckpointState, read_state, restore, write_checkpoint
from model.training.optimizers import Ema, OptimizerConfig, make_optimizers
from model.training.train import TrainConfig, train
from model.training.train_state import TrainState
from tests.model.kontext import SHEET, SIZE, random_batch, save_kontext

OPTIMIZER = OptimizerConfig("adamw", lr=1e-5)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> ModelConfig:
    base = save_kontext(tmp_path_factory.mktemp("hub") / "FLUX.1-Kontext-dev")
    return ModelConfig(str(base), InputSpec(SIZE, SHEET), lora=None)


def fresh(config: ModelConfig) -> TrainState:
    sigma = build(config, seed=0)
    made = make_optimizers(sigma.backbone, OPTIMIZER)
    return TrainState(sigma, made, Ema(sigma.backbone, 0.9))


def weights(state_or_model) -> dict[str, torch.Tensor]:
    sigma = getattr(state_or_model, "sigma", state_or_model)
    return {n: p.detach().clone() for n, p in sigma.backbone.named_parameters()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> float:
    """Share of the weights that differ."""
    differ = sum(int((before[name].float() != after[name].float()).sum()) for name in before)
    return differ / sum(weight.numel() for weight in before.values())


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_small_steps_change_the_weights_and_the_saved_model_keeps_them(
    config, precision, tmp_path: Path
):
    training = TrainConfig((CurriculumStage(8),), optimizer=OPTIMIZER, precision=precision)
    state = fresh(config)
    before = weights(state)
    one = random_batch(torch.Generator().manual_seed(0))
    results = train(state, lambda _: repeat(one), training)
    for _ in range(4):
        next(results)
    after = weights(state)
    assert changed(before, after) > 0.95

    save_model(state.sigma, tmp_path / "model")
    assert changed(after, weights(load_model(tmp_path / "model"))) == 0
    folder = write_checkpoint(tmp_path, state, CheckpointState(4, "d", {}), keep=1)
    again = fresh(config)
    restore(folder, read_state(folder), again)
    assert changed(after, weights(again)) == 0
    assert all(torch.equal(state.ema.weights[n], w) for n, w in again.ema.weights.items())
    resumed = [result.loss for result in train(again, lambda _: repeat(one), training, start=4)]
    assert resumed == [result.loss for result in results]
