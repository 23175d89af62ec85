"""The training job: one folder per run, processes on Ray, a report at the end.

RUN/  config.yaml  log.jsonl  tensorboard/  checkpoints/  model/  report.md  report.png
"""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import ray
from rich.console import Console

from datagen.errors import UserError
from model.data.batch import held_out_keys, load_batches, max_subjects
from model.data.loader import check_batches
from model.data.shard_index import open_shard_index
from model.sigma_gen import check_base
from model.training.checkpoint import checkpoints, latest, read_state
from pipelines.progress import Progress
from pipelines.ray_session import LOCK, exclusive_lock, ray_session
from pipelines.run_config import refuse_change, save_config
from pipelines.training.config import JobConfig, TrainingConfig
from pipelines.training.encode_dataset import encode_dataset
from pipelines.training.entry import enter
from pipelines.training.log import Tail, check_wandb, clear_log, has_event
from pipelines.training.loop import (
    LINGERING,
    STOP,
    WRITER,
    Task,
    training_builder,
    validation_builder,
)

MODEL, RAY = "model", "ray"
"""Folders of a run: the model to sample from, and Ray's files while it works."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        step: steps taken.
        model: folder of the model to sample from.
    """

    step: int
    model: Path


def run(
    config: TrainingConfig,
    shards: str,
    out: Path,
    cache: Path,
    *,
    resume: bool = False,
    changed_data: bool = False,
    address: str = "",
    console: Console | None = None,
) -> Outcome:
    """Train a model, or resume a run.

    Args:
        config: of the run.
        shards: folder or URL of the training set.
        out: folder of the run, which all machines of the run see.
        cache: folder of encoder caches and of Ray's log.
        resume: continue from the last checkpoint in ``out``.
        changed_data: resume although the set is not the one that the run was started with.
        address: a Ray cluster to work on; empty starts a local one.
        console: where progress is shown.

    Returns:
        The steps taken and the model.

    Raises:
        UserError: the run cannot be started or resumed, or it failed.
        KeyboardInterrupt: the user stopped the run. It was saved first, if it had begun.
    """
    console = console or Console(soft_wrap=True)
    check(config, out, resume=resume)
    source = open_shard_index(shards)
    # Errors that every process would raise, or the report at the end, are raised before the start.
    check_batches(training_builder(config, source), config.train.curriculum)
    most = max_subjects(config.model.format.encoding)
    load_batches(validation_builder(config, source), held_out_keys(source, 1, most=most))
    if config.report.scenes:
        held_out_keys(source, 1, "test", most)
    with exclusive_lock(str(out)):
        with exclusive_lock(str(out), WRITER, LINGERING):
            pass  # waits until the processes of a killed driver have ended
        if resume:
            _expect_data(out, source.fingerprint, changed_data)
        else:
            clear_log(out)
            save_config(config.reproducibility_keys(), str(out))
        (out / STOP).unlink(missing_ok=True)
        steps = config.train.steps
        # A process that is killed after its last checkpoint has not validated it.
        if _steps_taken(out) < steps or not has_event(out, "validation", steps):
            place = os.path.abspath(shards) if "://" not in shards else shards
            task = Task(_rooted(config), place, str(out.resolve()), source.fingerprint)
            console.print("starting Ray and the processes that train")
            with ray_session(address, cache, ignore_sigterm=True) as local:
                _check_resources(config.job, local, console)
                if config.job.encode:
                    folder = encode_dataset(task.config, source, place, cache, console)
                    task = replace(task, encoder_cache=str(folder))
                _train(task, out, console)
        last = latest(out)
        _publish(last / "model", out / MODEL)
        shutil.rmtree(out / RAY, ignore_errors=True)
        return Outcome(read_state(last).step, out / MODEL)


def check(config: TrainingConfig, out: Path, *, resume: bool) -> None:
    """Check what can be checked before there is a training set, which takes time to make.

    Args:
        config: of the run.
        out: folder of the run.
        resume: whether the run is to be resumed.

    Raises:
        UserError: the run cannot be started or resumed.
    """
    check_base(config.model)
    if config.job.wandb:
        check_wandb()
    if resume:
        if not checkpoints(out):
            raise UserError(f"{out}: no checkpoint there; leave out --resume to start")
        refuse_change(config.reproducibility_keys(), str(out))
    elif begun := checkpoints(out):
        raise UserError(
            f"{out} holds a run of {read_state(begun[-1]).step} steps; continue it with "
            "--resume latest, or choose another --out"
        )
    elif out.exists() and {p.name for p in out.iterdir()} - {LOCK} and not (out / WRITER).exists():
        raise UserError(f"{out}: holds other files than those of a run; choose another --out")


def _rooted(config: TrainingConfig) -> TrainingConfig:
    """Make the path of a pretrained base absolute: Ray's processes have other working folders."""
    base = config.model.base
    if not isinstance(base, str):
        return config
    return replace(config, model=replace(config.model, base=os.path.abspath(base)))


def check_resources(job: JobConfig, address: str, cache: Path) -> None:
    """Check that a job's processes can be started.

    Args:
        job: how many processes there are, and what each needs.
        address: a Ray cluster; empty for this machine.
        cache: folder of Ray's log.

    Raises:
        UserError: the job needs more CPUs or GPUs than this machine has.
    """
    with ray_session(address, cache) as local:
        _check_resources(job, local, Console())


def _expect_data(out: Path, data: str, changed: bool) -> None:
    if read_state(latest(out)).data != data and not changed:
        raise UserError(
            f"{out}: the set has changed since the checkpoint; train on the one it was "
            "started with, or add --allow_changed_data"
        )


def _check_resources(job: JobConfig, local: bool, console: Console) -> None:
    """Ray waits for missing resources without a word. Raises UserError where they cannot appear: on
    a ``local`` Ray. Another cluster may still grow."""
    kind, each = ("GPU", 1) if job.gpu else ("CPU", job.threads)
    available = ray.cluster_resources().get(kind, 0)
    if available >= job.processes * each:
        return
    message = f"{job.processes} processes want {each} {kind} each, Ray has {available:g}"
    if local:
        remedy = "set job.gpu to false to train on the CPU" if job.gpu else "set fewer"
        raise UserError(f"job.{'gpu' if job.gpu else 'processes'}: {message}; {remedy}")
    console.print(f"{message}: waiting until it has more")


def _steps_taken(out: Path) -> int:
    return read_state(latest(out)).step if checkpoints(out) else 0


def _publish(model: Path, place: Path) -> None:
    """Copy the model of a checkpoint to ``place``, where it stays when the checkpoint is removed.
    The copy is complete or absent."""
    fresh = place.with_name(f".{place.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(model, fresh)
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)


def _train(task: Task, out: Path, console: Console) -> None:
    """Run Ray Train and show its events until it ends. An interruption asks the run to stop."""
    tail, ended = Tail(out), threading.Event()
    failures: list[BaseException] = []
    threading.Thread(target=_fit, args=(task, failures, ended), daemon=True).start()
    interrupted = False
    with Progress("step", task.config.train.steps, console) as progress:
        display = _EventDisplay(progress, console)
        while True:
            try:
                # Not Thread.join: after an interruption Python 3.11 takes the thread for ended.
                over = ended.wait(0.2)
                for event in tail.read():
                    if event["event"] == "error":
                        raise UserError(event["message"])
                    display.show(event)
                if over:
                    break
            except KeyboardInterrupt:
                if interrupted:
                    break
                interrupted = True
                (out / STOP).touch()
                console.print("stopping after this step; once more to stop without saving")
    if interrupted:
        saved = _steps_taken(out)
        raise KeyboardInterrupt(
            f"{saved} steps are saved: --resume latest continues"
            if saved
            else "nothing was saved yet: run the same command again"
        )
    if failures:
        kept = "--resume latest continues from the last checkpoint"
        raise UserError(
            f"training ended after {task.config.job.retries} retries: {_cause(failures[0])}; "
            f"{kept if checkpoints(out) else 'nothing was saved'}"
        ) from failures[0]


def _fit(task: Task, failures: list[BaseException], ended: threading.Event) -> None:
    """Run Ray Train. Not in the main thread, where Ctrl-C would make it end at once."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    job = task.config.job
    scaling = ScalingConfig(
        num_workers=job.processes,
        use_gpu=job.gpu,
        resources_per_worker=None if job.gpu else {"CPU": job.threads},
    )
    trainer = TorchTrainer(
        partial(
            enter,
            msgspec.json.encode(task.config).decode(),
            task.shards,
            task.run,
            task.data,
            task.encoder_cache,
        ),
        scaling_config=scaling,
        run_config=RunConfig(
            name=RAY,
            storage_path=task.run,
            failure_config=FailureConfig(max_failures=job.retries),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # reported by the main thread, whatever it is
        failures.append(error)
    finally:
        ended.set()


def _cause(error: BaseException) -> str:
    words = str(error).strip().splitlines()
    return words[-1] if words else repr(error)


class _EventDisplay:
    """Shows the events of a run's log."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress, self._console = progress, console
        self._started = False
        self._validation = ""

    def show(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "started":
                if self._started:
                    self._console.print(
                        f"a process died: continuing from step {event['step']}, as saved"
                    )
                else:
                    self._console.print(event["reason"])
                self._started = True
                self._progress.restart(event["step"])
            case "validation":
                self._validation = f", held out {event['loss']:.4f}"
            case "skipped":
                self._console.print(f"skipped a damaged sample: {event['message']}")
            case "step":
                pace = f"{event['steps_per_second']:.1f} steps/s"
                status = f"loss {event['loss']:.4f}{self._validation}, {pace}"
                self._progress.update(event["step"], status)
