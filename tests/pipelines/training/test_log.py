"""What a training run tells of itself, read back with the tools that it is told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from datagen.errors import UserError
from pipelines.training.log import Log, Tail, check_wandb, forget

RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)


def one_run(run: Path, wandb: str = "") -> None:
    log = Log(run, {"seed": 0}, wandb)
    log.write("step", 1, loss=0.5, losses=[0.5])
    log.write("validation", 1, loss=0.25)
    log.picture("samples", 1, RED)
    log.close()


def test_losses_and_pictures_are_on_the_board(tmp_path: Path) -> None:
    one_run(tmp_path)
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("step/loss")] == [(1, 0.5)]
    assert [(e.step, e.value) for e in board.Scalars("validation/loss")] == [(1, 0.25)]
    assert board.Images("samples")[0].width == 8


def test_of_a_run_that_is_forgotten_nothing_is_told(tmp_path: Path) -> None:
    one_run(tmp_path)
    forget(tmp_path)
    assert list(tmp_path.iterdir()) == []
    tail = Tail(tmp_path)
    one_run(tmp_path)
    assert [event["event"] for event in tail.read()] == ["step", "validation"]


def test_weights_and_biases_takes_a_resumed_run_for_the_same(
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
    forget(tmp_path)
    one_run(tmp_path, "sigma")
    runs = [path.stem for path in (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")]
    assert len(set(runs)) == 2


def test_without_a_key_weights_and_biases_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"^job\.wandb: no API key here; say `wandb login`"):
        check_wandb()
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_wandb()
