"""The surroundings of a job: a lock on its output, and Ray."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from fsspec.implementations.local import LocalFileSystem

from datagen.errors import UserError
from datagen.shards.files import filesystem

LOCK = ".lock"


@contextmanager
def exclusive_lock(out: str, lock: str = LOCK, patience: float = 0.0) -> Iterator[None]:
    """Keep other jobs away from a local output while the context lasts.

    The lock ends with the process, however it ends, and with the processes that it has forked.

    Args:
        out: a folder, made if absent, or an fsspec URL. Other than local outputs are not locked.
        lock: name of the lock file.
        patience: seconds to wait until another job ends.

    Raises:
        UserError: another job still has the lock.
    """
    fs, root = filesystem(out)
    if not isinstance(fs, LocalFileSystem):
        yield
        return
    os.makedirs(root, exist_ok=True)
    end = time.monotonic() + patience
    with open(f"{root}/{lock}", "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise UserError(
                        f"{out}: another job is at work there; wait for it or end it"
                    ) from None
                time.sleep(0.5)
        yield


@contextmanager
def ray_session(address: str, cache: Path, *, ignore_sigterm: bool = False) -> Iterator[bool]:
    """Run Ray, without its console output, while the context lasts. A Ray that runs already is used
    as it is.

    Args:
        address: a Ray cluster; empty for the one in RAY_ADDRESS, or else for a local one.
        cache: folder of Ray's log.
        ignore_sigterm: let Ray's processes ignore SIGTERM, which `timeout`, Slurm and systemd send
            to all processes of a job, so that their work can be completed. Ray, which ends its
            processes by SIGTERM, then takes 4 s longer to stop.

    Yields:
        Whether Ray was started for this job, on this machine.

    Raises:
        UserError: Ray does not start.
    """
    if ray.is_initialized():
        yield False
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS", "")
    # Rows of a few megabytes pass through; the default would claim a third of the memory.
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 1 << 30}
    log = cache / "ray.log"
    with _native_stderr(log):
        on_termination = signal.getsignal(signal.SIGTERM)
        # Processes that are started here inherit the mask.
        blocked = {signal.SIGTERM} if ignore_sigterm else set[signal.Signals]()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else local),
            )
        except SystemExit:  # Ray's handler of SIGTERM raises it.
            raise KeyboardInterrupt from None
        except Exception as error:  # Ray has no class of its own for this.
            raise UserError(
                f"Ray does not start: {error}; run the same command to try again (Ray's log: {log})"
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, on_termination)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield not address
        # Only after success. After an error threads of Ray may still work, and when one of them
        # finds the raylet gone, Ray's core ends the whole process with status 1 and no message.
        # Without the shutdown, all that was started here ends with this process.
        ray.shutdown()


@contextmanager
def _native_stderr(log: Path) -> Iterator[None]:
    """Redirect file descriptor 2 to a file, but not ``sys.stderr``: Ray's C++ core writes an error
    message about every actor that may restart, though nothing is wrong."""
    log.parent.mkdir(parents=True, exist_ok=True)
    python, terminal = sys.stderr, os.dup(2)
    with log.open("ab") as file, open(terminal, "w", buffering=1) as sys.stderr:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            sys.stderr = python
