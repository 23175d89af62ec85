"""Optimizers by name, their state as flat tensors, and the moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from prodigyopt import Prodigy
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from datagen.validation import CountOrZero, Positive, PositiveOrZero, Share


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, and its learning rate over the steps."""

    name: Literal["adamw", "prodigy", "muon"] = "prodigy"
    """The paper's is "prodigy", which finds its own step size (lr 1). "muon" takes the matrices of
    the blocks, with ``matrix_lr``, and AdamW with ``lr`` the rest: from scratch, minutes are enough
    with it where AdamW alone takes hours."""
    lr: Positive = 1.0
    """Learning rate, of all but muon's matrices."""
    matrix_lr: Positive = 4e-3
    """Learning rate of muon's matrices."""
    weight_decay: PositiveOrZero = 0.0
    """Of all trained weights."""
    warmup: CountOrZero = 0
    """Steps that rise to the learning rate."""
    decay: Share = 0.0
    """Over this last share of all steps the learning rate falls to 0."""
    clip: Positive = 1.0
    """Norm that gradients are clipped to."""


def make_optimizers(model: nn.Module, config: OptimizerConfig) -> list[Optimizer]:
    """Over the parameters that require gradients. Groups know their ``initial_lr``."""
    optimizers = _make(model, config)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _make(model: nn.Module, config: OptimizerConfig) -> list[Optimizer]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    decay = config.weight_decay
    match config.name:
        case "prodigy":
            return [
                Prodigy(
                    named.values(),
                    lr=config.lr,
                    weight_decay=decay,
                    safeguard_warmup=True,
                    use_bias_correction=True,
                )
            ]
        case "adamw":
            return [AdamW(named.values(), lr=config.lr, weight_decay=decay, betas=(0.9, 0.99))]
        case "muon":
            # What maps into or out of the model is no rotation of a hidden space: AdamW's.
            hidden = {n: p for n, p in named.items() if p.ndim == 2 and "_blocks." in n}
            rest = [p for n, p in named.items() if n not in hidden]
            return [
                Muon(
                    hidden.values(),
                    lr=config.matrix_lr,
                    weight_decay=decay,
                    adjust_lr_fn="match_rms_adamw",
                ),
                AdamW(rest, lr=config.lr, weight_decay=decay, betas=(0.9, 0.99)),
            ]


def rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Share of the learning rate that step ``step`` of ``steps`` takes."""
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    falling = config.decay * steps
    fall = min(1.0, (steps - step) / falling) if falling else 1.0
    return min(rise, fall)


class Ema:
    """A moving average of a model's trainable weights, with a horizon that grows with the steps
    up to that of ``decay``."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self.weights = {n: p.detach().clone() for n, p in trainable(model)}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self._decay, (step + 1) / (step + 10))
        own = dict(trainable(self._model))
        average = get_ema_multi_avg_fn(decay)
        average([self.weights[name] for name in own], list(own.values()), step)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights meanwhile."""
        own = {name: weight.detach().clone() for name, weight in trainable(self._model)}
        self._put(self.weights)
        try:
            yield
        finally:
            self._put(own)

    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, weight in trainable(self._model):
            weight.data.copy_(weights[name])


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Name and parameter of what requires a gradient."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)
