"""The log of a run: one line of JSON per event, and TensorBoard.

The driver reads in the lines what its processes do. The lines outlive both.
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
"""File with the run's id at Weights & Biases, by which a resumed run continues the same one."""


class Log:
    """Writes events, and plots their numbers in TensorBoard.

    Args:
        run: folder of the run.
        config: the run's keys, which Weights & Biases shows.
        wandb: project of Weights & Biases to report to as well, "" for none.
    """

    def __init__(self, run: Path, config: dict[str, Any], wandb: str) -> None:
        self._run = run
        self._board = SummaryWriter(run / BOARD)
        self._wandb = _start_wandb(wandb, run, config)

    def write(self, event: str, step: int, **values: Any) -> None:
        """Write an event. Numbers among ``values`` are plotted as ``event/name``."""
        write_event(self._run, event, step, **values)
        numbers = {f"{event}/{k}": v for k, v in values.items() if isinstance(v, (int, float))}
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)
        if self._wandb is not None and numbers:
            self._wandb.log(numbers, step=step)

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        """Show an image (H, W, 3) uint8."""
        self._board.add_image(name, image, step, dataformats="HWC")
        self._board.flush()
        if self._wandb is not None:
            import wandb

            self._wandb.log({name: wandb.Image(image)}, step=step)

    def close(self) -> None:
        """Write what is buffered, and end the run at Weights & Biases."""
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def clear_log(run: Path) -> None:
    """Remove the log of a run that died before its first checkpoint. The next run in that folder
    is another run."""
    for name in (LOG, WANDB_ID):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / BOARD, ignore_errors=True)


def write_event(run: Path, event: str, step: int, **values: Any) -> None:
    """Append one event to the log. The line is written at once: several processes write to it."""
    with (run / LOG).open("a") as file:
        file.write(json.dumps({"event": event, "step": step} | values) + "\n")


class Tail:
    """Reads the events that are added to a log from now on.

    Args:
        run: folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / LOG
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def read(self) -> Iterator[dict[str, Any]]:
        """The events since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._offset += len(line)
                yield json.loads(line)


def check_wandb() -> None:
    """Check that Weights & Biases can be reported to; Ray's processes cannot ask for a key.

    Raises:
        UserError: it is not installed, or there is no API key.
    """
    try:
        import wandb
    except ImportError:
        raise UserError("job.wandb: not installed: uv pip install -e '.[wandb]'") from None
    if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.api.api_key:
        raise UserError("job.wandb: no API key here; run `wandb login`, or set WANDB_MODE=offline")


def _start_wandb(project: str, run: Path, config: dict[str, Any]) -> Any:
    if not project:
        return None
    import wandb  # only where it is asked for: an extra

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
