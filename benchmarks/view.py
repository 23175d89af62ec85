"""Measure the viewer on a large dataset: start-up, queries, scrolling, load and memory.

    python benchmarks/view.py out/mini/shards --scenes 27000

Packs copies of the samples of a real dataset, with new keys and with new numbers in their records,
until there are --scenes of them. The packed copies stay in --work for the next run; a scene of
256 px takes 0.1 MB. Serves them by `sigma view` and opens the page in Debian's Chromium. The
operating system's page cache is warm.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import psutil
from playwright.sync_api import Browser, expect, sync_playwright

from datagen.shards import codec, tar
from datagen.shards.pack import PackConfig, pack
from datagen.shards.reader import ShardSet, open_shards

CLIENTS, REQUESTS = 8, 2_000
QUERIES = ("", "q=red", "q=chair+left&order=occlusion", "subjects=3&split=train", "occlusion=none")
PARTS = ("", "/thumbnail.jpg", "/image.jpg", "/depth.raw")
CHROMIUM = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
# Scrolls with every frame and returns the time of each frame in milliseconds.
SCROLL = """() => new Promise((done) => {
  const grid = document.querySelector("#grid"), gaps = [];
  let last;
  const step = (now) => {
    if (last !== undefined) gaps.push(now - last);
    last = now;
    grid.scrollTop += 300;
    gaps.length < 200 ? requestAnimationFrame(step) : done(gaps);
  };
  requestAnimationFrame(step);
})"""


@dataclass(frozen=True)
class Copies:
    """Stands in for a store of committed scenes: contains copies of a few samples."""

    shards: ShardSet
    scenes: int
    root: str = "copies"

    def plan(self) -> list[tuple[str, str, int]]:
        keys = self.shards.keys()
        records = [self.shards.record(key) for key in keys]
        chosen = (records[i % len(records)] for i in range(self.scenes))
        return [(f"{i:06d}", one.split, one.n_subjects) for i, one in enumerate(chosen)]

    def committed(self) -> set[str]:
        return {f"{i:06d}" for i in range(self.scenes)}

    def read(self, key: str) -> bytes:
        keys = self.shards.keys()
        original = keys[int(key) % len(keys)]
        members = self.shards.members(original)
        rng = np.random.default_rng(int(key))
        record = codec.decode_record(members["json"], original)
        subjects = tuple(
            replace(one, visibility=rng.uniform(0.3, 1), truncation=rng.uniform(0, 0.5))
            for one in record.subjects
        )
        members["json"] = codec.encode_record(replace(record, key=key, subjects=subjects))
        return b"".join(tar.member(key, name, data) for name, data in members.items())


def pack_copies(source: str, scenes: int, work: Path) -> Path:
    """The folder of a packed dataset of ``scenes`` scenes, copies of those of ``source``."""
    shards = work / f"shards-{scenes}"
    if not (shards / "manifest.json").exists():
        print(
            f"packing {scenes} scenes into {shards}, kept for the next run",
            file=sys.stderr,
        )
        copies = Copies(open_shards(source), scenes)
        pack(copies, copies.plan(), PackConfig(), str(shards), name="large", config_digest="0")
    return shards


@dataclass(frozen=True)
class Server:
    """A running `sigma view`. ``began``: when the command was started, by `time.perf_counter`."""

    address: str
    process: psutil.Process
    began: float

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path) as response:
            return response.read()

    def seconds(self, path: str) -> float:
        """Duration of one request."""
        start = time.perf_counter()
        self.get(path)
        return time.perf_counter() - start

    def megabytes(self) -> float:
        return self.process.memory_info().rss / 2**20


@contextmanager
def served(shards: Path) -> Iterator[Server]:
    began = time.perf_counter()
    sigma = Path(sys.executable).with_name("sigma")
    # Python writes its bytecode cache, as it does for most users.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [sigma, "view", shards, "--port", "0"], stdout=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout is not None
    try:
        yield Server(process.stdout.readline().strip(), psutil.Process(process.pid), began)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def first_pictures(browser: Browser, shards: Path) -> tuple[float, float, float]:
    """Start-up times of the viewer.

    Returns:
        Seconds from the start of the command until it prints its URL, until a thumbnail is
        received, and until an already running browser has drawn the first image of the grid.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    with served(shards) as server:
        listening = time.perf_counter() - server.began
        page.goto(server.address)
        expect(page.locator(".cell img").first).not_to_have_js_property("naturalWidth", 0)
        drawn = time.perf_counter() - server.began
    page.close()
    with served(shards) as server:
        server.get("api/scenes/0/thumbnail.jpg")
        fetched = time.perf_counter() - server.began
    return listening, fetched, drawn


def load(server: Server, scenes: int) -> list[float]:
    """Seconds of each of ``REQUESTS`` requests, sent by ``CLIENTS`` clients at the same time."""

    def client(number: int) -> list[float]:
        rng = np.random.default_rng(number)
        return [
            server.seconds(f"api/scenes/{rng.integers(scenes)}{PARTS[i % len(PARTS)]}")
            for i in range(REQUESTS // CLIENTS)
        ]

    with ThreadPoolExecutor(CLIENTS) as clients:
        return [taken for each in clients.map(client, range(CLIENTS)) for taken in each]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shards", help="the packed dataset to copy")
    parser.add_argument("--scenes", type=int, default=27_000, help="number of copies")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; the median counts")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sigma-view")
    args = parser.parse_args()
    shards = pack_copies(args.shards, args.scenes, args.work)
    print(f"python {shlex.join(sys.argv)}")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=list(CHROMIUM))
        rounds = [first_pictures(browser, shards) for _ in range(args.rounds + 1)][1:]
        listening, fetched, drawn = (median(times) for times in zip(*rounds, strict=True))
        print(f"address after {listening:.2f} s, a thumbnail after {fetched:.2f} s, ", end="")
        print(f"the first picture in the browser after {drawn:.2f} s")
        with served(shards) as server:
            print(f"memory at the start {server.megabytes():.0f} MB")
            for query in QUERIES:
                taken = median(server.seconds(f"api/scenes?{query}") for _ in range(args.rounds))
                print(f"  ?{query or '(all)':32} {1e3 * taken:5.0f} ms")
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            page.goto(server.address)
            expect(page.locator(".cell img").first).to_be_visible()
            gaps = page.evaluate(SCROLL)
            print(f"scrolling 60,000 px: median frame {median(gaps):.1f} ms, ", end="")
            print(f"95% within {quantiles(gaps, n=20)[-1]:.1f} ms")
            page.close()
            load(server, args.scenes)
            before = server.megabytes()
            times = load(server, args.scenes)
            print(
                f"{REQUESTS} requests of {CLIENTS} clients: median {1e3 * median(times):.0f} ms, "
                f"p95 {1e3 * quantiles(times, n=20)[-1]:.0f} ms; memory {before:.0f} MB before, "
                f"{server.megabytes():.0f} MB after"
            )
        browser.close()


if __name__ == "__main__":
    main()
