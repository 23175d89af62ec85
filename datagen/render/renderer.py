"""Supervises one Blender worker: starts it, feeds it scenes, times it, replaces it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import psutil
from msgspec import Meta

from datagen.errors import UserError
from datagen.scene import SceneSpec

WORKER = Path(__file__).with_name("worker.py")
START_TIMEOUT = 120.0
LOG_TAIL = 4000


@dataclass(frozen=True)
class RenderConfig:
    """What decides the pixels."""

    samples: Annotated[int, Meta(ge=1, le=65_536)] = 32
    """Cycles samples a pixel of the image."""
    view_samples: Annotated[int, Meta(ge=1, le=65_536)] = 24
    """Cycles samples a pixel of an identity view."""
    identity_size: Annotated[int, Meta(ge=16, le=4096)] = 128
    """Edge of a block, pixels."""
    denoise: bool = True
    """Let Cycles denoise what it rendered."""


@dataclass(frozen=True)
class WorkerConfig:
    """What decides only how the work is done."""

    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Render threads a worker."""
    gpu: bool = False
    """Let Cycles use the GPUs it sees."""
    timeout: Annotated[float, Meta(ge=1, le=1_000_000)] = 300.0
    """Seconds that a scene may take, start-up apart."""
    recycle_after: Annotated[int, Meta(ge=1, le=1_000_000)] = 200
    """Scenes until the worker is replaced."""
    max_rss_gb: Annotated[float, Meta(ge=0.5, le=10_000)] = 6.0
    """Resident memory at which the worker is replaced (Blender leaks)."""


class RenderFailed(Exception):
    """A scene that the worker did not deliver. ``reason`` is a stable phrase: "worker crashed",
    "timed out", "worker error", "worker did not start"."""

    def __init__(self, reason: str, message: str, log_tail: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason, self.message, self.log_tail = reason, message, log_tail


@cache
def blender_python() -> str:
    """The interpreter of the worker's own environment, which is made when it is absent.

    Started directly, not by ``uv run``, so that the process we kill is the one that renders.
    ``uv sync`` takes bpy out and puts it in again every time (the wheel calls itself cp39
    inside), under the feet of running workers: so it runs once for a list of dependencies.
    Raises UserError."""
    header = WORKER.read_text().partition('"""')[0]
    stamp = f"synced-{zlib.crc32(header.encode()):08x}"
    with WORKER.open() as script:
        fcntl.flock(script, fcntl.LOCK_EX)
        if not (Path(_uv("python", "find")).parents[1] / stamp).exists():
            _uv("sync", "--quiet")
            (Path(_uv("python", "find")).parents[1] / stamp).touch()
        return _uv("python", "find")


def _uv(*words: str) -> str:
    command = [sys.executable, "-m", "uv", *words, "--script", str(WORKER)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "no reason given"
        raise UserError(f"Blender's environment cannot be made: `{' '.join(command)}`: {reason}")
    return done.stdout.strip()


class Renderer:
    """One long-lived worker process, started on the first scene. ``close`` ends it; so does
    the end of this process."""

    def __init__(self, config: RenderConfig, worker: WorkerConfig) -> None:
        self._config, self._worker = config, worker
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="sigma-render-")
        self._log = Path(self._scratch.name) / "log"
        self._scenes = 0

    def render(self, spec: SceneSpec, meshes: Sequence[Path], environment_mesh: Path) -> bytes:
        """Render ``spec`` and return the worker's ``.npz`` file (``Rendering.from_npz``).

        Args:
            spec: the scene.
            meshes: one GLB per subject, in order.
            environment_mesh: GLB of the environment.

        Raises:
            RenderFailed: the scene was not delivered; the next call starts a fresh worker.
        """
        if self._process is None or self._worn_out():
            self.start()
        out = Path(self._scratch.name) / "render.npz"
        request = {
            "spec": msgspec.to_builtins(spec),
            "meshes": [str(path) for path in meshes],
            "environment_mesh": str(environment_mesh),
            "out": str(out),
        }
        self._channel.settimeout(None)
        try:
            self._channel.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            raise self._failure("worker crashed", "it was gone before the scene came") from None
        answer = self._receive(self._worker.timeout, spec.key)
        if "error" in answer:
            raise RenderFailed("worker error", answer["error"], self._log_tail())
        self._scenes += 1
        return out.read_bytes()

    @property
    def pid(self) -> int | None:
        """The worker's process id, None while there is none."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """Ends the worker with its whole process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            self._channel.close()

    def start(self) -> None:
        """A fresh worker, ready for scenes; ``render`` calls this where it needs one. Raises
        RenderFailed."""
        self.close()
        self._channel, far_end = socket.socketpair()
        self._lines = self._channel.makefile("rb")
        # A killed Blender leaves its temporary folders; here they go with ours.
        environment = os.environ | {"TMPDIR": self._scratch.name}
        if not self._worker.gpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        settings = json.dumps(asdict(self._config) | asdict(self._worker))
        with far_end, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [blender_python(), WORKER, str(os.getpid()), str(far_end.fileno()), settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._scratch.name,
                env=environment,
                pass_fds=[far_end.fileno()],
                start_new_session=True,
            )
        self._scenes = 0
        try:
            self._receive(START_TIMEOUT, "start-up")
        except RenderFailed as error:
            raise RenderFailed("worker did not start", error.message, error.log_tail) from None

    def _receive(self, timeout: float, what: str) -> dict[str, Any]:
        """The next line of the worker, or its end as a RenderFailed."""
        self._channel.settimeout(timeout)
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise self._failure("timed out", f"{what} took over {timeout:g} s") from None
        except OSError as error:
            raise self._failure("worker crashed", str(error)) from None
        if not line.endswith(b"\n"):
            raise self._failure("worker crashed", f"it ended during {what}")
        return cast(dict[str, Any], json.loads(line))

    def _failure(self, reason: str, message: str) -> RenderFailed:
        self.close()
        return RenderFailed(reason, message, self._log_tail())

    def _log_tail(self) -> str:
        return self._log.read_bytes()[-LOG_TAIL:].decode(errors="replace")

    def _worn_out(self) -> bool:
        assert self._process is not None
        try:
            rss = psutil.Process(self._process.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return True
        return self._scenes >= self._worker.recycle_after or rss > self._worker.max_rss_gb * 2**30
