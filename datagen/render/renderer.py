"""Supervises one Blender worker process: starts it, sends it scenes, and replaces it when it
fails."""

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
"""Seconds that the worker may take to start."""
LOG_TAIL = 4000
"""Bytes of the worker's log that a failure reports."""


@dataclass(frozen=True)
class RenderConfig:
    """Quality and size of renderings. Every value changes the pixels."""

    samples: Annotated[int, Meta(ge=1, le=65_536)] = 32
    """Cycles samples per pixel of the image."""
    view_samples: Annotated[int, Meta(ge=1, le=65_536)] = 24
    """Cycles samples per pixel of an identity view."""
    identity_size: Annotated[int, Meta(ge=16, le=4096)] = 128
    """Edge of an identity view in pixels."""
    denoise: bool = True
    """Denoise the image and the identity views in Cycles."""


@dataclass(frozen=True)
class WorkerConfig:
    """How a render worker runs. These values are not part of the dataset's digest."""

    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Render threads per worker."""
    gpu: bool = False
    """Render on the GPUs that Cycles finds."""
    timeout: Annotated[float, Meta(ge=1, le=1_000_000)] = 300.0
    """Time limit per scene in seconds, without the start of the worker."""
    recycle_after: Annotated[int, Meta(ge=1, le=1_000_000)] = 200
    """Number of scenes after which a worker is replaced."""
    max_rss_gb: Annotated[float, Meta(ge=0.5, le=10_000)] = 6.0
    """Resident memory in GiB above which a worker is replaced; Blender leaks memory."""


class RenderFailed(Exception):
    """The worker did not render a scene. ``reason`` is a stable phrase to count by: "worker
    crashed", "timed out", "worker error" or "worker did not start"."""

    def __init__(self, reason: str, message: str, log_tail: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason, self.message, self.log_tail = reason, message, log_tail


@cache
def blender_python() -> str:
    """Path of the Python interpreter of the worker's own environment, which is created if absent.

    The worker is started with this interpreter, not with ``uv run``, so that the process we kill is
    the one that renders. ``uv sync`` removes and reinstalls bpy every time (the metadata in the
    wheel says cp39), even while workers use it: so it runs only once per list of dependencies.

    Raises:
        UserError: the environment cannot be created.
    """
    header = WORKER.read_text().partition('"""')[0]
    stamp = f"synced-{zlib.crc32(header.encode()):08x}"
    with WORKER.open() as script:
        fcntl.flock(script, fcntl.LOCK_EX)
        if not (Path(_uv("python", "find")).parents[1] / stamp).exists():
            _uv("sync", "--quiet")
            (Path(_uv("python", "find")).parents[1] / stamp).touch()
        return _uv("python", "find")


def _uv(*arguments: str) -> str:
    """The output of a uv command for the worker script. Raises UserError."""
    command = [sys.executable, "-m", "uv", *arguments, "--script", str(WORKER)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "no reason given"
        raise UserError(f"Blender's environment cannot be made: `{' '.join(command)}`: {reason}")
    return done.stdout.strip()


class Renderer:
    """Renders scenes with one long-lived worker process, which starts at the first scene. It ends
    with ``close``, and with this process."""

    def __init__(self, config: RenderConfig, worker: WorkerConfig) -> None:
        self._config, self._worker = config, worker
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="sigma-render-")
        self._log = Path(self._scratch.name) / "log"
        self._scenes = 0

    def render(self, spec: SceneSpec, meshes: Sequence[Path], environment_mesh: Path) -> bytes:
        """Renders a scene.

        Args:
            spec: the scene.
            meshes: one GLB per subject, in order.
            environment_mesh: GLB of the environment.

        Returns:
            The worker's ``.npz`` file, to be decoded by ``Rendering.from_npz``.

        Raises:
            RenderFailed: the scene was not rendered. The next call starts another worker if this
                one has ended.
        """
        if self._process is None or self._needs_replacement():
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
            raise self._failure("worker crashed", "it ended before it received the scene") from None
        answer = self._receive(self._worker.timeout, spec.key)
        if "error" in answer:
            raise RenderFailed("worker error", answer["error"], self._log_tail())
        self._scenes += 1
        return out.read_bytes()

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while there is no worker."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """Kills the worker and its process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            self._channel.close()

    def start(self) -> None:
        """Starts a new worker and waits until it is ready. ``render`` does so where needed.

        Raises:
            RenderFailed: the worker did not start.
        """
        self.close()
        self._channel, worker_end = socket.socketpair()
        self._lines = self._channel.makefile("rb")
        # A killed Blender leaves its temporary folders behind; here they are deleted with ours.
        environment = os.environ | {"TMPDIR": self._scratch.name}
        if not self._worker.gpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        settings = json.dumps(asdict(self._config) | asdict(self._worker))
        with worker_end, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [blender_python(), WORKER, str(os.getpid()), str(worker_end.fileno()), settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._scratch.name,
                env=environment,
                pass_fds=[worker_end.fileno()],
                start_new_session=True,
            )
        self._scenes = 0
        try:
            self._receive(START_TIMEOUT, "start-up")
        except RenderFailed as error:
            raise RenderFailed("worker did not start", error.message, error.log_tail) from None

    def _receive(self, timeout: float, what: str) -> dict[str, Any]:
        """The next message of the worker. Raises RenderFailed where none comes. ``what``: what the
        worker is doing."""
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
        """Ends the worker and returns the error to raise."""
        self.close()
        return RenderFailed(reason, message, self._log_tail())

    def _log_tail(self) -> str:
        return self._log.read_bytes()[-LOG_TAIL:].decode(errors="replace")

    def _needs_replacement(self) -> bool:
        """Whether the worker has ended, or has reached its number of scenes or its memory limit."""
        assert self._process is not None
        try:
            rss = psutil.Process(self._process.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return True
        return self._scenes >= self._worker.recycle_after or rss > self._worker.max_rss_gb * 2**30
