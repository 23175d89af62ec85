"""The viewer's page of one scene in a real browser, on real shards."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.pipelines.view.conftest import SCRIPT, opened, serve


def pixels(page: Page) -> np.ndarray:
    """(H, W, 3) of the scene's canvas."""
    url = page.evaluate("document.querySelector('#picture').toDataURL()")
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    )


def on_screen(page: Page, sample, x: float, y: float, canvas: str = "#picture"):
    """Where the middle of the pixel is."""
    frame = page.locator(canvas).bounding_box()
    height, width = sample.depth.shape
    across, down = frame["width"] / width, frame["height"] / height
    return frame["x"] + (x + 0.5) * across, frame["y"] + (y + 0.5) * down


def pixel_of(sample, index: int) -> tuple[int, int]:
    """x, y of one that is well within the subject."""
    rows, columns = np.nonzero(sample.instances == index)
    middle = np.abs(rows - rows.mean()) + np.abs(columns - columns.mean())
    at = middle.argmin()
    return int(columns[at]), int(rows[at])


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
    height, width = sample.depth.shape
    for x, y in ((0, height - 1), (width // 2, height // 2), (width - 1, height - 5)):
        page.mouse.move(*on_screen(page, sample, x, y))
        value = sample.depth[y, x]
        metres = f"{value / 1000:.3f} m" if value else "no depth"
        expect(page.locator("#readout")).to_contain_text(f"{x}, {y}: {metres}")


@pytest.mark.usefixtures("flag")
@pytest.mark.parametrize("part", ["", "/instances.raw", "/image.jpg"])
@pytest.mark.parametrize("fails", [False, True])
def test_an_older_scene_never_comes_over_a_newer_one(page, served, part, fails):
    keys = served.shards.keys()
    opened(page, 0)
    held = []
    page.route(f"**/api/scenes/1{part}", lambda route: held.append(route))
    with page.expect_request(f"**/api/scenes/1{part}"):
        page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("#key")).to_have_text(keys[2])
    for route in held:
        route.abort() if fails else route.continue_()
    page.wait_for_load_state("networkidle")
    page.keyboard.press("x")
    expect(page.locator('[data-flag="drop"]')).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#key")).to_have_text(keys[2])
    expect(page.locator("#message")).to_be_hidden()
    told = served.json("/api/summaries?id=1&id=2")
    assert [scene["flag"] for scene in told] == [None, "drop"]


@pytest.mark.parametrize("prompt", ["", " and a word", "unbroken"])
def test_the_picture_and_its_depth_are_in_sight_at_once(page, served, prompt):
    sample = served.shards.sample(served.shards.keys()[5])
    page.set_viewport_size({"width": 1280, "height": 720})

    def longer(route):
        told = route.fetch().json()
        told["record"]["prompt"]["full"] += prompt * 200
        route.fulfill(json=told)

    page.route("**/api/scenes/5", longer)
    opened(page, 5)
    frame = page.locator("#picture").bounding_box()
    assert frame["y"] + frame["height"] <= 720
    assert frame["height"] > 400
    page.mouse.move(*on_screen(page, sample, 3, sample.depth.shape[0] - 2))
    readout = page.locator("#readout")
    expect(readout).to_contain_text("3, ")
    box = readout.bounding_box()
    assert box["y"] > 0
    assert box["y"] + box["height"] <= 720
    page.mouse.move(frame["x"] + 5, box["y"])
    expect(readout).to_be_empty()
    assert page.locator("#scene").evaluate("scene => scene.scrollWidth <= scene.clientWidth")
    if prompt:
        clamped = page.locator("#prompt").bounding_box()["height"]
        page.locator("#more").click()
        assert page.locator("#prompt").bounding_box()["height"] > clamped


def test_review_goes_on_where_a_flag_took_a_scene_away(page, served, flag):
    keys = served.shards.keys()
    for number in (0, 1, 3, 4):
        flag(number, "keep")
    page.goto(f"{served.address}?flag=keep&scene=3")
    expect(page.locator("#key")).to_have_text(keys[3])
    page.keyboard.press("x")
    expect(page.locator("#count")).to_have_text("3 of 6 scenes")
    page.keyboard.press("j")
    expect(page.locator("#key")).to_have_text(keys[4])
    page.keyboard.press("x")
    expect(page.locator("#count")).to_have_text("2 of 6 scenes")
    page.keyboard.press("k")
    expect(page.locator("#key")).to_have_text(keys[1])


def test_buttons_walk_and_keep_the_focus(page, served):
    keys = served.shards.keys()
    opened(page, 0)
    following = page.get_by_role("button", name="next scene")
    following.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#key")).to_have_text(keys[1])
    expect(following).to_be_focused()
    page.get_by_role("button", name="scene before").click()
    expect(page.locator("#key")).to_have_text(keys[0])


def test_layers_stay_through_a_reload(page):
    opened(page, 5)
    page.keyboard.press("d")
    page.get_by_label("granularity").select_option("box2d")
    page.reload()
    expect(page.locator('[data-layer="depth"]')).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("granularity")).to_have_value("box2d")
    page.keyboard.press("d")
    expect(page.locator('[data-layer="depth"]')).to_have_attribute("aria-pressed", "false")


@pytest.fixture
def phone(browser, served):
    """At a scene of several subjects, with a finger."""
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.goto(f"{served.address}?scene=5")
    expect(page.locator("#picture")).to_be_visible()
    yield page
    page.close()


def test_a_tap_reads_the_depth_and_pins_the_subject(phone, served):
    sample = served.shards.sample(served.shards.keys()[5])
    x, y = pixel_of(sample, 2)
    phone.touchscreen.tap(*on_screen(phone, sample, x, y))
    expect(phone.locator("#readout")).to_contain_text(f"{sample.depth[y, x] / 1000:.3f} m, 2.")
    expect(phone.locator('[data-subject="2"]')).to_have_class("subject lit")
    phone.locator('[data-subject="1"] strong').tap()
    expect(phone.locator('[data-subject="1"]')).to_have_class("subject lit")
    expect(phone.locator('[data-subject="2"]')).to_have_class("subject")


@pytest.mark.parametrize("canvas", ["#picture", "#cloud"])
def test_a_swipe_over_a_picture_scrolls_the_page(phone, canvas):
    phone.locator(canvas).scroll_into_view_if_needed()
    scrolled = phone.locator("#scene").evaluate("scene => scene.scrollTop")
    frame = phone.locator(canvas).bounding_box()
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + 150
    session = phone.context.new_cdp_session(phone)
    for kind, places in (
        ("touchStart", [y]),
        *(("touchMove", [y - by]) for by in range(15, 150, 15)),
        ("touchEnd", []),
    ):
        touch = {"type": kind, "touchPoints": [{"x": x, "y": place} for place in places]}
        session.send("Input.dispatchTouchEvent", touch)
    phone.wait_for_function(
        "to => document.getElementById('scene').scrollTop > to", arg=scrolled + 50
    )


def test_a_command_is_shown_where_it_cannot_be_copied(page):
    page.route(
        "**/api/scenes/0",
        lambda route: route.fulfill(json=route.fetch().json() | {"command": "sigma dataset"}),
    )
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    opened(page, 0)
    page.locator("#copy").click()
    expect(page.locator("#command")).to_contain_text("sigma dataset")
    assert "sigma dataset" in page.evaluate("getSelection().toString()")
    expect(page.locator("#message")).to_have_attribute("role", "status")


def test_of_a_broken_scene_there_is_its_image(page, served):
    def broken(route):
        told = route.fetch().json()
        route.fulfill(
            json={name: told[name] for name in ("id", "key", "shard")} | {"broken": "bad"}
        )

    page.route("**/api/scenes/1", broken)
    page.goto(f"{served.address}?scene=1")
    expect(page.locator("#scene .broken")).to_contain_text("is broken: bad")
    expect(page.locator("#scene img")).not_to_have_js_property("naturalWidth", 0)


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
    expect(page.locator("#sheet")).to_have_js_property("height", 48)
    expect(panels).to_have_count(4)
    for granularity in ("box2d", "box3d"):
        page.get_by_label("granularity").select_option(granularity)
        for panel in panels.all():
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


def test_another_set_is_seen_beside_this_one(browser, made):
    with serve(made(), "--compare", str(made())) as running:
        sample = running.shards.sample(running.shards.keys()[0])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{running.address}?scene=0")
        expect(page.locator("#other")).to_be_visible()
        places = running.json("/api/set")
        captions = [places["place"], places["other"]]
        expect(page.locator(".views figcaption")).to_have_text(captions)
        mine, other = (page.locator(name).bounding_box() for name in ("#picture", "#other"))
        assert other["x"] >= mine["x"] + mine["width"]
        assert other["y"] == pytest.approx(mine["y"], abs=1)
        assert other["y"] + other["height"] <= 720
        for canvas in ("#picture", "#other"):
            page.mouse.move(0, 0)
            expect(page.locator("#readout")).to_be_empty()
            page.mouse.move(*on_screen(page, sample, *pixel_of(sample, 1), canvas))
            expect(page.locator("#readout")).to_contain_text(" m, 1. ")
            expect(page.locator('[data-subject="1"]')).to_have_class("subject lit")
        page.set_viewport_size({"width": 390, "height": 844})
        mine, other = (page.locator(name).bounding_box() for name in ("#picture", "#other"))
        assert other["y"] >= mine["y"] + mine["height"]
        page.keyboard.press("Escape")
        page.set_viewport_size({"width": 1280, "height": 720})
        expect(page.locator('#facets input[value="same by index"]')).to_be_visible()
        page.close()


def test_on_a_phone_and_in_the_dark(browser, served):
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page.goto(f"{served.address}?scene=5")
    expect(page.locator("#picture")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 27)"
    page.close()


def test_an_address_of_no_scene_says_so_and_walks_on(page, served):
    page.goto(f"{served.address}?scene=999")
    expect(page.locator("#scene .broken")).to_have_text("there are 6 scenes, from 0")
    page.get_by_role("button", name="all scenes").click()
    expect(page.locator(".cell").first).to_be_visible()
    page.go_back()
    expect(page.locator("#scene .broken")).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator("#picture")).to_be_visible()
