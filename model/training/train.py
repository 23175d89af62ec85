"""The training step and the loop around it.

All randomness of a step, and its batch, follow from the seed and the number of the step: a run that
is resumed at step k computes the same as the uninterrupted run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel as Parallel

from datagen.validation import Count, Positive, PositiveOrZero, Seed, Share
from model.data.batch import Batch
from model.data.curriculum import PAPER, CurriculumStage
from model.network.flow_matching import mix, sample_times
from model.sigma_gen import SigmaGen
from model.training.optimizers import OptimizerConfig, rate
from model.training.precision import autocast, choose_precision
from model.training.train_state import TrainState


@dataclass(frozen=True)
class TrainConfig:
    """The training steps."""

    curriculum: tuple[CurriculumStage, ...] = PAPER
    """Curriculum: which subject counts at which step. Stages follow one another."""
    seed: Seed = 0
    """Seed of fresh weights and of each step's noise."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    accumulation: Count = 1
    """Batches per step, whose gradients are averaged."""
    time_mean: float = 0.0
    """Flow-matching times are sigmoid(N(time_mean, 1)); 1 is noise."""
    subject_weight: Positive = 1.0
    """Weight in the loss of a subject's pixel; a background pixel has 1."""
    guidance: PositiveOrZero = 1.0
    """Guidance scale passed to guidance-distilled models."""
    image_dropout: Share = 0.0
    """Share of samples that are trained without references and controls; image guidance needs
    it."""
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Decay of the moving average of weights; 0: no average."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """Number type of matrix products; trained weights are float32. auto: bf16 where the processor
    has bfloat16 arithmetic, which makes steps faster, else float32. A run keeps what it chose."""
    gradient_checkpointing: bool = False
    """Compute the blocks again in the backward pass, which saves memory and costs time."""
    compile: bool = False
    """Run the blocks through torch.compile, which needs a C++ compiler and a minute to start."""

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.curriculum)


class NotFinite(Exception):
    """The loss or the gradient of a step is NaN or infinite.

    Args:
        step: number of the step, from 0.
        keys: of the samples of its batches.
    """

    def __init__(self, step: int, keys: list[str]) -> None:
        super().__init__(f"step {step}: the loss is not finite; samples {', '.join(keys)}")
        self.step, self.keys = step, keys


@dataclass(frozen=True)
class StepResult:
    """The outcome of a training step.

    Attributes:
        step: number of the step, from 0.
        loss: mean over the step's batches, of this process.
        gradient_norm: before clipping.
        keys: of the samples of the step's batches.
    """

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
    """Flow-matching loss: weighted mean squared error of the prediction, on X only.

    Args:
        sigma: the model.
        batch: B samples with equal subject counts.
        config: times, weights, guidance and image dropout.
        generator: for noise, times and dropout, which are sampled on its device: best the
            model's, as one core of a CPU takes 10 ms for the noise of a batch of the small preset.
        backbone: called in place of the model's backbone, which it wraps (DDP).

    Returns:
        The loss, a 0-d tensor.
    """
    clean = sigma.targets(batch.images)
    device = generator.device
    noise = torch.randn(clean.shape, generator=generator, device=device).to(clean)
    times = sample_times(len(clean), config.time_mean, generator).to(clean)
    noisy = mix(clean, noise, times)
    conditions = sigma.conditions(batch.sheets, batch.controls)
    # Before the forward pass: a copy to a GPU waits for all work that is queued there.
    covered = _coverage(sigma, batch.subjects.to(clean.device))
    weights = 1 + (config.subject_weight - 1) * covered
    if config.image_dropout:
        chance = torch.rand(len(clean), generator=generator, device=device)
        kept = chance >= config.image_dropout
        conditions = conditions.keep(kept.to(clean.device))
    predicted = (backbone or sigma.backbone)(
        sigma.image_tokenizer.image_tokens(noisy),
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
    """Mean loss on given batches, with the same noise and times at every call, without image
    dropout."""
    generator = torch.Generator(sigma.device).manual_seed(config.seed)
    without_dropout = replace(config, image_dropout=0.0)
    with autocast(sigma.device, choose_precision(config.precision, sigma.device)):
        losses = [float(flow_loss(sigma, batch, without_dropout, generator)) for batch in batches]
    return sum(losses) / len(losses)


def _coverage(sigma: SigmaGen, subjects: Tensor) -> Tensor:
    """Share (B, L, 1) of each token of X that subjects cover. ``subjects`` (B, H, W) is 0 on the
    background."""
    covered = (subjects > 0).float()[:, None]
    return F.avg_pool2d(covered, sigma.image_tokenizer.pixels).flatten(2).transpose(1, 2)


def _seed(*numbers: int) -> int:
    """A seed for torch that follows from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def train(
    state: TrainState,
    batches: Callable[[int], Iterator[Batch]],
    config: TrainConfig,
    start: int = 0,
    parallel: Parallel | None = None,
) -> Iterator[StepResult]:
    """Train from step ``start`` to ``config.steps``. Between two steps the caller may save, sample
    or stop.

    Args:
        state: model, optimizers and averaged weights, which every step changes in place.
        batches: makes the batches from a given number on; a step takes ``config.accumulation``.
        config: the steps.
        start: number of the first step, from 0.
        parallel: the wrapped backbone, where several processes share each step.

    Yields:
        The result of each step.

    Raises:
        NotFinite: before the step changes any weight.
        UserError: a batch cannot be read.
    """
    sigma = state.sigma
    rank = torch.distributed.get_rank() if parallel else 0
    precision = choose_precision(config.precision, sigma.device)
    weights = [p for p in sigma.backbone.parameters() if p.requires_grad]
    remaining = batches(start * config.accumulation)
    for step in range(start, config.steps):
        generator = torch.Generator(sigma.device).manual_seed(_seed(config.seed, step, rank))
        share = rate(config.optimizer, step, config.steps)
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share
            optimizer.zero_grad(set_to_none=True)
        total, keys = 0.0, list[str]()
        for left in reversed(range(config.accumulation)):
            batch = next(remaining)
            keys += batch.keys
            # Processes exchange gradients once per step, at its last batch.
            with parallel.no_sync() if parallel and left else nullcontext():
                with autocast(sigma.device, precision):
                    loss = flow_loss(sigma, batch, config, generator, parallel)
                (loss / config.accumulation).backward()
            total += float(loss.detach()) / config.accumulation
        norm = nn.utils.clip_grad_norm_(weights, config.optimizer.clip)
        if not (torch.isfinite(norm) and total == total):
            raise NotFinite(step, keys)
        for optimizer in state.optimizers:
            optimizer.step()
        if state.ema is not None:
            state.ema.update(step)
        yield StepResult(step, total, float(norm), tuple(keys))
