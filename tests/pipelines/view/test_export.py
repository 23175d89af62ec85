"""`sigma view --export`: selected scenes as one HTML file that makes no requests."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from datagen.shards.reader import open_shards
from pipelines.cli.main import main
from tests.pipelines.view.conftest import SCRIPT


@pytest.fixture(scope="module")
def exported(make_shards, tmp_path_factory):
    """The exported page of a dataset whose second scene is damaged."""
    path = make_shards()
    shards = open_shards(str(path))
    damaged = shards.keys()[1]
    tar = path / shards.shard_of(damaged)
    data = bytearray(tar.read_bytes())
    # Inside the PNG, after the tar header.
    at = data.index(b"\x89PNG", data.index(f"{damaged}.depth.png".encode()))
    data[at : at + 64] = bytes(64)
    tar.write_bytes(data)
    out = tmp_path_factory.mktemp("export") / "page.html"
    assert main(["view", str(path), "--export", str(out)]) == 0
    return shards, damaged, out


@pytest.fixture
def page(exported, browser):
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    requested, console_messages = [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: console_messages.append(message.text))
    page.goto(exported[2].as_uri())
    yield page
    page.close()
    assert [url for url in requested if not url.startswith("data:")] == [exported[2].as_uri()]
    assert not console_messages


def test_exported_page_lists_all_scenes_and_the_reason_of_a_damaged_one(page, exported):
    shards, damaged, _ = exported
    assert page.locator("h2").all_inner_texts() == list(shards.keys())
    expect(page.locator(".broken")).to_have_count(1)
    expect(page.locator(".broken")).to_contain_text(f"{damaged}: depth.png")
    keys = shards.keys()
    counts = {key: shards.record(key).n_subjects for key in keys}
    assert page.locator(".subject").count() == sum(counts.values()) - counts[damaged]


def test_exported_page_escapes_markup_in_prompts(page):
    expect(page.locator(".prompt").first).to_contain_text(SCRIPT)
    assert page.title() == "seen"
    assert page.locator("script").count() == 0


@pytest.mark.parametrize("layer", ["depth", "masks", "2D boxes", "3D boxes"])
def test_layers_of_the_exported_page_switch_without_a_script(page, layer):
    def shot() -> np.ndarray:
        picture = page.locator(".picture").first.screenshot()
        return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)

    box = page.get_by_label(layer, exact=True)
    box.set_checked(False)
    without = shot()
    box.set_checked(True)
    assert (np.abs(shot() - without).max(axis=2) > 8).mean() > 0.001


@pytest.mark.parametrize(
    ("filters", "named"),
    [("subjects=99", "0 scenes are selected"), ("nose=long", "'nose'"), ("order=x", "order: 'x'")],
)
def test_invalid_export_filters_are_one_line_errors(served, tmp_path, capsys, filters, named):
    out = tmp_path / "page.html"
    words = ["view", str(served.path), "--export", str(out), "--choose", filters]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert named in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


def test_export_writes_only_the_selected_scenes(served, tmp_path):
    out = tmp_path / "page.html"
    words = ["view", str(served.path), "--export", str(out), "--choose", "subjects=1&subjects=2"]
    assert main(words) == 0
    few = [s.record.key for s in served.shards if s.record.n_subjects <= 2]
    assert out.read_text().count("<article>") == len(few) > 0
