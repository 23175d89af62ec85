"""Optimizers by name, their learning rate over the steps, and the moving average of weights."""

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
from model.training.muon import Float32Muon
from model.training.precision import Precision


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, and its learning rate over the steps."""

    name: Literal["adamw", "prodigy", "muon"] = "prodigy"
    """Optimizer. The paper uses prodigy, which finds its own step size (lr 1). muon updates the
    matrices of the blocks with matrix_lr, and AdamW with lr the other weights: a model from
    scratch then learns in minutes, with AdamW alone in hours."""
    lr: Positive = 1.0
    """Learning rate of all weights but muon's matrices."""
    matrix_lr: Positive = 4e-3
    """Learning rate of muon's matrices."""
    weight_decay: PositiveOrZero = 0.0
    """Weight decay of all trained weights."""
    warmup: CountOrZero = 0
    """Steps over which the learning rate rises from 0."""
    decay: Share = 0.0
    """Share of all steps, at the end, over which the learning rate falls to 0."""
    clip: Positive = 1.0
    """Norm to which gradients are clipped."""


def make_optimizers(
    model: nn.Module, config: OptimizerConfig, precision: Precision = "bf16"
) -> list[Optimizer]:
    """Make the optimizers of a model's trainable weights.

    Args:
        model: its parameters that require gradients are optimized.
        config: the optimizer and its settings.
        precision: number type of muon's iterations. All else is computed in the weights' type.

    Returns:
        One optimizer, or for "muon" two. Each parameter group has its learning rate as
        ``initial_lr``, from which ``train`` computes that of a step.
    """
    optimizers = _make(model, config, precision)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _make(model: nn.Module, config: OptimizerConfig, precision: Precision) -> list[Optimizer]:
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
            # Muon is for maps within the hidden space. Matrices into and out of it are AdamW's.
            hidden = {n: p for n, p in named.items() if p.ndim == 2 and "_blocks." in n}
            rest = [p for n, p in named.items() if n not in hidden]
            muon = Muon if precision == "bf16" else Float32Muon
            return [
                muon(
                    hidden.values(),
                    lr=config.matrix_lr,
                    weight_decay=decay,
                    adjust_lr_fn="match_rms_adamw",
                ),
                AdamW(rest, lr=config.lr, weight_decay=decay, betas=(0.9, 0.99)),
            ]


def rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The factor of the learning rate at a step.

    Args:
        config: gives warm-up and decay.
        step: number of the step, from 0.
        steps: of the run.

    Returns:
        A factor in 0..1.
    """
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    falling = config.decay * steps
    fall = min(1.0, (steps - step) / falling) if falling else 1.0
    return min(rise, fall)


class Ema:
    """Moving average of a model's trainable weights.

    Its horizon grows with the steps, up to that of ``decay``.

    Args:
        model: whose weights are averaged.
        decay: weight of the previous average, in 0..1.

    Attributes:
        weights: the averaged weights by name.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self.weights = {n: p.detach().clone() for n, p in trainable(model)}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the model's weights after step ``step``, counted from 0, to the average."""
        decay = min(self._decay, (step + 1) / (step + 10))
        own = dict(trainable(self._model))
        average = get_ema_multi_avg_fn(decay)
        average([self.weights[name] for name in own], list(own.values()), step)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """A context in which the model has the averaged weights."""
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
    """Names and parameters of the weights that require gradients."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)
