"""What a job needs around it: its output for itself, and Ray."""

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
    """Keep a second job off a local output. Falls with its process, however that ends, and with
    those that it has forked. ``patience``: seconds to wait for another to end. Raises
    UserError."""
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
    """Ray, quiet, for as long as the job runs; one that is up already is used as it is. Yields
    whether it was started for this job, on this machine. ``ignore_sigterm``: its processes are deaf to
    SIGTERM, which `timeout`, Slurm and systemd send to all of a job, so that what they do can be
    brought to an end; Ray, which ends them by it, then takes 4 s more."""
    if ray.is_initialized():
        yield False
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS", "")
    # A scene is a few megabytes on its way; the default would claim a third of the memory.
    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 1 << 30}
    log = cache / "ray.log"
    with _native_stderr(log):
        on_termination = signal.getsignal(signal.SIGTERM)
        # What is started here inherits the mask.
        kept = {signal.SIGTERM} if ignore_sigterm else set[signal.Signals]()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, kept)
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else here),
            )
        except SystemExit:  # Its answer to SIGTERM, from here on.
            raise KeyboardInterrupt from None
        except Exception as error:  # Ray has no class of its own for this.
            raise UserError(
                f"Ray does not start: {error}; run the same command to try again "
                f"(Ray's own words: {log})"
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, on_termination)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield not address
        # After a good end alone. Else threads of Ray may be at work, and its core ends the whole
        # process, without a word and with status 1, when one of them finds the raylet gone. Left
        # alone, all that was started here ends with this process.
        ray.shutdown()


@contextmanager
def _native_stderr(log: Path) -> Iterator[None]:
    """Send file descriptor 2 to a file and leave ``sys.stderr`` where it is: Ray's C++ core
    writes errors that are none, about every actor that may restart."""
    log.parent.mkdir(parents=True, exist_ok=True)
    python, terminal = sys.stderr, os.dup(2)
    with log.open("ab") as file, open(terminal, "w", buffering=1) as sys.stderr:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            sys.stderr = python
