"""The work of each process of a training run. Rank 0 also validates, logs and saves.

Ray starts all processes again when one dies. A process resumes from the last checkpoint of the run,
if there is one, whether the user or Ray started it.
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

from datagen.errors import UserError
from model.controls.control_sampling import EXACT
from model.data.augmentation.augment import augment
from model.data.batch import BatchBuilder
from model.data.loader import Loader
from model.data.shard_index import ShardIndex, open_shard_index
from model.network.encoder_cache import EncoderCache
from model.sigma_gen import ModelConfig, ScratchConfig, TrainingMetadata, build
from model.training.checkpoint import (
    CheckpointState,
    checkpoints,
    read_state,
    restore,
    steps_saved,
    write_checkpoint,
)
from model.training.optimizers import Ema, make_optimizers
from model.training.precision import Precision, choose_precision, explain
from model.training.train import NotFinite, StepResult, train
from model.training.train_state import TrainState
from pipelines.ray_session import exclusive_lock
from pipelines.training.config import TrainingConfig
from pipelines.training.log import write_event
from pipelines.training.monitor import Monitor

WRITER, LINGERING = ".writer", 60.0
"""Lock of the process that writes to a run, and seconds that it may outlive its killed driver."""

STOP = "stop"
"""A file of this name in the run's folder makes the run save and end."""


@dataclass(frozen=True)
class Task:
    """The input of each process.

    Attributes:
        config: of the run.
        shards: folder or URL of the training set.
        run: the run's folder, which all processes see.
        data: fingerprint of the set that the run was started with.
        encoder_cache: folder of the ``EncoderCache`` of the set; empty for none.
    """

    config: TrainingConfig
    shards: str
    run: str
    data: str
    encoder_cache: str = ""


def work(task: Task) -> None:
    """Do the work of one process of the run.

    Raises:
        UserError: what the user can correct. It is written to the log first.
        NotFinite: likewise.
    """
    run, process = Path(task.run), None
    is_writer = ray.train.get_context().get_world_rank() == 0
    try:
        with exclusive_lock(task.run, WRITER, LINGERING) if is_writer else nullcontext():
            process = _Process(task)
            process.work()
    except (UserError, NotFinite) as error:
        done = process.done if process else steps_saved(run)
        write_event(run, "error", done, message=str(error))
        raise


def training_builder(config: TrainingConfig, source: ShardIndex) -> BatchBuilder:
    """Builder of the batches to train on."""
    augmented = None if config.augment is None else partial(augment, config=config.augment)
    return BatchBuilder(source, config.model.format, config.data, augmented)


def validation_builder(config: TrainingConfig, source: ShardIndex) -> BatchBuilder:
    """Builder of held-out batches: without augmentation, with exact controls."""
    data = replace(config.data, draws=replace(EXACT, mixed_share=0.5), workers=0)
    return BatchBuilder(source, config.model.format, data)


def _all_weights_used(config: ModelConfig) -> bool:
    """Whether every trained weight contributes to every prediction. The text's adapters do not
    where adapters apply to conditions only. Nor does the text output of the last double-stream
    block where no single-stream block follows it."""
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
        device: torch.device = ray.train.torch.get_device()
        found = checkpoints(self._run)
        saved = read_state(found[-1]) if found else None
        self._precision = saved.precision if saved else self._choose_precision(device)
        self._train = replace(config.train, precision=self._precision)
        self._state = _train_state(task, device, self._precision)
        self._loader = Loader(
            training_builder(config, source),
            config.train.curriculum,
            accumulation=config.train.accumulation,
            rank=self._rank,
            world_size=self._world_size,
        )
        self._logged_skips = 0
        self.done = 0
        if saved:
            restore(found[-1], saved, self._state)
            self.done = saved.step
        self._monitor: Monitor | None = None
        if self._rank == 0:
            held_out = validation_builder(config, source)
            as_chosen = replace(config, train=self._train)
            self._monitor = Monitor(as_chosen, self._run, self._state, source, held_out, self.done)
            reason = explain(self._precision, config.train.precision, device)
            self._monitor.started(self.done, self._precision, reason)

    def work(self) -> None:
        config, monitor = self._task.config, self._monitor
        parallel = None
        if self._world_size > 1:
            parallel = DistributedDataParallel(
                self._state.sigma.backbone,
                find_unused_parameters=not _all_weights_used(config.model),
            )
        if monitor and self.done == config.train.steps:
            monitor.validate(self.done, last=True)
        results = train(self._state, self._loader.batches, self._train, self.done, parallel)
        for result in results:
            self.done = done = result.step + 1
            loss, stop = self._agree(result)
            last = done == config.train.steps
            save = stop or last or done % config.job.save_every == 0
            self._log_skips(done)
            if monitor:
                monitor.log_step(done, loss, result.gradient_norm, flush=save)
            # Before validation: after a request to stop there may be little time, and a validation
            # can be repeated later.
            if save:
                self._save(done)
            if monitor and (last or not stop):
                monitor.validate(done, last)
            if stop:
                break
        if monitor:
            monitor.close()

    def _choose_precision(self, device: torch.device) -> Precision:
        """The same for all processes: bf16 only where each of them has a processor for it."""
        precision = choose_precision(self._task.config.train.precision, device)
        if self._world_size > 1:
            supported = torch.tensor(float(precision == "bf16"), device=device)
            torch.distributed.all_reduce(supported, torch.distributed.ReduceOp.MIN)
            precision = "bf16" if supported else "float32"
        return precision

    def _agree(self, result: StepResult) -> tuple[float, bool]:
        """The mean loss of all processes, and whether to stop: all must do so at the same step, or
        the others would wait for ever."""
        shared = torch.tensor([result.loss, float((self._run / STOP).exists())])
        if self._world_size > 1:
            shared = shared.to(self._state.sigma.device)
            torch.distributed.all_reduce(shared)
        return float(shared[0]) / self._world_size, bool(shared[1] > 0)

    def _log_skips(self, done: int) -> None:
        """Log each damaged sample that this process has skipped, once."""
        for key, message in list(self._loader.skipped.items())[self._logged_skips :]:
            write_event(self._run, "skipped", done, key=key, message=message)
            self._logged_skips += 1

    def _save(self, done: int) -> None:
        if self._monitor:
            config = self._task.config
            keys = config.reproducibility_keys()
            state = CheckpointState(done, self._task.data, keys, self._precision)
            write_checkpoint(self._run, self._state, state, keep=config.job.keep)
            self._monitor.saved(done)
        if self._world_size > 1:
            torch.distributed.barrier()


def _train_state(task: Task, device: torch.device, precision: Precision) -> TrainState:
    """A fresh model with its optimizers and average, on ``device``."""
    config = task.config
    cache = EncoderCache(Path(task.encoder_cache)) if task.encoder_cache else None
    sigma = replace(
        build(config.model, config.train.seed, str(device), cache),
        training_metadata=TrainingMetadata(config.train.image_dropout),
    )
    backbone = sigma.backbone
    if config.train.gradient_checkpointing:
        backbone.transformer.enable_gradient_checkpointing()
    backbone.compiled = config.train.compile
    ema = Ema(backbone, config.train.ema) if config.train.ema else None
    optimizers = make_optimizers(backbone, config.train.optimizer, precision)
    return TrainState(sigma, optimizers, ema)
