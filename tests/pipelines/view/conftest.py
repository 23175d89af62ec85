"""Fixtures: real shards, served by the real `sigma view`, opened in real Chromium."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from datagen.scene import Prompt, Sample
from datagen.shards import codec
from datagen.shards.pack import PackConfig, pack
from datagen.shards.reader import ShardSet, open_shards
from datagen.shards.store import Store

SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=alert(1)>"

OPTIONS = (
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A running ``sigma view``."""

    path: Path | str
    address: str
    process: subprocess.Popen[str]

    def request(
        self, path: str, method: str = "GET", body: str | bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Send a request; the path is not normalised. Returns status, body and headers."""
        port = urlsplit(self.address).port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, data, {k.lower(): v for k, v in response.getheaders()}

    def json(self, path: str) -> Any:
        status, data, _ = self.request(path)
        assert status == 200, data
        return json.loads(data)

    @property
    def shards(self) -> ShardSet:
        return open_shards(str(self.path))


@contextmanager
def serve(path: Path | str, *options: str) -> Iterator[Served]:
    """Run ``sigma view`` on a dataset until the block ends; it must end without an error."""
    sigma = str(Path(sys.executable).with_name("sigma"))
    process = subprocess.Popen(
        [sigma, "view", str(path), "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        yield Served(path, process.stdout.readline().strip(), process)
        assert process.poll() is None, "the server has stopped"
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=30)
        process.stdout.close()
    assert code == 0


@pytest.fixture(scope="session")
def make_shards(finished, tmp_path_factory) -> Callable[..., Path]:
    """Packs the samples of a job into a new dataset, without the key ``without`` and with another
    prompt for the key ``reworded``. The prompt of the first sample contains markup."""
    samples = list(open_shards(str(finished.out / "shards")))
    samples[0] = _reworded(samples[0], f"{samples[0].record.prompt.full} {SCRIPT}")

    def make(without: str = "", reworded: str = "") -> Path:
        folder = tmp_path_factory.mktemp("viewed")
        kept = [
            _reworded(sample, "Another.") if sample.record.key == reworded else sample
            for sample in samples
            if sample.record.key != without
        ]
        store = Store(str(folder))
        for sample in kept:
            store.commit(sample.record.key, codec.encode(sample))
        keys = [(s.record.key, s.record.split, s.record.n_subjects) for s in kept]
        pack(store, keys, PackConfig(), str(folder / "shards"), name="seen", config_digest="0")
        return folder / "shards"

    return make


def _reworded(sample: Sample, full: str) -> Sample:
    return replace(sample, record=replace(sample.record, prompt=Prompt(full, "A place.")))


@pytest.fixture(scope="session")
def served(make_shards) -> Iterator[Served]:
    """A served dataset that tests share. They may change its review marks, and nothing else."""
    with serve(make_shards()) as running:
        yield running


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser, served):
    """A browser page at the grid. Fails if a script failed or a request went to another server."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    requested, failed = [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(served.address)
    expect(page.locator(".cell").first).to_be_visible()
    yield page
    page.close()
    assert not failed
    assert all(url.startswith((served.address, "data:", "blob:")) for url in requested)


def open_scene(page: Page, number: int) -> Page:
    """Open a scene from the grid."""
    page.locator(f'.cell[data-id="{number}"]').click()
    expect(page.locator("#picture")).to_be_visible()
    return page


@pytest.fixture
def set_mark(served) -> Iterator[Callable[[int, str], None]]:
    """Sets the review mark of a scene of ``served`` by number; removes all marks after the test."""

    def set_mark(number: int, mark: str) -> None:
        body = json.dumps({"flag": mark})
        path = f"/api/scenes/{number}/flag"
        assert served.request(path, "POST", body, content_type="application/json")[0] == 200

    yield set_mark
    for number in range(len(served.shards)):
        set_mark(number, "")
