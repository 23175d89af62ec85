"""What a run tells while it works: a line of JSON an event, and TensorBoard.

The lines are how the driver learns what its processes do; they outlive both.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from datagen.errors import UserError

LOG, BOARD = "log.jsonl", "tensorboard"
WANDB_ID = "wandb-id"
"""By which a run that is gone on with is the same one there."""


class Log:
    """Writes events and draws their numbers. ``wandb``: a project to report to as well, "" for
    none."""

    def __init__(self, run: Path, config: dict[str, Any], wandb: str) -> None:
        self._run = run
        self._board = SummaryWriter(run / BOARD)
        self._wandb = _start_wandb(wandb, run, config)

    def write(self, event: str, step: int, **values: Any) -> None:
        """Numbers among ``values`` are drawn as well, as ``event/name``."""
        tell(self._run, event, step, **values)
        numbers = {f"{event}/{k}": v for k, v in values.items() if isinstance(v, (int, float))}
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)
        if self._wandb is not None and numbers:
            self._wandb.log(numbers, step=step)

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        """``image`` (H, W, 3) uint8."""
        self._board.add_image(name, image, step, dataformats="HWC")
        self._board.flush()
        if self._wandb is not None:
            import wandb

            self._wandb.log({name: wandb.Image(image)}, step=step)

    def close(self) -> None:
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def forget(run: Path) -> None:
    """Removes what a run that died before its first checkpoint has told: the next one there is
    another."""
    for name in (LOG, WANDB_ID):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / BOARD, ignore_errors=True)


def tell(run: Path, event: str, step: int, **values: Any) -> None:
    """Add one line, whole: several processes write to the log."""
    with (run / LOG).open("a") as file:
        file.write(json.dumps({"event": event, "step": step} | values) + "\n")


class Tail:
    """The events that were added to a log since one last looked."""

    def __init__(self, run: Path) -> None:
        self._path = run / LOG
        self._place = self._path.stat().st_size if self._path.exists() else 0

    def read(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._place)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._place += len(line)
                yield json.loads(line)


def check_wandb() -> None:
    """Raises UserError where W&B would not be reported to: Ray's processes can ask for no key."""
    try:
        import wandb
    except ImportError:
        raise UserError("job.wandb: not installed: uv pip install -e '.[wandb]'") from None
    if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.api.api_key:
        raise UserError("job.wandb: no API key here; say `wandb login`, or set WANDB_MODE=offline")


def _start_wandb(project: str, run: Path, config: dict[str, Any]) -> Any:
    if not project:
        return None
    import wandb  # opt-in: an extra

    known = run / WANDB_ID
    if not known.exists():
        known.write_text(secrets.token_hex(4))
    return wandb.init(
        project=project,
        id=known.read_text(),
        name=run.name,
        dir=run,
        config=config,
        resume="allow",
    )
