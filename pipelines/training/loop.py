"""What each process of a training run does. Rank 0 also watches and saves.

Ray starts all processes again when one dies: a process goes on from the last checkpoint of the
run, if there is one, and does not ask whether it was the user or Ray who started it.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import ray.train
import ray.train.torch
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from datagen.errors import UserError
from model.controls.control_sampling import EXACT
from model.data.augmentation.augment import augment
from model.data.batch import BatchBuilder
from model.data.loader import Loader
from model.data.shard_index import ShardIndex, open_shard_index
from model.network.encoder_cache import Encoded
from model.sigma_gen import ModelConfig, ScratchConfig, Trained, build
from model.training.checkpoint import State, checkpoints, read_state, restore, write_checkpoint
from model.training.optimizers import Ema, make_optimizers
from model.training.train import NotFinite, Report, train
from pipelines.ray_session import alone
from pipelines.training.config import TrainingConfig
from pipelines.training.log import tell
from pipelines.training.monitor import Watch

WRITER, LINGERING = ".writer", 60.0
"""Lock of the process that writes to a run, and seconds that one may outlive its killed driver."""

STOP = "stop"
"""A file of this name in the run's folder makes it save and end."""


@dataclass(frozen=True)
class Task:
    """What a process is told. ``run``: a folder that all of them see. ``data``: fingerprint of
    the set that the run is trained on. ``encoded``: folder of what was encoded of it, empty where
    nothing was."""

    config: TrainingConfig
    shards: str
    run: str
    data: str
    encoded: str = ""


def work(task: Task) -> None:
    """One process of the run. What the user can mend is told in the log before it is raised."""
    writes = ray.train.get_context().get_world_rank() == 0
    try:
        with alone(task.run, WRITER, LINGERING) if writes else nullcontext():
            _Process(task).work()
    except (UserError, NotFinite) as error:
        tell(Path(task.run), "error", 0, message=str(error))
        raise


def assembly(config: TrainingConfig, source: ShardIndex) -> BatchBuilder:
    """Of the samples that are trained on."""
    made = None if config.augment is None else partial(augment, config=config.augment)
    return BatchBuilder(source, config.model.format, config.data, made)


def validation(config: TrainingConfig, source: ShardIndex) -> BatchBuilder:
    """Of held-out samples: nothing augmented, nothing loosened."""
    data = replace(config.data, draws=replace(EXACT, mixed_share=0.5), workers=0)
    return BatchBuilder(source, config.model.format, data)


def _all_learn(config: ModelConfig) -> bool:
    """Whether every trained weight has a part in every prediction. The text's adapters have none
    where they are for conditions alone, nor has what the last block makes of the text, where no
    block follows in which text and pictures have weights in common."""
    if isinstance(config.base, ScratchConfig) and not config.base.single_blocks:
        return False
    return config.backbone.lora_scope == "all"


class _Process:
    def __init__(self, task: Task) -> None:
        config = task.config
        context = ray.train.get_context()
        self._task, self._run = task, Path(task.run)
        self._rank, self._world_size = context.get_world_rank(), context.get_world_size()
        torch.set_num_threads(config.job.threads)
        source = open_shard_index(task.shards)
        if source.fingerprint != task.data:
            raise UserError(f"{task.shards}: not the set that the run was started with")
        device = str(ray.train.torch.get_device())
        encoded = Encoded(Path(task.encoded)) if task.encoded else None
        self._sigma = replace(
            build(config.model, config.train.seed, device, encoded),
            trained=Trained(config.train.image_dropout),
        )
        backbone = self._sigma.backbone
        if config.train.gradient_checkpointing:
            backbone.transformer.enable_gradient_checkpointing()
        backbone.compiled = config.train.compile
        self._optimizers: list[Optimizer] = make_optimizers(backbone, config.train.optimizer)
        self._ema = Ema(backbone, config.train.ema) if config.train.ema else None
        self._loader = Loader(
            assembly(config, source),
            config.train.curriculum,
            accumulation=config.train.accumulation,
            rank=self._rank,
            world_size=self._world_size,
        )
        self._skips_told = 0
        self._start = 0
        if found := checkpoints(self._run):
            state = read_state(found[-1])
            restore(found[-1], state, self._sigma, self._optimizers, self._ema)
            self._start = state.step
        self._watch: Watch | None = None
        if self._rank == 0:
            held = validation(config, source)
            self._watch = Watch(config, self._run, self._sigma, self._ema, source, held)

    def work(self) -> None:
        config, watch = self._task.config, self._watch
        backbone = self._sigma.backbone
        unused = not _all_learn(config.model)
        parallel = (
            DistributedDataParallel(backbone, find_unused_parameters=unused)
            if self._world_size > 1
            else None
        )
        if watch:
            watch.event("started", self._start)
        for report in train(
            self._sigma,
            self._optimizers,
            self._ema,
            self._loader.batches,
            config.train,
            self._start,
            parallel,
        ):
            done = report.step + 1
            loss, stop = self._agree(report)
            last = done == config.train.steps
            save = stop or last or done % config.job.save_every == 0
            self._tell_skips(done)
            if watch:
                watch.note(done, loss, report.gradient_norm, flush=save)
            # At once, as who asked for a stop may not wait long; what it takes to look at the
            # model can be made up for.
            if save:
                self._save(done)
            if watch and (last or not stop):
                watch.look(done, last)
            if stop:
                break
        if watch:
            watch.close()

    def _agree(self, report: Report) -> tuple[float, bool]:
        """The loss over all processes, and whether all are to stop: they must do so at the same
        step, or the rest would wait for ever."""
        told = torch.tensor([report.loss, float((self._run / STOP).exists())])
        if self._world_size > 1:
            told = told.to(self._sigma.device)
            torch.distributed.all_reduce(told)
        return float(told[0]) / self._world_size, bool(told[1] > 0)

    def _tell_skips(self, done: int) -> None:
        """Each damaged sample that this process has stepped over, once."""
        for key, message in list(self._loader.skipped.items())[self._skips_told :]:
            tell(self._run, "skipped", done, key=key, message=message)
            self._skips_told += 1

    def _save(self, done: int) -> None:
        if self._watch:
            state = State(done, self._task.data, self._task.config.reproducibility_keys())
            keep = self._task.config.job.keep
            write_checkpoint(self._run, self._sigma, self._optimizers, self._ema, state, keep=keep)
            self._watch.event("saved", done)
        if self._world_size > 1:
            torch.distributed.barrier()
