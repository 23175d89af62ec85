"""Small whole jobs, run as a user runs them: the real command, real Ray, real Blender."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from filelock import FileLock

TINY: dict[str, Any] = {
    "name": "tiny",
    "catalog": {"provider": "procedural", "assets": 30},
    "plan": {"seed": 5, "train": 4, "val": 1, "test": 1, "min_subjects": 1, "max_subjects": 3},
    "layout": {"width": 80, "height": 80},
    "render": {"samples": 4, "view_samples": 2, "identity_size": 48},
}


@dataclass
class Running:
    """A job at work, and every process that it has been seen to start."""

    driver: psutil.Popen
    family: set[psutil.Process] = field(default_factory=set)

    def look(self) -> set[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            self.family.update(self.driver.children(recursive=True))
        return self.family

    def named(self, word: str) -> list[psutil.Process]:
        """The living processes of the job that run ``word``: a program or a script."""
        found = []
        for process in self.look():
            with suppress(psutil.NoSuchProcess):
                if any(word in part for part in process.cmdline()[:2]):
                    found.append(process)
        return found

    def blenders(self) -> list[psutil.Process]:
        return self.named("render/worker.py")

    def wait_for(self, what: Callable[[], Any], timeout: float = 400) -> Any:
        """The first true answer of ``what``; the job must not end before."""
        end = time.monotonic() + timeout
        while not (answer := what()):
            assert self.driver.poll() is None, f"ended early: {self.driver.communicate()[0]}"
            assert time.monotonic() < end, f"waited {timeout} s"
            time.sleep(0.02)
        return answer

    def result(self) -> tuple[int, str]:
        """Exit code and output, once it has ended."""
        text, _ = self.driver.communicate(timeout=600)
        return self.driver.returncode, text


def has_ended(process: psutil.Process) -> bool:
    """Zombies have, too: whoever inherited them is slow to ask how they did."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def is_rays_own(process: psutil.Process) -> bool:
    """Whether this is one of Ray's agents, by script or, once it is up, by title, or a worker that
    was not yet given anything to do: they take their time to notice that the raylet is gone, and
    hold nothing of ours."""
    with suppress(psutil.NoSuchProcess):
        words = " ".join(process.cmdline()[:3]).lower()
        return "agent" in words or "default_worker" in words
    return False


@dataclass(frozen=True)
class Job:
    """``sigma dataset`` for one output. ``cache`` holds what every job may share."""

    preset: Path
    cache: Path
    out: Path

    def command(self, *more: str) -> list[str]:
        sigma = str(Path(sys.executable).with_name("sigma"))
        places = ["--out", str(self.out), "--cache", str(self.cache)]
        return [sigma, "dataset", "--preset", str(self.preset), *places, *more]

    def run(self, *more: str, **env: str) -> tuple[int, str]:
        """Exit code and output of an undisturbed run."""
        with self.start(*more, **env) as running:
            return running.result()

    @contextmanager
    def start(self, *more: str, **env: str) -> Iterator[Running]:
        """The job at work. None of its processes may be there when it is not."""
        driver = psutil.Popen(
            self.command(*more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | env,
        )
        running = Running(driver)
        try:
            yield running
        finally:
            running.look()
            if driver.poll() is None:
                driver.kill()
                driver.communicate()
            _, left = psutil.wait_procs(running.family, timeout=10)
            stuck = [
                process for process in left if not (has_ended(process) or is_rays_own(process))
            ]
            for process in left:
                process.kill()
        assert not stuck

    def scenes(self) -> dict[str, int]:
        """Finished scenes and when they were written, in nanoseconds."""
        return {path.stem: path.stat().st_mtime_ns for path in (self.out / "scenes").glob("*.tar")}

    def shards(self) -> dict[str, bytes]:
        """What was packed, by file name."""
        return {path.name: path.read_bytes() for path in sorted((self.out / "shards").iterdir())}


@pytest.fixture(scope="session")
def job_of() -> type[Job]:
    """Makes the job of a preset, a cache and an output."""
    return Job


@pytest.fixture(scope="session")
def tiny(asset_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Job]:
    """Makes the job of the tiny preset for an output of the caller's."""
    preset = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    preset.write_text(yaml.safe_dump(TINY))
    return lambda out: Job(preset, asset_cache, out)


@pytest.fixture(scope="session")
def finished(
    tiny: Callable[[Path], Job], shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Job:
    """A tiny job that ran undisturbed, made once for all workers; each has a copy of its output.
    The output is not to be changed."""
    original = tiny(shared / "finished")
    with FileLock(shared / "finished.lock"):
        if not (original.out / "shards" / "manifest.json").exists():
            code, text = original.run()
            assert code == 0, text
    out = tmp_path_factory.mktemp("finished") / "out"
    shutil.copytree(original.out, out, copy_function=shutil.copy2)
    return replace(original, out=out)
