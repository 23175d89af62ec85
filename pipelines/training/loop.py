"""What each process of a training run does. Rank 0 also writes, samples and saves.

Ray starts all processes again when one dies: a process goes on from the last checkpoint of the
run, if there is one, and does not ask whether it was the user or Ray who started it.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import ray.train
import ray.train.torch
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from datagen.scene import UserError
from model.augmentation.augment import augment
from model.checkpoint import State, checkpoints, read_state, restore, write_checkpoint
from model.data import Assembly, held_out, load
from model.draws import EXACT
from model.evaluation import cases, paint
from model.loader import Loader
from model.optimizers import Ema, make_optimizers
from model.sampling import SigmaGenPipeline
from model.sigma import build
from model.source import Source, open_source
from model.training import NotFinite, Report, held_out_loss, train
from pipelines.training.config import TrainingConfig
from pipelines.training.log import LOG, Log, tell
from pipelines.training.pictures import comparison

STOP = "stop"
"""A file of this name in the run's folder makes it save and end."""

LINES_A_SECOND = 2
SHOWN = 4
VALIDATED = 32
"""Held-out scenes that are sampled, and that the validation loss is taken of."""


@dataclass(frozen=True)
class Task:
    """What a process is told. ``run``: a folder that all of them see. ``data``: fingerprint of
    the set that the run is trained on."""

    config: TrainingConfig
    shards: str
    run: str
    data: str


def work(task: Task) -> None:
    """One process of the run. What the user can mend is told in the log before it is raised."""
    run = Path(task.run)
    try:
        _Process(task).work()
    except (UserError, NotFinite) as error:
        with (run / LOG).open("a") as file:
            tell(file, "error", 0, message=str(error))
        raise


def assembly(config: TrainingConfig, source: Source) -> Assembly:
    """Of the samples that are trained on."""
    made = None if config.augment is None else partial(augment, config=config.augment)
    return Assembly(source, config.model.format, config.data, made)


def validation(config: TrainingConfig, source: Source) -> Assembly:
    """Of held-out samples: nothing augmented, nothing loosened."""
    data = replace(config.data, draws=replace(EXACT, mixed_share=0.5), workers=0)
    return Assembly(source, config.model.format, data)


class _Process:
    def __init__(self, task: Task) -> None:
        config = task.config
        context = ray.train.get_context()
        self._task, self._run = task, Path(task.run)
        self._rank, self._world = context.get_world_rank(), context.get_world_size()
        torch.set_num_threads(config.job.threads)
        source = open_source(task.shards)
        if source.fingerprint != task.data:
            raise UserError(f"{task.shards}: not the set that the run was started with")
        self._sigma = build(config.model, config.train.seed, str(ray.train.torch.get_device()))
        if config.train.gradient_checkpointing:
            self._sigma.backbone.transformer.enable_gradient_checkpointing()
        self._optimizers: list[Optimizer] = make_optimizers(
            self._sigma.backbone, config.train.optimizer
        )
        self._ema = Ema(self._sigma.backbone, config.train.ema) if config.train.ema else None
        self._loader = Loader(
            assembly(config, source),
            config.train.curriculum,
            accumulation=config.train.accumulation,
            rank=self._rank,
            world=self._world,
        )
        self._start = 0
        if found := checkpoints(self._run):
            state = read_state(found[-1])
            restore(found[-1], state, self._sigma, self._optimizers, self._ema)
            self._start = state.step
        if self._rank == 0:
            keys = held_out(source, VALIDATED)
            self._validation = load(validation(config, source), keys)
            self._shown = cases(source, keys[:SHOWN], config.model.format)

    def work(self) -> None:
        task, config = self._task, self._task.config.train
        parallel = DistributedDataParallel(self._sigma.backbone) if self._world > 1 else None
        steps = train(
            self._sigma,
            self._optimizers,
            self._ema,
            self._loader.batches,
            config,
            self._start,
            parallel,
        )
        log = None
        if self._rank == 0:
            log = Log(self._run, task.config.lasting(), task.config.job.wandb)
            log.write("started", self._start, steps=config.steps)
        saved, told = self._start, 0.0
        since, losses, skipped = time.monotonic(), list[float](), 0
        for report in steps:
            done = report.step + 1
            stop = self._agree(report, losses)
            if log is not None:
                now = time.monotonic()
                if now - told > 1 / LINES_A_SECOND or done == config.steps:
                    pace = len(losses) / max(now - since, 1e-9)
                    log.write(
                        "step",
                        done,
                        loss=float(np.mean(losses)),
                        gradient_norm=report.gradient_norm,
                        steps_per_second=pace,
                    )
                    told, since = now, now
                    losses.clear()
                for key, message in list(self._loader.skipped.items())[skipped:]:
                    log.write("skipped", done, key=key, message=message)
                    skipped += 1
                self._look(log, done, stop or done == config.steps)
            if stop or done == config.steps or done % task.config.job.save_every == 0:
                self._save(done)
                saved = done
                if log is not None:
                    log.write("saved", done)
                since = time.monotonic()
            if stop:
                break
        if log is not None:
            log.write("ended", saved)
            log.close()

    def _agree(self, report: Report, losses: list[float]) -> bool:
        """Notes the loss over all processes. Returns whether all are to stop: they must do so at
        the same step, or the rest would wait for ever."""
        told = torch.tensor([report.loss, float((self._run / STOP).exists())])
        if self._world > 1:
            told = told.to(self._sigma.device)
            torch.distributed.all_reduce(told)
        losses.append(float(told[0]) / self._world)
        return bool(told[1] > 0)

    def _look(self, log: Log, done: int, last: bool) -> None:
        """Validate and paint, where it is time."""
        job = self._task.config.job
        validate = last or done % job.validate_every == 0
        paint = last or done % job.sample_every == 0
        if not (validate or paint):
            return
        with self._ema.applied() if self._ema else nullcontext():
            self._sigma.backbone.eval()
            if validate:
                loss = held_out_loss(self._sigma, self._validation, self._task.config.train)
                log.write("validation", done, loss=loss)
            if paint:
                log.picture("samples", done, self._painted())
            self._sigma.backbone.train()

    def _painted(self) -> np.ndarray:
        report = self._task.config.report
        pipeline = SigmaGenPipeline(self._sigma)
        images = paint(
            pipeline, self._shown, steps=report.steps, image_guidance=report.image_guidance
        )
        return comparison(self._shown, images, edge=128)

    def _save(self, done: int) -> None:
        if self._rank == 0:
            state = State(done, self._task.data, self._task.config.lasting())
            keep = self._task.config.job.keep
            write_checkpoint(self._run, self._sigma, self._optimizers, self._ema, state, keep=keep)
        if self._world > 1:
            torch.distributed.barrier()
