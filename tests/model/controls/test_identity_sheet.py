"""The identity sheet: order, size, background and edges of reference views."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datagen.errors import UserError
from model.controls.identity_sheet import SHEET_BACKGROUND, identity_sheet, reference_view


def plain_view(side: int, rgba: tuple[int, int, int, int]) -> np.ndarray:
    return np.full((side, side, 4), rgba, np.uint8)


def test_identity_sheet_has_one_block_per_subject_in_order() -> None:
    colors = [(200, 10, 10), (10, 200, 10), (10, 10, 200)]
    views = [plain_view(side, (*rgb, 255)) for side, rgb in zip((5, 16, 40), colors, strict=True)]
    sheet = identity_sheet(views, 16)
    assert sheet.shape == (48, 16, 3)
    assert sheet.dtype == np.uint8
    for block, rgb in zip(np.split(sheet, 3), colors, strict=True):
        assert (block == rgb).all()


def test_identity_sheet_composites_by_alpha_on_its_background() -> None:
    views = [plain_view(8, (255, 0, 0, alpha)) for alpha in (0, 102, 255)]
    clear, part, full = np.split(identity_sheet(views, 8), 3)
    assert (clear == SHEET_BACKGROUND).all(), "colour under transparency does not show"
    expected = 0.4 * np.array([255, 0, 0]) + 0.6 * SHEET_BACKGROUND
    assert np.abs(part.astype(float) - expected).max() <= 1
    assert (full == (255, 0, 0)).all()


@given(size=st.integers(3, 40))
def test_identity_sheet_does_not_blend_colour_of_transparent_pixels(size: int) -> None:
    """Opaque red beside green that alpha hides: between red and grey, green equals blue."""
    view = plain_view(24, (0, 255, 0, 0))
    view[:, :13] = (255, 0, 0, 255)
    sheet = identity_sheet([view], size).astype(int)
    assert np.abs(sheet[..., 1] - sheet[..., 2]).max() <= 1


def test_identity_sheet_is_antialiased_when_made_smaller() -> None:
    view = plain_view(64, (0, 0, 0, 255))
    view[::2, :, :3] = 255
    sheet = identity_sheet([view], 16)
    assert np.abs(sheet.astype(int) - 128).max() <= 12  # 127 where every fourth row is picked


@pytest.mark.parametrize(
    "view",
    [
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((8, 6, 4), np.uint8),
        np.zeros((8, 8, 4), np.float32),
    ],
)
def test_identity_sheet_refuses_views_that_are_not_square_rgba(view: np.ndarray) -> None:
    with pytest.raises(UserError, match="identity view of subject 2"):
        identity_sheet([plain_view(8, (0, 0, 0, 255)), view], 8)


def test_identity_sheet_refuses_an_empty_list() -> None:
    with pytest.raises(UserError, match="no views"):
        identity_sheet([], 8)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("RGB", (8, 8)), r"\(8, 8, 3\): RGB, expected RGBA; cut the subject out"),
        (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\), expected uint8 \(s, s, 4\)"),
        (np.ones((8, 8, 4)), "float64"),
        (np.full((8, 6, 4), 255, np.uint8), "6 x 8 pixels, expected a square; pad it"),
        (np.full((8, 8, 4), 127, np.uint8), "transparent throughout"),
        (np.zeros((0, 0, 4), np.uint8), "transparent throughout"),
    ],
)
def test_reference_view_refuses_other_pictures_and_says_what_to_do(picture, message: str) -> None:
    with pytest.raises(UserError, match=message):
        reference_view(picture)


def test_reference_view_takes_pillow_images() -> None:
    view = plain_view(8, (200, 10, 10, 255))
    np.testing.assert_array_equal(reference_view(Image.fromarray(view)), view)
