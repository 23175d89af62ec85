"""Checkpoints: all or nothing on disk, and never a pickle.

    RUN/checkpoints/step-0001000/  model/  weights.safetensors  ema.safetensors
                                   optimizer-0.safetensors  state.json

``model/`` is what to sample from: the averaged weights, where there are any. Training goes on from
``weights.safetensors``.

A checkpoint is written under another name, synced, and renamed, and renamed again before it is
removed: one that has its name is whole.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from datagen.errors import UserError
from model.sigma_gen import CONFIG_FILE, SigmaGen, save_model
from model.training.optimizers import Ema, trainable

STATE_FILE = "state.json"

DAMAGED = "remove this checkpoint, and --resume latest takes the one before it"


@dataclass(frozen=True)
class CheckpointState:
    """Where a run stands, beside its weights. ``step``: steps taken. ``data``: fingerprint of
    the shards. ``config``: everything the run was started with. ``optimizers``: what of their
    state is no tensor."""

    step: int
    data: str
    config: dict[str, Any]
    optimizers: list[dict[str, Any]] = field(default_factory=list)


def write_checkpoint(
    run: Path,
    sigma: SigmaGen,
    optimizers: Sequence[Optimizer],
    ema: Ema | None,
    state: CheckpointState,
    keep: int,
) -> Path:
    """Write the checkpoint of ``state.step``, and remove all but the last ``keep``, and what was
    left by processes that were killed here. Raises UserError where it cannot be written; nothing
    is left of it then."""
    folder = run / "checkpoints" / f"step-{state.step:07d}"
    partial = folder.with_name(f".{folder.name}.partial")
    for left in folder.parent.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        _write(partial, sigma, optimizers, ema, state)
        _remove(folder)
        partial.rename(folder)
        _sync(folder.parent)
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


def _write(
    partial: Path,
    sigma: SigmaGen,
    optimizers: Sequence[Optimizer],
    ema: Ema | None,
    state: CheckpointState,
) -> None:
    partial.mkdir(parents=True)
    with ema.applied() if ema else nullcontext():
        save_model(sigma, partial / "model")
    save_file(
        {name: weight.detach() for name, weight in trainable(sigma.backbone)},
        partial / "weights.safetensors",
    )
    scalars = []
    for i, optimizer in enumerate(optimizers):
        tensors, rest = _split(optimizer)
        save_file(tensors, partial / f"optimizer-{i}.safetensors")
        scalars.append(rest)
    if ema is not None:
        save_file(ema.weights, partial / "ema.safetensors")
    text = msgspec.json.encode(replace(state, optimizers=scalars))
    (partial / STATE_FILE).write_bytes(text)
    for path in [*partial.rglob("*"), partial]:
        _sync(path)


def checkpoints(run: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def latest(run: Path) -> Path:
    """Raises UserError where there is none."""
    if found := checkpoints(run):
        return found[-1]
    raise UserError(f"{run}: no checkpoint there; expected a run that has saved one")


def model_folder(place: Path) -> Path:
    """What to sample from: ``place``, if it is a model that was saved, or else the model of a
    checkpoint, or of the last checkpoint of a run. Raises UserError."""
    if (place / CONFIG_FILE).is_file():
        return place
    if (place / STATE_FILE).is_file():
        return place / "model"
    if (place / "checkpoints").is_dir():
        return latest(place) / "model"
    raise UserError(f"{place}: neither a run of `sigma train` nor a model that was saved")


def read_state(folder: Path) -> CheckpointState:
    """Raises UserError."""
    try:
        return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=CheckpointState)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{folder}/{STATE_FILE}: {error}; {DAMAGED}") from None


def restore(
    folder: Path,
    state: CheckpointState,
    sigma: SigmaGen,
    optimizers: Sequence[Optimizer],
    ema: Ema | None,
) -> None:
    """Put what was saved into a freshly built model, its optimizers and its average. Raises
    UserError where a file is not what was written."""
    saved = _load(folder / "weights.safetensors")
    with torch.no_grad():
        for name, weight in trainable(sigma.backbone):
            weight.copy_(saved[name])
    for i, (optimizer, rest) in enumerate(zip(optimizers, state.optimizers, strict=True)):
        _join(optimizer, _load(folder / f"optimizer-{i}.safetensors"), rest)
    if ema is not None:
        for name, average in _load(folder / "ema.safetensors").items():
            ema.weights[name].copy_(average)


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: {error}; {DAMAGED}") from None


def _split(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
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
    # JSON has no infinity; Prodigy's is a setting, which the new optimizer has of itself.
    groups = [
        {key: value for key, value in group.items() if value != math.inf}
        for group in whole["param_groups"]
    ]
    return tensors, {"state": scalars, "param_groups": groups}


def _join(optimizer: Optimizer, tensors: Mapping[str, Tensor], rest: dict[str, Any]) -> None:
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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
