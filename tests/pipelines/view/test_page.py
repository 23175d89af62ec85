"""The viewer's page in Chromium: the grid, its filters, the page about the dataset."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.pipelines.view.conftest import open_scene


def test_grid_shows_every_scene_with_image_key_and_subjects(page, served):
    cells = page.locator(".cell")
    expect(cells).to_have_count(len(served.shards))
    expect(page.locator("#count")).to_have_text("6 of 6 scenes")
    for picture in page.locator(".cell img").all():
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    records = [sample.record for sample in served.shards]
    for record, cell in zip(records, cells.all(), strict=True):
        expect(cell.locator(".key")).to_have_text(record.key)
        expect(cell.locator(".words")).to_have_text(", ".join(s.caption for s in record.subjects))
        assert record.prompt.full in cell.get_attribute("title")


def test_facet_filter_is_kept_in_the_url(page, served):
    expected = sum(sample.record.n_subjects == 2 for sample in served.shards)
    page.locator('#facets input[name="subjects"][value="2"]').check()
    expect(page.locator(".cell")).to_have_count(expected)
    assert "subjects=2" in page.url
    page.reload()
    expect(page.locator(".cell")).to_have_count(expected)
    page.go_back()
    expect(page.locator(".cell")).to_have_count(len(served.shards))


def test_search_box_filters_the_grid(page, served):
    page.keyboard.press("/")
    page.keyboard.type("nosuchword")
    expect(page.locator("#count")).to_have_text("0 of 6 scenes")


def test_quotes_make_a_phrase_and_commas_separate_words(page, served):
    captions = [[s.caption for s in sample.record.subjects] for sample in served.shards]
    article, noun = captions[0][0].split()[0], captions[0][0].split()[-1]
    page.keyboard.press("/")
    expect(page.locator("#search-hint")).to_be_visible()
    page.keyboard.type(f"{noun},{article}")
    expect(page.locator('.cell[data-id="0"]')).to_be_visible()
    page.locator("#search").fill(f'"{captions[0][0]}"')
    matching = sum(captions[0][0] in "\n".join(each) for each in captions)
    expect(page.locator(".cell")).to_have_count(matching)
    page.locator("#search").fill(f'"{noun} {article}"')  # in this order they stand nowhere
    expect(page.locator("#why")).to_have_text("no scene matches")
    expect(page.locator("#syntax")).to_contain_text("Quotes")


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.dataset.id ?? document.activeElement.tagName")


def test_typing_in_search_is_one_step_of_the_history(page, served):
    steps = page.evaluate("history.length")
    page.keyboard.press("/")
    for letter, words in (("a", "a"), (" ", "a "), ("t", "a t")):
        page.keyboard.press(letter)
        page.wait_for_function(
            "w => new URLSearchParams(location.search).get('q') === w", arg=words
        )
    assert page.evaluate("history.length") == steps + 1
    page.go_back()
    expect(page.locator("#search")).to_have_value("")
    assert page.url == served.address


@pytest.mark.parametrize("where", ["?scene=1", "?page=set"])
@pytest.mark.parametrize("how", ["words", "order", "descending"])
def test_changed_filters_or_order_bring_the_grid_back(page, served, where, how):
    page.goto(served.address + where)
    expect(page.locator("#grid")).to_be_hidden()
    if how == "words":
        page.locator("#search").type("a")
    elif how == "order":
        page.locator("#order").select_option("subjects")
    else:
        page.locator("#descending").check()
    expect(page.locator(".cell").first).to_be_visible()
    assert "scene=" not in page.url
    assert "page=" not in page.url
    if how == "words":
        expect(page.locator("#search")).to_be_focused()


def test_empty_selection_offers_to_clear_filters(page, served):
    page.goto(f"{served.address}?q=zzzz&subjects=999")
    expect(page.locator("#why")).to_have_text("no scene matches")
    expect(page.locator('#facets input[name="split"]')).to_have_count(3)
    expect(page.locator('#facets input[name="flag"]')).to_have_count(0)  # nothing is marked
    page.locator('#facets input[name="subjects"][value="999"]').click()
    page.wait_for_url(f"{served.address}?q=zzzz")
    page.locator("#clear").click()
    expect(page.locator(".cell")).to_have_count(len(served.shards))
    expect(page.locator("#nothing")).to_be_hidden()
    assert page.url == served.address
    expect(page.locator("#clear-filters")).to_be_hidden()
    page.locator('#facets input[name="subjects"][value="2"]').click()
    page.locator("#clear-filters").click()
    expect(page.locator(".cell")).to_have_count(len(served.shards))


@pytest.mark.parametrize("filters", ["order=foo", "nope=1"])
def test_invalid_filters_in_the_url_show_an_error_in_the_grid(page, served, filters):
    page.goto(f"{served.address}?{filters}")
    expect(page.locator("#why")).to_contain_text("expected one of")
    expect(page.locator('#facets input[name="split"]')).to_have_count(3)
    page.locator("#clear").click()
    expect(page.locator(".cell").first).to_be_visible()


def test_facet_checkbox_keeps_the_keyboard_focus(page):
    box = page.locator('#facets input[name="subjects"][value="2"]')
    box.focus()
    page.keyboard.press("Space")
    page.wait_for_url(re.compile("subjects=2"))
    expect(page.locator("#count")).not_to_have_text("6 of 6 scenes")
    expect(box).to_be_focused()
    expect(box).to_be_checked()


def test_facet_with_many_values_can_be_unfolded(page, served):
    many = {f"thing {i:03}": 1 for i in range(112)}
    answer = {"ids": [0], "facets": {"category": many}, "offered": ["category"]}
    page.route("**/api/scenes?*", lambda route: route.fulfill(json=answer))
    page.goto(served.address)
    boxes = page.locator('#facets input[name="category"]')
    expect(boxes).to_have_count(40)
    page.get_by_role("button", name="show all 112").click()
    expect(boxes).to_have_count(112)
    expect(page.get_by_role("button", name="show fewer")).to_be_focused()


def test_closing_a_scene_restores_scroll_and_focus_of_the_grid(page):
    page.set_viewport_size({"width": 500, "height": 400})
    page.locator('.cell[data-id="5"]').scroll_into_view_if_needed()
    scrolled = page.locator("#grid").evaluate("grid => grid.scrollTop")
    assert scrolled > 0
    open_scene(page, 5)
    page.keyboard.press("Escape")
    expect(page.locator('.cell[data-id="5"]')).to_be_focused()
    # The effect of a size change comes in the next frame.
    page.evaluate("new Promise((later) => requestAnimationFrame(() => setTimeout(later)))")
    assert focused(page) == "5"
    assert page.locator("#grid").evaluate("grid => grid.scrollTop") == scrolled


def test_arrows_and_enter_work_on_a_fresh_grid(page, served):
    assert focused(page) == "BODY"
    page.keyboard.press("ArrowDown")
    assert focused(page) == "0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#key")).to_have_text(served.shards.keys()[1])
    page.goto(served.address)
    expect(page.locator(".cell").first).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#key")).to_have_text(served.shards.keys()[0])


@pytest.mark.usefixtures("set_mark")
def test_keyboard_moves_in_the_grid_and_sets_review_marks(page, served):
    page.locator("#help-button").focus()
    page.keyboard.press("Tab")  # scenes come before the many filters
    assert focused(page) == "0"
    page.keyboard.press("ArrowRight")
    assert focused(page) == "1"
    page.keyboard.press("x")
    expect(page.locator('.cell[data-id="1"]')).to_have_class("cell drop")
    expect(page.locator('#facets input[name="flag"][value="drop"]')).to_be_visible()
    assert focused(page) == "1"
    page.keyboard.press("x")
    expect(page.locator('.cell[data-id="1"]')).to_have_class("cell")
    page.keyboard.press("End")
    assert focused(page) == str(len(served.shards) - 1)
    page.keyboard.press("ArrowDown")  # there is no row below
    assert focused(page) == str(len(served.shards) - 1)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    columns = page.evaluate("Math.floor(document.getElementById('grid').clientWidth / 190)")
    assert focused(page) == str(columns)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")  # back to the same cell
    assert focused(page) == str(columns)


def test_keys_step_through_scenes_and_switch_layers_and_help(page, served):
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


def test_dataset_page_has_histograms_and_suspect_search(page, served):
    page.keyboard.press("s")
    expect(page.locator("#about h1")).to_have_text("seen")
    figures = page.locator(".histograms figure")
    expect(figures).to_have_count(4)
    categories = {s.category for sample in served.shards for s in sample.record.subjects}
    expect(figures.nth(1).locator(".bin")).to_have_count(len(categories))
    subjects = sum(sample.record.n_subjects for sample in served.shards)
    for figure in (figures.nth(2), figures.nth(3)):
        counts = [int(text) for text in figure.locator(".bin span:last-child").all_inner_texts()]
        assert sum(counts) == subjects
        assert counts[0] > 0
        assert counts[-1] > 0
        assert counts.count(0) <= len(counts) / 2
    page.locator("#look").click()
    expect(page.locator("#looked")).to_have_text("6 of 6 scenes read", timeout=30_000)
    expect(page.locator("#found")).not_to_be_empty()
    assert "page=set" in page.url
    page.go_back()
    expect(page.locator(".cell").first).to_be_visible()


@pytest.mark.usefixtures("set_mark")
def test_review_mark_set_in_a_scene_is_shown_in_the_grid(page):
    open_scene(page, 1)
    page.keyboard.press("x")
    expect(page.locator('[data-flag="drop"]')).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(page.locator('.cell[data-id="1"]')).to_have_class("cell drop")
    expect(page.locator('#facets input[name="flag"][value="drop"]')).to_be_visible()


def test_export_button_downloads_the_selected_scenes(page, served, tmp_path):
    page.locator('#facets input[name="subjects"][value="2"]').check()
    with page.expect_download() as download:
        page.locator("#export-button").click()
    download.value.save_as(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for record in (sample.record for sample in served.shards):
        assert (record.key in text) == (record.n_subjects == 2)


def test_filters_on_a_narrow_screen(page):
    page.set_viewport_size({"width": 390, "height": 800})
    expect(page.locator("#facets")).to_be_hidden()
    page.locator("#filters-button").click()
    page.locator('#facets input[name="subjects"][value="2"]').check()
    assert "subjects=2" in page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
