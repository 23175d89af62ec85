"""Real shards behind the real command, looked at by a real browser."""

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
    """``sigma view`` at work on a set."""

    path: Path | str
    address: str
    process: subprocess.Popen[str]

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers; the path goes out as it is."""
        port = urlsplit(self.address).port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data, {k.lower(): v for k, v in answer.getheaders()}

    def json(self, path: str) -> Any:
        status, data, _ = self.ask(path)
        assert status == 200, data
        return json.loads(data)

    @property
    def shards(self) -> ShardSet:
        return open_shards(str(self.path))


@contextmanager
def serve(path: Path | str, *more: str) -> Iterator[Served]:
    sigma = str(Path(sys.executable).with_name("sigma"))
    process = subprocess.Popen(
        [sigma, "view", str(path), "--port", "0", *more],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        yield Served(path, process.stdout.readline().strip(), process)
        assert process.poll() is None, "the server went down"
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=30)
        process.stdout.close()
    assert code == 0


@pytest.fixture(scope="session")
def made(finished, tmp_path_factory) -> Callable[..., Path]:
    """Makes a set of a job's samples, but for the key ``without`` and with the prompt of the key
    ``reworded`` changed. The first one has a prompt that would like to be markup."""
    samples = list(open_shards(str(finished.out / "shards")))
    samples[0] = _reworded(samples[0], f"{samples[0].record.prompt.full} {SCRIPT}")

    def make(without: str = "", reworded: str = "") -> Path:
        folder = tmp_path_factory.mktemp("looked-at")
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
def served(made) -> Iterator[Served]:
    """Not to be changed, but for its flags."""
    with serve(made()) as running:
        yield running


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser, served):
    """At the grid. No script may have failed, and nobody else been asked."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    asked, failed = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(served.address)
    expect(page.locator(".cell").first).to_be_visible()
    yield page
    page.close()
    assert not failed
    assert all(url.startswith((served.address, "data:", "blob:")) for url in asked)


def opened(page: Page, number: int) -> Page:
    page.locator(f'.cell[data-id="{number}"]').click()
    expect(page.locator("#picture")).to_be_visible()
    return page


@pytest.fixture
def flag(served) -> Iterator[Callable[[int, str], None]]:
    """Flags a scene of ``served`` by number; when the test is over, none has a flag."""

    def set_flag(number: int, flag: str) -> None:
        body = json.dumps({"flag": flag})
        path = f"/api/scenes/{number}/flag"
        assert served.ask(path, "POST", body, content_type="application/json")[0] == 200

    yield set_flag
    for number in range(len(served.shards)):
        set_flag(number, "")
