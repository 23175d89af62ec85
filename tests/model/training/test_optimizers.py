"""Optimizers, their rates, and the average of weights."""

from __future__ import annotations

import pytest
import torch

from model.training.optimizers import Ema, OptimizerConfig, make_optimizers, rate
from tests.model.tiny import transformer


@pytest.mark.parametrize("name", ["adamw", "prodigy", "muon"])
def test_every_weight_has_one_optimizer(name):
    model = transformer()
    made = make_optimizers(model, OptimizerConfig(name, lr=1e-3))
    held = [p for optimizer in made for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(model.parameters()))


def test_muon_optimizes_only_the_matrices_of_the_blocks():
    model = transformer()
    muon, _ = make_optimizers(model, OptimizerConfig("muon", lr=1e-3))
    held = {id(p) for p in muon.param_groups[0]["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in held}
    assert names
    assert all("_blocks." in name and name.endswith("weight") for name in names)


def test_frozen_weights_have_no_optimizer():
    model = transformer().requires_grad_(False)
    model.x_embedder.requires_grad_(True)
    (optimizer,) = make_optimizers(model, OptimizerConfig("adamw", lr=1e-3))
    assert len(optimizer.param_groups[0]["params"]) == 2


def test_the_learning_rate_rises_stays_and_falls():
    config = OptimizerConfig(warmup=10, decay=0.2)
    rates = [rate(config, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:80] == [1.0] * 71
    assert rates[80:] == sorted(rates[80:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 20)


def test_ema_lags_behind_and_applied_restores_the_weights():
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    ema = Ema(model, decay=0.9)
    model.weight.data.fill_(1.0)
    for step in range(500, 505):
        ema.update(step)
    with ema.applied():
        inside = model.weight.item()
    assert inside == pytest.approx(1 - 0.9**5)
    assert model.weight.item() == 1.0


def test_ema_is_near_the_weights_from_the_first_steps_on():
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    ema = Ema(model, decay=0.9999)
    model.weight.data.fill_(1.0)
    for step in range(20):
        ema.update(step)
    assert float(ema.weights["weight"]) > 0.9
