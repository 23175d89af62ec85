"""The training step and the loop around it.

Everything random in a step follows from the seed and the step's number, and so does the batch:
a run that goes on from step k is the run that never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel as Parallel
from torch.optim import Optimizer

from datagen.validation import Count, Positive, PositiveOrZero, Seed, Share
from model.data.batch import Batch
from model.data.curriculum import PAPER, CurriculumStage
from model.network.flow_matching import draw_times, mix
from model.sigma_gen import SigmaGen
from model.training.optimizers import Ema, OptimizerConfig, rate


@dataclass(frozen=True)
class TrainConfig:
    """The steps of a run, one like the other."""

    curriculum: tuple[CurriculumStage, ...] = PAPER
    """Its stages, one behind the other."""
    seed: Seed = 0
    """Of fresh weights, and of each step's noise."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    accumulation: Count = 1
    """Batches a step."""
    time_mean: float = 0.0
    """Times are ``sigmoid(N(time_mean, 1))``."""
    subject_weight: Positive = 1.0
    """What a pixel of a subject counts beside one of the background."""
    guidance: PositiveOrZero = 1.0
    """What distilled models are told."""
    image_dropout: Share = 0.0
    """Share of samples without sheet and control, for image guidance."""
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Decay of the averaged weights, 0 for none."""
    bf16: bool = True
    """Autocast."""
    gradient_checkpointing: bool = False
    """Blocks are computed again in the backward pass, not remembered."""
    compile: bool = False
    """torch.compile on the blocks; it wants a C++ compiler, and a minute to start."""

    @property
    def steps(self) -> int:
        """In all."""
        return sum(stage.steps for stage in self.curriculum)


class NotFinite(Exception):
    """The loss of ``step`` is NaN or infinite. ``keys``: the samples of its batches."""

    def __init__(self, step: int, keys: list[str]) -> None:
        super().__init__(f"step {step}: the loss is not finite; samples {', '.join(keys)}")
        self.step, self.keys = step, keys


@dataclass(frozen=True)
class Report:
    """What a step did. ``step`` counts from 0."""

    step: int
    loss: float
    gradient_norm: float
    keys: tuple[str, ...]


def flow_loss(
    sigma: SigmaGen,
    batch: Batch,
    config: TrainConfig,
    generator: torch.Generator,
    backbone: nn.Module | None = None,
) -> Tensor:
    """Mean squared error of the prediction, on X only. Noise and times are drawn on the device of
    ``generator``: best the model's, as one core of a CPU takes 10 ms for the noise of a batch of
    the small preset. ``backbone``: what to call in place of the model's own, which it wraps."""
    clean = sigma.targets(batch.images)
    device = generator.device
    noise = torch.randn(clean.shape, generator=generator, device=device).to(clean)
    times = draw_times(len(clean), config.time_mean, generator).to(clean)
    noisy = mix(clean, noise, times)
    conditions = sigma.conditions(batch.sheets, batch.controls)
    # Before the forward pass: a copy to a GPU waits for all that was begun there.
    covered = _coverage(sigma, batch.subjects.to(clean.device))
    weights = 1 + (config.subject_weight - 1) * covered
    if config.image_dropout:
        drawn = torch.rand(len(clean), generator=generator, device=device)
        kept = drawn >= config.image_dropout
        conditions = conditions.keep(kept.to(clean.device))
    predicted = (backbone or sigma.backbone)(
        sigma.codec.image_tokens(noisy),
        sigma.position_ids,
        times,
        sigma.text(batch.prompts),
        conditions,
        torch.full_like(times, config.guidance) if sigma.guided else None,
    )
    target = clean if sigma.config.prediction == "x" else noise - clean
    error = (predicted.float() - target.float()) ** 2
    return (error * weights).sum() / (weights.sum() * error.shape[2])


@torch.no_grad()
def held_out_loss(sigma: SigmaGen, batches: Sequence[Batch], config: TrainConfig) -> float:
    """The loss on given batches, with the same noise and times at every call."""
    generator = torch.Generator(sigma.device).manual_seed(config.seed)
    whole = replace(config, image_dropout=0.0)
    with torch.autocast(sigma.device.type, torch.bfloat16, enabled=config.bf16):
        losses = [float(flow_loss(sigma, batch, whole, generator)) for batch in batches]
    return sum(losses) / len(losses)


def _coverage(sigma: SigmaGen, subjects: Tensor) -> Tensor:
    """Share (B, L, 1) of each token of X that subjects cover, from their map (B, H, W)."""
    covered = (subjects > 0).float()[:, None]
    return F.avg_pool2d(covered, sigma.codec.pixels).flatten(2).transpose(1, 2)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def train(
    sigma: SigmaGen,
    optimizers: list[Optimizer],
    ema: Ema | None,
    batches: Callable[[int], Iterator[Batch]],
    config: TrainConfig,
    start: int = 0,
    parallel: Parallel | None = None,
) -> Iterator[Report]:
    """Steps ``start`` to ``config.steps``, a report each; between two of them the caller may
    save, sample, or stop. ``batches``: those from a number on. ``parallel``: the backbone, where
    several processes share a step. Raises NotFinite, before the step is taken."""
    rank = torch.distributed.get_rank() if parallel else 0
    weights = [p for p in sigma.backbone.parameters() if p.requires_grad]
    supply = batches(start * config.accumulation)
    for step in range(start, config.steps):
        generator = torch.Generator(sigma.device).manual_seed(_seed(config.seed, step, rank))
        share = rate(config.optimizer, step, config.steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share
            optimizer.zero_grad(set_to_none=True)
        total, keys = 0.0, list[str]()
        for left in reversed(range(config.accumulation)):
            batch = next(supply)
            keys += batch.keys
            # Processes exchange gradients once a step, with the last of its batches.
            with parallel.no_sync() if parallel and left else nullcontext():
                with torch.autocast(sigma.device.type, torch.bfloat16, enabled=config.bf16):
                    loss = flow_loss(sigma, batch, config, generator, parallel)
                (loss / config.accumulation).backward()
            total += float(loss.detach()) / config.accumulation
        norm = nn.utils.clip_grad_norm_(weights, config.optimizer.clip)
        if not (torch.isfinite(norm) and total == total):
            raise NotFinite(step, keys)
        for optimizer in optimizers:
            optimizer.step()
        if ema is not None:
            ema.update(step)
        yield Report(step, total, float(norm), tuple(keys))
