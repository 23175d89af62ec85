"""Checkpoints: complete on disk or absent, and never a pickle.

    RUN/checkpoints/step-0001000/  model/  weights.safetensors  ema.safetensors
                                   optimizer-0.safetensors  state.json

``model/`` is the model to sample from: with the averaged weights, where the run averages them.
Training resumes from ``weights.safetensors``.

A checkpoint is written under a temporary name, synced and renamed, and renamed again before it is
removed: a checkpoint that has its final name is complete.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from datagen.atomic import sync
from datagen.errors import UserError
from model.sigma_gen import CONFIG_FILE, save_model
from model.training.optimizers import trainable
from model.training.precision import Precision
from model.training.train_state import TrainState

STATE_FILE = "state.json"

DAMAGED = "remove this checkpoint, and --resume latest takes the one before it"


@dataclass(frozen=True)
class CheckpointState:
    """The state of a run, apart from its weights.

    Attributes:
        step: steps taken.
        data: fingerprint of the shards.
        config: the run's reproducibility keys.
        precision: number type that the run computes in.
        optimizers: the part of each optimizer's state that is not tensors.
    """

    step: int
    data: str
    config: dict[str, Any]
    precision: Precision = "bf16"
    optimizers: list[dict[str, Any]] = field(default_factory=list)


def write_checkpoint(run: Path, train_state: TrainState, state: CheckpointState, keep: int) -> Path:
    """Write a checkpoint, and remove old ones and what killed processes left behind.

    Args:
        run: folder of the run.
        train_state: model, optimizers and averaged weights.
        state: of the run; its ``optimizers`` are filled in here.
        keep: number of checkpoints that stay, the newest ones.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: it cannot be written. The checkpoint is absent then, and older ones stay.
    """
    folder = run / "checkpoints" / f"step-{state.step:07d}"
    partial = folder.with_name(f".{folder.name}.partial")
    for left in folder.parent.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        _write(partial, train_state, state)
        _remove(folder)
        partial.rename(folder)
        sync(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"{folder}: cannot be saved: {error}; earlier ones are kept") from error
    for old in checkpoints(run)[:-keep]:
        _remove(old)
    return folder


def _remove(folder: Path) -> None:
    if folder.exists():
        removed = folder.rename(folder.with_name(f".{folder.name}.removed"))
        shutil.rmtree(removed, ignore_errors=True)


def _write(partial: Path, train_state: TrainState, state: CheckpointState) -> None:
    sigma, ema = train_state.sigma, train_state.ema
    partial.mkdir(parents=True)
    with train_state.averaged():
        save_model(sigma, partial / "model")
    save_file(
        {name: weight.detach() for name, weight in trainable(sigma.backbone)},
        partial / "weights.safetensors",
    )
    scalars = []
    for i, optimizer in enumerate(train_state.optimizers):
        tensors, rest = _split(optimizer)
        save_file(tensors, partial / f"optimizer-{i}.safetensors")
        scalars.append(rest)
    if ema is not None:
        save_file(ema.weights, partial / "ema.safetensors")
    text = msgspec.json.encode(replace(state, optimizers=scalars))
    (partial / STATE_FILE).write_bytes(text)
    for path in [*partial.rglob("*"), partial]:
        sync(path)


def checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def steps_saved(run: Path) -> int:
    """Steps of the newest checkpoint of a run, 0 where it has none. No file is read."""
    return max((int(path.name.removeprefix("step-")) for path in checkpoints(run)), default=0)


def latest(run: Path) -> Path:
    """The newest checkpoint of a run.

    Raises:
        UserError: the run has none.
    """
    if found := checkpoints(run):
        return found[-1]
    raise UserError(f"{run}: no checkpoint there; expected a run that has saved one")


def model_folder(place: Path) -> Path:
    """The folder of the model to sample from.

    Args:
        place: a saved model, a checkpoint, or a run, whose last checkpoint is taken.

    Raises:
        UserError: ``place`` is none of these.
    """
    if (place / CONFIG_FILE).is_file():
        return place
    if (place / STATE_FILE).is_file():
        return place / "model"
    if (place / "checkpoints").is_dir():
        return latest(place) / "model"
    raise UserError(f"{place}: neither a run of `sigma train` nor a saved model")


def read_state(folder: Path) -> CheckpointState:
    """Read the state of a checkpoint.

    Raises:
        UserError: the file is absent or damaged.
    """
    try:
        return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=CheckpointState)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{folder}/{STATE_FILE}: {error}; {DAMAGED}") from None


def restore(folder: Path, state: CheckpointState, train_state: TrainState) -> None:
    """Load a checkpoint into a freshly built model, its optimizers and its averaged weights.

    Args:
        folder: of the checkpoint.
        state: of the checkpoint, from ``read_state``.
        train_state: built with the checkpoint's configuration; changed in place.

    Raises:
        UserError: a file is absent or damaged.
    """
    saved = _load(folder / "weights.safetensors")
    with torch.no_grad():
        for name, weight in trainable(train_state.sigma.backbone):
            weight.copy_(saved[name])
    for i, (optimizer, rest) in enumerate(
        zip(train_state.optimizers, state.optimizers, strict=True)
    ):
        _join(optimizer, _load(folder / f"optimizer-{i}.safetensors"), rest)
    if train_state.ema is not None:
        for name, average in _load(folder / "ema.safetensors").items():
            train_state.ema.weights[name].copy_(average)


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: {error}; {DAMAGED}") from None


def _split(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as flat tensors, and the rest of it as plain data."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    whole = optimizer.state_dict()
    for parameter, values in whole["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                # A copy: safetensors refuses tensors that share memory.
                tensors[f"{parameter}/{name}"] = value.detach().cpu().contiguous().clone()
            else:
                scalars.setdefault(str(parameter), {})[name] = value
    # JSON has no infinity. Prodigy's is a setting, which a new optimizer has by itself.
    groups = [
        {key: value for key, value in group.items() if value != math.inf}
        for group in whole["param_groups"]
    ]
    return tensors, {"state": scalars, "param_groups": groups}


def _join(optimizer: Optimizer, tensors: Mapping[str, Tensor], rest: dict[str, Any]) -> None:
    """Load what ``_split`` made into an optimizer."""
    state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in rest["state"].items()}
    for key, value in tensors.items():
        parameter, name = key.split("/")
        state.setdefault(int(parameter), {})[name] = value
    made = optimizer.state_dict()["param_groups"]
    groups = [
        fresh | saved | {"betas": fresh["betas"]} if "betas" in fresh else fresh | saved
        for fresh, saved in zip(made, rest["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
