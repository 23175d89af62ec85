"""Runs jobs in worker processes and survives whatever happens in them."""

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


@dataclass(frozen=True)
class Limits:
    """What one model may cost. ``memory_bytes`` bounds a worker's address space, of which its
    libraries take about 1 GiB; ``max_bytes`` any one file."""

    seconds: float = 60.0
    memory_bytes: int = 4 << 30
    max_faces: int = 100_000
    max_bytes: int = 256 << 20


def run_jobs(jobs: Sequence[Job], limits: Limits) -> Iterator[tuple[Job, IngestResult]]:
    """Every job with its verdict, as they come, on all cores.

    A worker that dies is replaced and its job tried once more, for the death may have been
    none of its doing.
    """
    queue = deque((job, 1) for job in jobs)
    size = min(len(queue), len(os.sched_getaffinity(0)))
    crew = [_Worker(limits) for _ in range(size)]
    try:
        while True:
            for place, worker in enumerate(crew):
                if queue and worker.job is None:
                    if worker.dead:
                        worker = crew[place] = _Worker(limits)
                    worker.start(*queue.popleft())
            busy = [worker for worker in crew if worker.job is not None]
            if not busy:
                return
            rest = min(worker.deadline for worker in busy) - time.monotonic()
            wait([worker.connection for worker in busy], timeout=max(0.0, rest))
            for worker in busy:
                job, attempt, verdict = worker.job, worker.attempt, worker.collect()
                if job is None or verdict is None:
                    continue
                if verdict.reason == "crashed" and attempt == 1:
                    queue.append((job, 2))
                else:
                    yield job, verdict
    finally:
        for worker in crew:
            worker.kill()


class _Worker:
    """One process, and the job that it is at."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (as long-lived as the worker)
        self.connection, theirs = Pipe()
        arguments = (theirs.fileno(), limits.memory_bytes)
        root = str(Path(__file__).parents[3])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "datagen.catalog.ingest.worker", *map(str, arguments)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,
            # A thread pool for each of many processes only takes address space.
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        )
        theirs.close()
        self._ready = False
        self.dead = False
        self.job: Job | None = None
        self.attempt = 0
        self.deadline = 0.0

    def start(self, job: Job, attempt: int) -> None:
        """Give an idle worker something to do."""
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
                f"{self._limits.memory_bytes >> 20} MiB: {self._last_words()}"
            ) from None
        self.job, self.attempt = job, attempt
        self.deadline = time.monotonic() + self._limits.seconds

    def collect(self) -> IngestResult | None:
        """The verdict on the job, once there is one; a worker that is past its deadline, or
        gone, is done with."""
        verdict = None
        try:
            if self.connection.poll():
                verdict = msgspec.json.decode(self.connection.recv_bytes(), type=IngestResult)
        except (EOFError, OSError):
            self.kill()
            verdict = IngestResult(reason="crashed", detail=self._last_words())
        if verdict is None and time.monotonic() >= self.deadline:
            self.kill()
            verdict = IngestResult(
                reason="took too long", detail=f"limit {self._limits.seconds:g} s"
            )
        if verdict is not None:
            self.job = None
            self.dead = self.dead or verdict.reason == "out of memory"
        return verdict

    def kill(self) -> None:
        """End the process and all it may have started."""
        self.dead = True
        self.connection.close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _last_words(self) -> str:
        code = self._process.returncode
        ending = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        self._log.seek(0)
        lines = self._log.read()[-2000:].decode(errors="replace").strip().splitlines()
        return f"{ending}: {lines[-1]}"[:300] if lines else ending
