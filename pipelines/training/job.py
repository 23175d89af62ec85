"""The training job: one folder a run, processes on Ray, a report at the end.

RUN/  config.yaml  log.jsonl  tensorboard/  checkpoints/  model/  report.md  report.png
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import ray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datagen.errors import UserError
from model.data.batch import held_out_keys, load_batches, max_subjects
from model.data.loader import Loader
from model.data.shard_index import open_shard_index
from model.sigma_gen import check_base
from model.training.checkpoint import checkpoints, latest, read_state
from pipelines.ray_session import LOCK, alone, cluster
from pipelines.run_config import refuse_change, save_config
from pipelines.training.config import JobConfig, TrainingConfig
from pipelines.training.encode_dataset import encode
from pipelines.training.entry import enter
from pipelines.training.log import Tail, check_wandb, forget
from pipelines.training.loop import LINGERING, STOP, WRITER, Task, assembly, validation

MODEL, RAY = "model", "ray"
LINE_EVERY = 15.0


@dataclass(frozen=True)
class Outcome:
    """``step``: steps taken. ``model``: the folder to sample from."""

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
    """Train, or with ``resume`` go on from the last checkpoint in ``out``. ``changed_data``: go on
    with another set than the run was started on. Interrupted, it saves before it raises
    KeyboardInterrupt. Raises UserError."""
    console = console or Console(soft_wrap=True)
    check(config, out, resume=resume)
    source = open_shard_index(shards)
    # What would fail in every process, or at the end, is better said before any is started.
    Loader(assembly(config, source), config.train.curriculum)
    most = max_subjects(config.model.format.encoding)
    load_batches(validation(config, source), held_out_keys(source, 1, most=most))
    if config.report.scenes:
        held_out_keys(source, 1, "test", most)
    with alone(str(out)):
        with alone(str(out), WRITER, LINGERING):
            pass  # the processes of a driver that was killed have ended
        if resume:
            _expect_data(out, source.fingerprint, changed_data)
        else:
            forget(out)
            save_config(config.reproducibility_keys(), str(out))
        (out / STOP).unlink(missing_ok=True)
        if _steps_taken(out) < config.train.steps:
            place = os.path.abspath(shards) if "://" not in shards else shards
            task = Task(_rooted(config), place, str(out.resolve()), source.fingerprint)
            with cluster(address, cache, steadfast=True) as own:
                _check_room(config.job, own, console)
                if config.job.encode:
                    encoded = encode(task.config, source, place, cache, console)
                    task = replace(task, encoded=str(encoded))
                _train(task, out, console)
        last = latest(out)
        _publish(last / "model", out / MODEL)
        shutil.rmtree(out / RAY, ignore_errors=True)
        return Outcome(read_state(last).step, out / MODEL)


def check(config: TrainingConfig, out: Path, *, resume: bool) -> None:
    """What can be said before there is data, which takes its time to make. Raises UserError for a
    run that cannot be started, or not be gone on with."""
    check_base(config.model)
    if config.job.wandb:
        check_wandb()
    if resume:
        if not checkpoints(out):
            raise UserError(f"{out}: no checkpoint there; leave out --resume to start")
        refuse_change(config.reproducibility_keys(), str(out))
    elif begun := checkpoints(out):
        raise UserError(
            f"{out} holds a run of {read_state(begun[-1]).step} steps; go on with it by "
            "--resume latest, or choose another --out"
        )
    elif out.exists() and {p.name for p in out.iterdir()} - {LOCK} and not (out / WRITER).exists():
        raise UserError(f"{out}: holds other things than a run; choose another --out")


def _rooted(config: TrainingConfig) -> TrainingConfig:
    """With the path of a pretrained base from the root: Ray lets each process work in a folder of
    its own."""
    base = config.model.base
    if not isinstance(base, str):
        return config
    return replace(config, model=replace(config.model, base=os.path.abspath(base)))


def check_room(job: JobConfig, address: str, cache: Path) -> None:
    """Raises UserError where the job wants more of this machine than it has."""
    with cluster(address, cache) as own:
        _check_room(job, own, Console())


def _expect_data(out: Path, data: str, changed: bool) -> None:
    if read_state(latest(out)).data != data and not changed:
        raise UserError(
            f"{out}: the set has changed since the checkpoint; train on the one it was "
            "started with, or say --allow_changed_data"
        )


def _check_room(job: JobConfig, own: bool, console: Console) -> None:
    """Ray waits for resources that are not there, and does not say so. Raises UserError where
    nothing can bring them, on a cluster of our ``own``; another may yet grow."""
    kind, each = ("GPU", 1) if job.gpu else ("CPU", job.threads)
    has = ray.cluster_resources().get(kind, 0)
    if has >= job.processes * each:
        return
    told = f"{job.processes} processes want {each} {kind} each, Ray has {has:g}"
    if own:
        mend = "set job.gpu to false to train on the CPU" if job.gpu else "set fewer"
        raise UserError(f"job.{'gpu' if job.gpu else 'processes'}: {told}; {mend}")
    console.print(f"{told}: waiting until it has more")


def _steps_taken(out: Path) -> int:
    return read_state(latest(out)).step if checkpoints(out) else 0


def _publish(model: Path, place: Path) -> None:
    """A copy that stays when checkpoints go; whole, or not there."""
    fresh = place.with_name(f".{place.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(model, fresh)
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)


def _train(task: Task, out: Path, console: Console) -> None:
    """Until all steps are taken. An interruption is passed on as a wish to stop."""
    tail, ended = Tail(out), threading.Event()
    failures: list[BaseException] = []
    threading.Thread(target=_fit, args=(task, failures, ended), daemon=True).start()
    interrupted = False
    with _told(task.config.train.steps, console) as tell:
        while True:
            try:
                # Not Thread.join: interrupted, Python 3.11's believes that the thread has ended.
                over = ended.wait(0.2)
                for event in tail.read():
                    if event["event"] == "error":
                        raise UserError(event["message"])
                    tell(event)
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
            f"{saved} steps are saved: --resume latest goes on"
            if saved
            else "nothing was saved yet: run the same command again"
        )
    if failures:
        kept = "--resume latest goes on from the last checkpoint"
        raise UserError(
            f"training ended after {task.config.job.retries} retries: {_cause(failures[0])}; "
            f"{kept if checkpoints(out) else 'nothing was saved'}"
        ) from failures[0]


def _fit(task: Task, failures: list[BaseException], ended: threading.Event) -> None:
    """Ray Train, outside of the main thread: there it would answer Ctrl-C by ending at once."""
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
            task.encoded,
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
    except Exception as error:  # told by the main thread, whatever it is
        failures.append(error)
    finally:
        ended.set()


def _cause(error: BaseException) -> str:
    words = str(error).strip().splitlines()
    return words[-1] if words else repr(error)


@contextmanager
def _told(steps: int, console: Console) -> Iterator[Any]:
    """A bar on a terminal, elsewhere a line now and then. Yields what takes an event."""
    columns = (
        TextColumn("steps"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task("starting", total=steps)
        state = {"line": 0.0, "validation": "", "started": False}

        def tell(event: dict[str, Any]) -> None:
            match event["event"]:
                case "started":
                    if state["started"]:
                        console.print(f"a process died: on from step {event['step']}, as saved")
                    state["started"] = True
                case "validation":
                    state["validation"] = f", held out {event['loss']:.4f}"
                case "skipped":
                    console.print(f"skipped a damaged sample: {event['message']}")
                case "step":
                    pace = event["steps_per_second"]
                    words = f"loss {event['loss']:.4f}{state['validation']}, {pace:.1f} steps/s"
                    bar.update(shown, completed=event["step"], description=words)
                    if not console.is_terminal and event["step"] >= state["line"]:
                        left = round((steps - event["step"]) / max(pace, 1e-9))
                        told = f"{event['step']}/{steps} steps, {words}"
                        console.print(f"{told}, {left // 60}:{left % 60:02d} left")
                        state["line"] = event["step"] + pace * LINE_EVERY

        yield tell
