"""Runs ingest jobs in worker processes; replaces workers that crash, hang or run out of memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path

import msgspec

from datagen.catalog.ingest.worker import IngestResult, Job
from datagen.errors import UserError

STARTUP_SECONDS = 120.0
"""Time limit for a worker to import its libraries."""
HANG_FACTOR = 10.0
"""A process that hangs uses no processor. It is ended after this many times the limit by the clock,
which a busy machine does not reach."""


@dataclass(frozen=True)
class Limits:
    """What the ingest of one model may cost. ``seconds``: time of a processor, so that a busy
    machine rejects the same models as an idle one. ``memory_bytes``: address space of
    its worker, of which the libraries take about 1 GiB. ``max_faces``: triangles of the result, to
    which a model with more is decimated; ``max_source_faces``: triangles of the file, above which
    it is rejected. ``max_bytes``: size of any one file."""

    seconds: float = 60.0
    memory_bytes: int = 4 << 30
    max_faces: int = 100_000
    max_source_faces: int = 2_000_000
    max_bytes: int = 256 << 20


def run_jobs(jobs: Sequence[Job], limits: Limits) -> Iterator[tuple[Job, IngestResult]]:
    """Runs the jobs on all cores.

    A worker that dies is replaced, and its job is tried once more, because the cause may have been
    outside the job.

    Yields:
        Each job with its result, in the order in which they finish.

    Raises:
        UserError: no worker can start within the limits.
    """
    queue = deque((job, 1) for job in jobs)
    size = min(len(queue), len(os.sched_getaffinity(0)))
    workers = [_Worker(limits) for _ in range(size)]
    try:
        while True:
            for slot, worker in enumerate(workers):
                if queue and worker.job is None:
                    if worker.dead:
                        worker = workers[slot] = _Worker(limits)
                    worker.start(*queue.popleft())
            busy = [worker for worker in workers if worker.job is not None]
            if not busy:
                return
            remaining = min(worker.deadline for worker in busy) - time.monotonic()
            wait([worker.connection for worker in busy], timeout=max(0.0, remaining))
            for worker in busy:
                job, attempt, result = worker.job, worker.attempt, worker.collect()
                if job is None or result is None:
                    continue
                if result.reason == "crashed" and attempt == 1:
                    queue.append((job, 2))
                else:
                    yield job, result
    finally:
        for worker in workers:
            worker.kill()


class _Worker:
    """A worker process, and the job that it is running."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        self.connection, worker_end = Pipe()
        arguments = (worker_end.fileno(), limits.memory_bytes)
        root = str(Path(__file__).parents[3])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "datagen.catalog.ingest.worker", *map(str, arguments)],
            pass_fds=[worker_end.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,
            # One process per core: thread pools would only take address space.
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        )
        worker_end.close()
        self._ready = False
        self.dead = False
        self.job: Job | None = None
        self.attempt = 0
        self.deadline = 0.0

    def start(self, job: Job, attempt: int) -> None:
        """Gives a job to an idle worker. Raises UserError where the process does not start."""
        try:
            if not self._ready:
                if not self.connection.poll(STARTUP_SECONDS):
                    raise EOFError
                self.connection.recv_bytes()
                self._ready = True
            self.connection.send_bytes(msgspec.json.encode(job))
        except (EOFError, OSError):
            self.kill()
            raise UserError(
                f"catalog: the process that reads models does not start within "
                f"{self._limits.memory_bytes >> 20} MiB: {self._exit_message()}"
            ) from None
        self.job, self.attempt = job, attempt
        self.deadline = time.monotonic() + HANG_FACTOR * self._limits.seconds

    def collect(self) -> IngestResult | None:
        """The result of the job, or None while it is running. A worker that has ended, or is past
        its deadline, is killed and its job has failed."""
        result = None
        try:
            if self.connection.poll():
                result = msgspec.json.decode(self.connection.recv_bytes(), type=IngestResult)
        except (EOFError, OSError):
            self.kill()
            result = IngestResult(reason="crashed", detail=self._exit_message())
        hangs = result is None and time.monotonic() >= self.deadline
        if hangs or (self.dead and self._process.returncode == -signal.SIGPROF):
            self.kill()
            limit = f"limit {self._limits.seconds:g} s of a core"
            result = IngestResult(reason="took too long", detail=limit)
        if result is not None:
            self.job = None
            self.dead = self.dead or result.reason == "out of memory"
        return result

    def kill(self) -> None:
        """Kills the process and all processes that it has started."""
        self.dead = True
        self.connection.close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _exit_message(self) -> str:
        code = self._process.returncode
        ending = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        self._log.seek(0)
        lines = self._log.read()[-2000:].decode(errors="replace").strip().splitlines()
        return f"{ending}: {lines[-1]}"[:300] if lines else ending
