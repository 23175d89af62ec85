"""The viewer's page in a real browser (Debian's Chromium), on real shards."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.pipelines.view.conftest import SCRIPT, serve


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


def pixels(page: Page) -> np.ndarray:
    """(H, W, 3) of the scene's canvas."""
    url = page.evaluate("document.querySelector('#picture').toDataURL()")
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    )


def test_the_grid_shows_every_scene(page, served):
    cells = page.locator(".cell")
    expect(cells).to_have_count(len(served.shards))
    expect(page.locator("#count")).to_have_text("6 of 6 scenes")
    for picture in page.locator(".cell img").all():
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    texts = [sample.record.prompt.full for sample in served.shards]
    for text, cell in zip(texts, cells.all(), strict=True):
        expect(cell.locator(".words")).to_have_text(text)


def test_a_filter_narrows_and_lives_in_the_url(page, served):
    expected = sum(sample.record.n_subjects == 2 for sample in served.shards)
    page.locator('#facets input[name="subjects"][value="2"]').check()
    expect(page.locator(".cell")).to_have_count(expected)
    assert "subjects=2" in page.url
    page.reload()
    expect(page.locator(".cell")).to_have_count(expected)
    page.go_back()
    expect(page.locator(".cell")).to_have_count(len(served.shards))


def test_words_narrow_too(page, served):
    page.keyboard.press("/")
    page.keyboard.type("nosuchword")
    expect(page.locator("#count")).to_have_text("0 of 6 scenes")


@pytest.mark.parametrize("layer", ["masks", "amodal", "boxes", "boxes3d", "depth"])
def test_each_layer_changes_the_pixels_that_it_should(page, served, layer):
    number = 5
    sample = served.shards.sample(served.shards.keys()[number])
    opened(page, number)
    page.locator('[data-layer="masks"]').click()  # on at first
    plain = pixels(page)
    page.locator(f'[data-layer="{layer}"]').click()
    changed = (pixels(page) != plain).any(axis=2)
    page.locator(f'[data-layer="{layer}"]').click()
    assert np.array_equal(pixels(page), plain)
    scale = plain.shape[0] // sample.record.height
    inside = np.kron(sample.instances > 0, np.ones((scale, scale), bool))
    if layer == "masks":
        assert not changed[~inside].any()
        assert changed[inside].mean() > 0.95
    if layer == "amodal":
        assert changed[inside].mean() > 0.95
    if layer in ("boxes", "boxes3d"):
        assert 0.001 < changed.mean() < 0.6
    if layer == "boxes":
        x_min, y_min, x_max, _ = (edge * scale for edge in sample.record.subjects[0].box2d)
        assert changed[y_min : y_min + 2, x_min + 4 : x_max - 4].any(axis=0).all()
    if layer == "depth":
        assert changed.mean() > 0.95


def test_depth_under_the_cursor_is_the_stored_one(page, served):
    sample = served.shards.sample(served.shards.keys()[0])
    opened(page, 0)
    frame = page.locator("#picture").bounding_box()
    height, width = sample.depth.shape
    scale = min(frame["width"] / width, frame["height"] / height)
    left = frame["x"] + (frame["width"] - width * scale) / 2
    top = frame["y"] + (frame["height"] - height * scale) / 2
    for x, y in ((0, height - 1), (width // 2, height // 2), (width - 1, height - 5)):
        page.mouse.move(left + (x + 0.5) * scale, top + (y + 0.5) * scale)
        value = sample.depth[y, x]
        metres = f"{value / 1000:.3f} m" if value else "no depth"
        expect(page.locator("#readout")).to_contain_text(f"{x}, {y}: {metres}")


def test_a_subject_is_lit_everywhere_at_once(page, served):
    opened(page, 5)
    before = pixels(page)
    card = page.locator('[data-subject="2"]')
    card.hover()
    expect(card).to_have_class("subject lit")
    assert not np.array_equal(pixels(page), before)
    page.mouse.move(0, 0)
    page.keyboard.press("1")
    expect(page.locator('[data-subject="1"]')).to_have_class("subject lit")


def test_keys_walk_and_switch(page, served):
    page.keyboard.press("j")
    expect(page.locator("#key")).to_have_text(served.shards.keys()[0])
    page.keyboard.press("j")
    expect(page.locator("#key")).to_have_text(served.shards.keys()[1])
    page.keyboard.press("k")
    expect(page.locator("#key")).to_have_text(served.shards.keys()[0])
    for key, layer in {
        "m": "masks",
        "a": "amodal",
        "b": "boxes",
        "c": "boxes3d",
        "d": "depth",
    }.items():
        button = page.locator(f'[data-layer="{layer}"]')
        before = button.get_attribute("aria-pressed")
        page.keyboard.press(key)
        expect(button).to_have_attribute("aria-pressed", "false" if before == "true" else "true")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator(".cell").first).to_be_visible()
    assert "scene=" not in page.url


def test_space_is_drawn(page, served):
    opened(page, 5)
    cloud = page.locator("#cloud")
    cloud.scroll_into_view_if_needed()
    aside = cloud.screenshot()
    page.get_by_text("view from camera").click()
    assert cloud.screenshot() != aside
    # Points in the middle, and not the bare background.
    picture = np.asarray(Image.open(io.BytesIO(cloud.screenshot())).convert("RGB"))
    height, width, _ = picture.shape
    middle = picture[height // 4 : -height // 4, width // 3 : -width // 3].reshape(-1, 3)
    assert len(np.unique(middle, axis=0)) > 500


def test_the_models_controls_are_shown_by_granularity(page, served):
    opened(page, 5)
    width = served.shards.record(served.shards.keys()[5]).width
    panels = page.locator("#controls img")
    expect(panels).to_have_count(5)
    for granularity in ("box2d", "box3d"):
        page.get_by_label("granularity").select_option(granularity)
        for panel in panels.all()[:-1]:  # the last is the identity sheet
            expect(panel).to_have_js_property("naturalWidth", width)
        assert f"{granularity}-ascending.png" in panels.nth(1).get_attribute("src")


def test_words_of_a_set_stay_words(page, served):
    opened(page, 0)
    expect(page.locator("#prompt")).to_contain_text(SCRIPT)
    assert page.title() == "seen · sigma view"
    assert not page.locator("#scene img[src=x]").count()


def test_other_scenes_of_an_asset_are_a_click_away(page, served):
    record = served.shards.record(served.shards.keys()[0])
    opened(page, 0)
    page.locator('[data-subject="1"] a').first.click()
    expect(page.locator(".cell").first).to_be_visible()
    assert f"asset={record.subjects[0].asset.id.split('/')[0]}" in page.url
    expect(page.locator('.cell[data-id="0"]')).to_be_visible()


def test_the_set_as_a_whole_and_its_suspects(page, served):
    page.keyboard.press("s")
    expect(page.locator("#about h1")).to_have_text("seen")
    expect(page.locator(".histograms figure")).to_have_count(4)
    page.locator("#look").click()
    expect(page.locator("#looked")).to_have_text("6 of 6 scenes read", timeout=30_000)
    assert "page=set" in page.url
    page.go_back()
    expect(page.locator(".cell").first).to_be_visible()


def test_another_set_is_seen_beside_this_one(browser, made):
    with serve(made(), "--compare", str(made())) as running:
        page = browser.new_page()
        page.goto(f"{running.address}?scene=0")
        expect(page.locator("#other")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator('#facets input[value="same bytes"]')).to_be_visible()
        page.close()


def test_flags_are_set_by_key_and_seen_in_the_grid(page, served):
    opened(page, 1)
    page.keyboard.press("x")
    expect(page.locator('[data-flag="drop"]')).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(page.locator('.cell[data-id="1"]')).to_have_class("cell drop")
    expect(page.locator('#facets input[name="flag"][value="drop"]')).to_be_visible()


def test_on_a_phone_and_in_the_dark(browser, served):
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page.goto(f"{served.address}?scene=5")
    expect(page.locator("#picture")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 27)"
    page.close()


def test_what_is_in_sight_can_be_taken_along_as_a_page(page, served, tmp_path):
    page.locator('#facets input[name="subjects"][value="2"]').check()
    with page.expect_download() as coming:
        page.locator("#export-button").click()
    coming.value.save_as(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for record in (sample.record for sample in served.shards):
        assert (record.key in text) == (record.n_subjects == 2)


def test_an_address_of_no_scene_says_so_and_walks_on(page, served):
    page.goto(f"{served.address}?scene=999")
    expect(page.locator("#scene .broken")).to_have_text("there are 6 scenes, from 0")
    page.keyboard.press("j")
    expect(page.locator("#picture")).to_be_visible()


def test_a_phone_has_the_filters_too(page):
    page.set_viewport_size({"width": 390, "height": 800})
    expect(page.locator("#facets")).to_be_hidden()
    page.locator("#filters-button").click()
    page.locator('#facets input[name="subjects"][value="2"]').check()
    assert "subjects=2" in page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
