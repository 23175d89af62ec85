"""The log of a training run, read back with the tools that it is written for."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from datagen.errors import UserError
from pipelines.training.log import Log, Tail, check_wandb, clear_log, rewind_log, write_event

RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)


def one_run(run: Path, wandb: str = "") -> None:
    log = Log(run, {"seed": 0}, wandb)
    log.write("step", 1, loss=0.5, losses=[0.5])
    log.write("validation", 1, loss=0.25)
    log.picture("samples", 1, RED)
    log.close()


def test_losses_and_pictures_are_in_tensorboard(tmp_path: Path) -> None:
    one_run(tmp_path)
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("step/loss")] == [(1, 0.5)]
    assert [(e.step, e.value) for e in board.Scalars("validation/loss")] == [(1, 0.25)]
    assert board.Images("samples")[0].width == 8


def test_a_cleared_log_has_no_events(tmp_path: Path) -> None:
    one_run(tmp_path)
    clear_log(tmp_path)
    assert list(tmp_path.iterdir()) == []
    tail = Tail(tmp_path)
    one_run(tmp_path)
    assert [event["event"] for event in tail.read()] == ["step", "validation"]


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_log_that_continues_at_an_earlier_step_has_each_step_once(tmp_path: Path) -> None:
    """As after a process was killed at step 5, whose last checkpoint is of step 3."""
    killed = Log(tmp_path, {}, "")
    for step in range(1, 6):
        killed.write("step", step, loss=float(step))
        killed.picture("samples", step, RED)
        if step == 3:
            killed.write("saved", step)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "step", "st')
    resumed = Log(tmp_path, {}, "", start=3)
    assert resumed.removed_lines == 3
    for step in range(4, 8):
        resumed.write("step", step, loss=10.0 * step)
    resumed.close()
    losses = [1.0, 2.0, 3.0, 40.0, 50.0, 60.0, 70.0]
    assert [e["loss"] for e in events(tmp_path) if e["event"] == "step"] == losses
    assert [e["step"] for e in events(tmp_path)] == [1, 2, 3, 3, 4, 5, 6, 7]
    board = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0, "scalars": 0})
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("step/loss")] == list(enumerate(losses, 1))
    assert [e.step for e in board.Images("samples")] == [1, 2, 3]


def test_a_tail_reads_on_behind_a_log_that_was_rewound(tmp_path: Path) -> None:
    """Each event once: neither the kept ones again, nor the new ones only in part."""
    write_event(tmp_path, "step", 1)
    tail = Tail(tmp_path)
    for step in (2, 3, 4):
        write_event(tmp_path, "step", step)
    assert [event["step"] for event in tail.read()] == [2, 3, 4]
    write_event(tmp_path, "step", 5)  # which the tail has not yet read
    rewind_log(tmp_path, 3)
    write_event(tmp_path, "started", 3)
    write_event(tmp_path, "step", 4, losses=[0.5] * 20)
    assert [(e["event"], e["step"]) for e in tail.read()] == [
        ("step", 5),
        ("started", 3),
        ("step", 4),
    ]
    assert list(tail.read()) == []
    rewind_log(tmp_path, 0)
    write_event(tmp_path, "started", 0)
    assert [event["event"] for event in tail.read()] == ["started"]


def append(run: Path, count: int) -> None:
    for _ in range(count):
        write_event(run, "skipped", 1)


def test_no_line_of_another_process_is_lost_while_the_log_is_rewound(tmp_path: Path) -> None:
    other = multiprocessing.get_context("fork").Process(target=append, args=(tmp_path, 500))
    other.start()
    while other.is_alive():
        write_event(tmp_path, "step", 9)
        rewind_log(tmp_path, 5)
    other.join()
    assert other.exitcode == 0
    assert [event["event"] for event in events(tmp_path)] == ["skipped"] * 500


@pytest.mark.slow
def test_a_resumed_run_continues_at_weights_and_biases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    one_run(tmp_path, "sigma")
    one_run(tmp_path, "sigma")
    runs = [path.stem for path in (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")]
    assert runs
    assert len(set(runs)) == 1
    assert list((tmp_path / "wandb").rglob("samples_*.png"))
    clear_log(tmp_path)
    one_run(tmp_path, "sigma")
    runs = [path.stem for path in (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")]
    assert len(set(runs)) == 2


def test_weights_and_biases_without_a_key_is_refused_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"^job\.wandb: no API key here; run `wandb login`"):
        check_wandb()
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_wandb()
