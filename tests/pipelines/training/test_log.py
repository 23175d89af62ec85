"""The log of a training run, read back with the tools that it is written for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from datagen.errors import UserError
from pipelines.training.log import Log, Tail, check_wandb, clear_log

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
