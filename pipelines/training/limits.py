"""Values that no training run can have: told by key, before anything is started."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from datagen.errors import UserError
from model.sigma_gen import ScratchConfig

if TYPE_CHECKING:
    from pipelines.training.config import TrainingConfig

VAE_PIXELS = 16
"""Along a token of Flux: its autoencoder makes an eighth, and packs two by two."""


@dataclass(frozen=True)
class Limit:
    """``words``: what is expected of a number that ``holds``."""

    words: str
    holds: Callable[[float], bool]


COUNT = Limit("1 or more", lambda value: value >= 1)
SHARE = Limit("0 to 1", lambda value: 0 <= value <= 1)
ABOVE_0 = Limit("above 0", lambda value: value > 0)
NOT_BELOW_0 = Limit("0 or more", lambda value: value >= 0)
SEED = Limit("0 or more, and below 2**63", lambda value: 0 <= value < 2**63)
BELOW_1 = Limit("0 or more, and below 1", lambda value: 0 <= value < 1)

LIMITS: Mapping[str, Limit] = {
    "model.format.size": COUNT,
    "model.format.identity_size": COUNT,
    "model.format.encoding.step": COUNT,
    "model.format.encoding.slots": COUNT,
    "model.backbone.rope_theta": COUNT,
    "data.batch_size": COUNT,
    "data.seed": SEED,
    "data.full_prompts": SHARE,
    "data.workers": NOT_BELOW_0,
    "data.draws.mixed_share": SHARE,
    "data.draws.dilation": SHARE,
    "data.draws.aspect_jitter": SHARE,
    "data.draws.channel_drop": SHARE,
    "train.seed": SEED,
    "train.accumulation": COUNT,
    "train.subject_weight": ABOVE_0,
    "train.guidance": NOT_BELOW_0,
    "train.image_dropout": SHARE,
    "train.ema": BELOW_1,
    "train.optimizer.lr": ABOVE_0,
    "train.optimizer.matrix_lr": ABOVE_0,
    "train.optimizer.weight_decay": NOT_BELOW_0,
    "train.optimizer.warmup": NOT_BELOW_0,
    "train.optimizer.decay": SHARE,
    "train.optimizer.clip": ABOVE_0,
    "report.scenes": NOT_BELOW_0,
    "report.steps": COUNT,
    "report.image_guidance": NOT_BELOW_0,
    "report.seed": SEED,
    "job.processes": COUNT,
    "job.threads": COUNT,
    "job.validate_every": COUNT,
    "job.sample_every": COUNT,
    "job.save_every": COUNT,
    "job.keep": COUNT,
    "job.retries": NOT_BELOW_0,
}
ADAPTED = {"model.lora.rank": COUNT, "model.lora.alpha": COUNT}
AUGMENTED = {f"augment.{name}": SHARE for name in ("recompose", "recolor", "flip")}
SCRATCH = {
    "model.base.patch": COUNT,
    "model.base.heads": COUNT,
    "model.base.double_blocks": NOT_BELOW_0,
    "model.base.single_blocks": NOT_BELOW_0,
}


def check(config: TrainingConfig) -> None:
    """Raises UserError naming the first key whose value cannot be."""
    limits = dict(LIMITS)
    if config.model.lora is not None:
        limits |= ADAPTED
    if config.augment is not None:
        limits |= AUGMENTED
    if isinstance(config.model.base, ScratchConfig):
        limits |= SCRATCH
    for key, limit in limits.items():
        value = attrgetter(key)(config)
        if not (math.isfinite(value) and limit.holds(value)):
            raise UserError(f"{key}: {value}, expected {limit.words}")
    for problem in _contradictions(config):
        raise UserError(problem)


def _contradictions(config: TrainingConfig) -> Iterator[str]:
    model, shown, base = config.model, config.model.format, config.model.base
    if isinstance(base, ScratchConfig):
        pixels = base.patch
        if any(size < 4 or size % 2 for size in base.rope):
            yield f"model.base.rope: {list(base.rope)}, expected even numbers of 4 or more"
        if base.double_blocks + base.single_blocks < 1:
            yield "model.base: no blocks, expected one at least"
        if model.lora is not None:
            yield "model.lora: given, but model.base is no pretrained one: set it to null"
        if config.job.encode:
            yield "job.encode: true, but model.base is no pretrained one: set it to false"
    else:
        pixels = VAE_PIXELS
        if shown.encoding.routing == "one_hot":
            yield (
                "model.format.encoding.routing: one_hot, which a pretrained base cannot take, and "
                f"model.base is the folder of one, {base!r}; expected intensity"
            )
    for key, size in (("size", shown.size), ("identity_size", shown.identity_size)):
        if size % pixels:
            yield f"model.format.{key}: {size}, expected a multiple of {pixels}, a token's edge"
    if not config.train.curriculum:
        yield "train.curriculum: no stages, expected at least one"
    for number, stage in enumerate(config.train.curriculum, start=1):
        if not 1 <= stage.min_subjects <= stage.max_subjects:
            yield (
                f"train.curriculum: stage {number} is of {stage.min_subjects} to "
                f"{stage.max_subjects} subjects, expected 1 or more, and the least first"
            )
    if config.data.split == "test" and config.report.scenes:
        yield (
            "data.split: test, which the report measures on; "
            "train on another, or set report.scenes to 0"
        )
    if config.report.image_guidance != 1 and not config.train.image_dropout:
        yield (
            f"report.image_guidance: {config.report.image_guidance:g}, which is learned where "
            "train.image_dropout is above 0 only: set it to 1"
        )
    if not config.data.draws.granularities:
        yield "data.draws.granularities: none, expected one at least"
    if config.data.batch_size % config.job.processes:
        yield (
            f"data.batch_size: {config.data.batch_size}, expected a multiple of the "
            f"{config.job.processes} of job.processes"
        )
