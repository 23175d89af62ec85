"""The page of one scene in Chromium, on real shards."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.pipelines.view.conftest import SCRIPT, open_scene, serve


def pixels(page: Page) -> np.ndarray:
    """(H, W, 3) of the scene's canvas."""
    url = page.evaluate("document.querySelector('#picture').toDataURL()")
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    )


def on_screen(page: Page, sample, x: float, y: float, canvas: str = "#picture"):
    """The position of the middle of an image pixel in the window."""
    frame = page.locator(canvas).bounding_box()
    height, width = sample.depth.shape
    across, down = frame["width"] / width, frame["height"] / height
    return frame["x"] + (x + 0.5) * across, frame["y"] + (y + 0.5) * down


def pixel_of(sample, index: int) -> tuple[int, int]:
    """x, y of a pixel of the subject that is near its middle."""
    rows, columns = np.nonzero(sample.instances == index)
    middle = np.abs(rows - rows.mean()) + np.abs(columns - columns.mean())
    at = middle.argmin()
    return int(columns[at]), int(rows[at])


@pytest.mark.parametrize("layer", ["masks", "amodal", "boxes", "boxes3d", "depth"])
def test_layer_changes_only_its_pixels(page, served, layer):
    number = 5
    sample = served.shards.sample(served.shards.keys()[number])
    open_scene(page, number)
    page.locator('[data-layer="masks"]').click()  # it is on by default
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
        page.locator('[data-layer="depth"]').click()
        page.get_by_label("opacity of depth").fill("0")
        assert np.array_equal(pixels(page), plain)
        page.get_by_label("opacity of depth").fill("1")
        assert not np.array_equal(pixels(page), plain)


def test_depth_lets_the_photograph_through_and_has_a_scale_in_metres(page, served):
    sample = served.shards.sample(served.shards.keys()[0])
    open_scene(page, 0)
    page.locator('[data-layer="masks"]').click()
    scale = page.locator("#depth-scale")
    expect(scale).to_be_hidden()
    plain = pixels(page).astype(float)
    page.keyboard.press("d")
    mixed = pixels(page).astype(float)
    page.get_by_label("opacity of depth").fill("1")
    colors = pixels(page).astype(float)
    assert np.abs(mixed - (0.4 * plain + 0.6 * colors)).max() < 4
    metres = sample.depth[sample.depth > 0] / 1000
    ticks = [float(text.split()[0]) for text in scale.locator(".ticks span").all_inner_texts()]
    assert ticks[0] == pytest.approx(np.percentile(metres, 0.5), abs=0.02)
    assert ticks[-1] == pytest.approx(np.percentile(metres, 90), abs=0.02)


def test_picture_is_enlarged_at_the_pointer_and_moved(page, served):
    sample = served.shards.sample(served.shards.keys()[5])
    open_scene(page, 5)
    height, width = sample.depth.shape
    readout, scale = page.locator("#readout"), page.locator('button[name="zoom-reset"]')
    x, y = on_screen(page, sample, width // 3, height // 3)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)  # four times as large
    expect(scale).to_have_text("400%")
    page.mouse.move(x + 1, y)
    expect(readout).to_contain_text(f"{width // 3}, {height // 3}: ")
    frame = page.locator(".frame").bounding_box()
    pixel = 4 * frame["width"] / width  # of the image, on the screen
    page.mouse.down()
    page.mouse.move(x + 5 * pixel, y, steps=4)
    page.mouse.up()
    page.mouse.move(x + 5 * pixel + 1, y)
    expect(readout).to_contain_text(f"{width // 3}, ")  # the pixel came along
    page.mouse.move(0, 0)
    expect(page.locator(".subject.highlighted")).to_have_count(0)  # a drag is no click
    page.mouse.move(x, y)
    expect(readout).to_contain_text(f"{width // 3 - 5}, ")
    page.mouse.dblclick(x, y)
    expect(scale).to_have_text("100%")
    assert page.locator("#picture").bounding_box()["width"] == pytest.approx(frame["width"], abs=1)
    page.keyboard.press("+")
    expect(scale).to_have_text("150%")
    page.keyboard.press("z")
    expect(scale).to_have_text("100%")
    page.mouse.wheel(0, 300)  # nothing to reduce: the page scrolls
    page.wait_for_function("document.getElementById('scene').scrollTop > 0")


def test_depth_under_the_cursor_equals_the_stored_depth(page, served):
    sample = served.shards.sample(served.shards.keys()[0])
    open_scene(page, 0)
    height, width = sample.depth.shape
    for x, y in ((0, height - 1), (width // 2, height // 2), (width - 1, height - 5)):
        page.mouse.move(*on_screen(page, sample, x, y))
        value = sample.depth[y, x]
        metres = f"{value / 1000:.3f} m" if value else "no depth"
        expect(page.locator("#readout")).to_contain_text(f"{x}, {y}: {metres}")


@pytest.mark.usefixtures("set_mark")
@pytest.mark.parametrize("part", ["", "/instances.raw", "/image.jpg"])
@pytest.mark.parametrize("fails", [False, True])
def test_late_response_of_an_older_scene_is_dropped(page, served, part, fails):
    keys = served.shards.keys()
    open_scene(page, 0)
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
    summaries = served.json("/api/summaries?id=1&id=2")
    assert [summary["flag"] for summary in summaries] == [None, "drop"]


@pytest.mark.parametrize("prompt", ["", " and a word", "unbroken"])
def test_image_and_depth_readout_fit_the_window(page, served, prompt):
    sample = served.shards.sample(served.shards.keys()[5])
    page.set_viewport_size({"width": 1280, "height": 720})

    def longer(route):
        scene = route.fetch().json()
        scene["record"]["prompt"]["full"] += prompt * 200
        route.fulfill(json=scene)

    page.route("**/api/scenes/5", longer)
    open_scene(page, 5)
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


def test_stepping_continues_after_a_mark_removes_the_scene_from_the_selection(
    page, served, set_mark
):
    keys = served.shards.keys()
    for number in (0, 1, 3, 4):
        set_mark(number, "keep")
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


def test_step_buttons_keep_the_keyboard_focus(page, served):
    keys = served.shards.keys()
    open_scene(page, 0)
    following = page.get_by_role("button", name="next scene")
    following.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#key")).to_have_text(keys[1])
    expect(following).to_be_focused()
    page.get_by_role("button", name="previous scene").click()
    expect(page.locator("#key")).to_have_text(keys[0])


def test_layers_and_granularity_survive_a_reload(page):
    open_scene(page, 5)
    page.keyboard.press("d")
    page.get_by_label("granularity").select_option("box2d")
    page.reload()
    expect(page.locator('[data-layer="depth"]')).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("granularity")).to_have_value("box2d")
    page.keyboard.press("d")
    expect(page.locator('[data-layer="depth"]')).to_have_attribute("aria-pressed", "false")


@pytest.fixture
def phone(browser, served):
    """A narrow touch screen, at a scene of several subjects."""
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.goto(f"{served.address}?scene=5")
    expect(page.locator("#picture")).to_be_visible()
    yield page
    page.close()


def test_tap_shows_depth_and_pins_the_subject(phone, served):
    sample = served.shards.sample(served.shards.keys()[5])
    x, y = pixel_of(sample, 2)
    phone.touchscreen.tap(*on_screen(phone, sample, x, y))
    expect(phone.locator("#readout")).to_contain_text(f"{sample.depth[y, x] / 1000:.3f} m, 2.")
    expect(phone.locator('[data-subject="2"]')).to_have_class("subject highlighted")
    phone.locator('[data-subject="1"] strong').tap()
    expect(phone.locator('[data-subject="1"]')).to_have_class("subject highlighted")
    expect(phone.locator('[data-subject="2"]')).to_have_class("subject")


@pytest.mark.parametrize("canvas", ["#picture", "#cloud"])
def test_swipe_over_image_or_3d_view_scrolls_the_page(phone, canvas):
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


def test_command_is_selected_where_the_clipboard_is_missing(page):
    page.route(
        "**/api/scenes/0",
        lambda route: route.fulfill(json=route.fetch().json() | {"command": "sigma dataset"}),
    )
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    open_scene(page, 0)
    page.locator("#copy").click()
    expect(page.locator("#command")).to_contain_text("sigma dataset")
    assert "sigma dataset" in page.evaluate("getSelection().toString()")
    expect(page.locator("#message")).to_have_attribute("role", "status")


def test_broken_scene_shows_the_reason_and_its_image(page, served):
    def broken(route):
        scene = route.fetch().json()
        route.fulfill(
            json={name: scene[name] for name in ("id", "key", "shard")} | {"broken": "bad"}
        )

    page.route("**/api/scenes/1", broken)
    page.goto(f"{served.address}?scene=1")
    expect(page.locator("#scene .broken")).to_contain_text("is broken: bad")
    expect(page.locator("#scene img")).not_to_have_js_property("naturalWidth", 0)


def test_highlighted_subject_in_image_and_card(page, served):
    open_scene(page, 5)
    before = pixels(page)
    card = page.locator('[data-subject="2"]')
    card.hover()
    expect(card).to_have_class("subject highlighted")
    assert not np.array_equal(pixels(page), before)
    page.mouse.move(0, 0)
    page.keyboard.press("1")
    expect(page.locator('[data-subject="1"]')).to_have_class("subject highlighted")


def test_3d_view_is_drawn(page, served):
    open_scene(page, 5)
    cloud = page.locator("#cloud")
    cloud.scroll_into_view_if_needed()
    from_side = cloud.screenshot()
    page.get_by_text("view from camera").click()
    from_camera = cloud.screenshot()
    assert from_camera != from_side
    cloud.focus()
    page.keyboard.press("ArrowLeft")
    assert cloud.screenshot() != from_camera
    expect(page.get_by_text("Drag to turn")).to_be_visible()
    expect(page.get_by_text("face with a cross is the front")).to_be_visible()
    # The middle shows points, not only the background.
    picture = np.asarray(Image.open(io.BytesIO(cloud.screenshot())).convert("RGB"))
    height, width, _ = picture.shape
    middle = picture[height // 4 : -height // 4, width // 3 : -width // 3].reshape(-1, 3)
    assert len(np.unique(middle, axis=0)) > 500


def test_control_image_and_identity_sheet_by_granularity(page, served):
    open_scene(page, 5)
    width = served.shards.record(served.shards.keys()[5]).width
    panels = page.locator("#controls img")
    expect(page.locator("#sheet")).to_have_js_property("height", 48)
    expect(panels).to_have_count(4)
    for granularity in ("box2d", "box3d"):
        page.get_by_label("granularity").select_option(granularity)
        for panel in panels.all():
            expect(panel).to_have_js_property("naturalWidth", width)
        assert f"{granularity}-ascending.png" in panels.nth(1).get_attribute("src")


def test_scene_page_escapes_markup_in_prompts(page, served):
    open_scene(page, 0)
    expect(page.locator("#prompt")).to_contain_text(SCRIPT)
    assert page.title() == "seen · sigma view"
    assert not page.locator("#scene img[src=x]").count()


def test_cards_do_not_move_when_their_views_arrive(page, served):
    held = []
    page.route("**/identities.webp", lambda route: held.append(route))
    with page.expect_request("**/identities.webp"):
        open_scene(page, 0)
    link = page.locator('[data-subject="1"] a').first
    before = link.bounding_box()
    held[0].continue_()
    size = served.shards.sample(served.shards.keys()[0]).views.shape[2]
    expect(page.locator("[data-row]").first).to_have_js_property("height", size)
    assert link.bounding_box() == before


def test_asset_link_filters_by_asset(page, served):
    record = served.shards.record(served.shards.keys()[0])
    open_scene(page, 0)
    page.locator('[data-subject="1"] a').first.click()
    expect(page.locator(".cell").first).to_be_visible()
    assert f"asset={record.subjects[0].asset.id.split('/')[0]}" in page.url
    expect(page.locator('.cell[data-id="0"]')).to_be_visible()


def test_compared_dataset_is_shown_beside_the_scene(browser, make_shards):
    with serve(make_shards(), "--compare", str(make_shards())) as running:
        sample = running.shards.sample(running.shards.keys()[0])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{running.address}?scene=0")
        expect(page.locator("#other")).to_be_visible()
        places = running.json("/api/set")
        captions = [places["place"], places["other"]]
        expect(page.locator(".views figcaption")).to_have_text(captions)
        viewed, other = (page.locator(name).bounding_box() for name in ("#picture", "#other"))
        assert other["x"] >= viewed["x"] + viewed["width"]
        assert other["y"] == pytest.approx(viewed["y"], abs=1)
        assert other["y"] + other["height"] <= 720
        for canvas in ("#picture", "#other"):
            page.mouse.move(0, 0)
            expect(page.locator("#readout")).to_be_empty()
            page.mouse.move(*on_screen(page, sample, *pixel_of(sample, 1), canvas))
            expect(page.locator("#readout")).to_contain_text(" m, 1. ")
            expect(page.locator('[data-subject="1"]')).to_have_class("subject highlighted")
        page.set_viewport_size({"width": 390, "height": 844})
        viewed, other = (page.locator(name).bounding_box() for name in ("#picture", "#other"))
        assert other["y"] >= viewed["y"] + viewed["height"]
        page.keyboard.press("Escape")
        page.set_viewport_size({"width": 1280, "height": 720})
        expect(page.locator('#facets input[value="same by index"]')).to_be_visible()
        page.close()


def test_scene_page_on_a_narrow_screen_in_dark_mode(browser, served):
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page.goto(f"{served.address}?scene=5")
    expect(page.locator("#picture")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 27)"
    page.close()


def test_url_of_a_missing_scene_shows_an_error_and_can_step_on(page, served):
    page.goto(f"{served.address}?scene=999")
    expect(page.locator("#scene .broken")).to_have_text("there are 6 scenes, numbered from 0")
    page.get_by_role("button", name="all scenes").click()
    expect(page.locator(".cell").first).to_be_visible()
    page.go_back()
    expect(page.locator("#scene .broken")).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator("#picture")).to_be_visible()
