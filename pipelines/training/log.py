"""The log of a run: one line of JSON per event, and TensorBoard.

The driver reads in the lines what its processes do. The lines outlive both. A run that is resumed
takes steps again that it had taken after its last checkpoint; they are removed from the log first.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from datagen.atomic import write_file
from datagen.errors import UserError

LOG, BOARD, LOG_LOCK = "log.jsonl", "tensorboard", ".log-lock"
WANDB_ID = "wandb-id"
"""File with the run's id at Weights & Biases, by which a resumed run continues the same one."""


class Log:
    """Writes events, and plots their numbers in TensorBoard.

    What was logged after step ``start`` is removed, from TensorBoard, too. Weights & Biases cannot
    remove it: of a step that it is told twice, it keeps the first values.

    Args:
        run: folder of the run.
        config: the run's keys, which Weights & Biases shows.
        wandb: project of Weights & Biases to report to as well, "" for none.
        start: steps that were taken before.

    Attributes:
        removed_lines: number of lines that were removed from the log.
    """

    def __init__(self, run: Path, config: dict[str, Any], wandb: str, start: int = 0) -> None:
        self._run = run
        self.removed_lines = rewind_log(run, start)
        self._board = SummaryWriter(run / BOARD, purge_step=start + 1)
        self._wandb = _start_wandb(wandb, run, config)

    def write(self, event: str, step: int, **values: Any) -> None:
        """Write an event. Numbers among ``values`` are plotted as ``event/name``."""
        write_event(self._run, event, step, **values)
        numbers = {f"{event}/{k}": v for k, v in values.items() if isinstance(v, (int, float))}
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()  # a process that is killed later does not lose them
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
    for name in (LOG, LOG_LOCK, WANDB_ID):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / BOARD, ignore_errors=True)


def write_event(run: Path, event: str, step: int, **values: Any) -> None:
    """Append one event to the log. The line is written at once: several processes write to it."""
    with _locked(run), (run / LOG).open("a") as file:
        file.write(json.dumps({"event": event, "step": step} | values) + "\n")


def has_event(run: Path, event: str, step: int) -> bool:
    """Whether the log has this event of this step."""
    if not (run / LOG).exists():
        return False
    with (run / LOG).open("rb") as file:
        return any((e["event"], e["step"]) == (event, step) for e in _events(file))


def rewind_log(run: Path, step: int) -> int:
    """Remove the events after a step from the log: a resumed run writes them again. A line that a
    killed process has not completed is removed, too.

    Args:
        run: folder of the run.
        step: steps that the run has taken when it continues.

    Returns:
        The number of lines that were removed.
    """
    path = run / LOG
    with _locked(run):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if _until(line, step)]
        if len(kept) < len(lines):
            write_file(path, b"".join(kept))
    return len(lines) - len(kept)


def _until(line: bytes, step: int) -> bool:
    """Whether a line is a complete event that happened before or at ``step``."""
    try:
        return line.endswith(b"\n") and bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Keep other processes from the log: a line that is written while ``rewind_log`` replaces the
    file would be lost with the old one."""
    with (run / LOG_LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Tail:
    """Reads the events that are added to a log from now on, also after it was rewound.

    Args:
        run: folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / LOG
        self._file: BinaryIO | None = None
        if self._path.exists():
            self._file = self._path.open("rb")
            self._file.seek(0, os.SEEK_END)

    def read(self) -> Iterator[dict[str, Any]]:
        """The events since the last call."""
        if self._file is None:
            if not self._path.exists():
                return
            self._file = self._path.open("rb")
        yield from _events(self._file)
        if not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
            self._file = _reopened(self._path, self._file)
            yield from _events(self._file)


def _events(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The complete events from the file's position on."""
    for line in iter(file.readline, b""):
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)  # still being written
            break
        yield json.loads(line)


def _reopened(path: Path, before: BinaryIO) -> BinaryIO:
    """The log that has replaced the log ``before``, behind the lines that both have."""
    file = path.open("rb")
    before.seek(0)
    for line in iter(file.readline, b""):
        if line != before.readline():
            file.seek(-len(line), os.SEEK_CUR)
            break
    before.close()
    return file


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
