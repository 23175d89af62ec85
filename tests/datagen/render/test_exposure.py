"""Exposure: subjects are neither burnt out nor lost in the dark, and keep their colour."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.render.exposure import expose, expose_view


def patch(value: tuple[float, float, float], background: float) -> tuple[np.ndarray, np.ndarray]:
    """A square subject of linear ``value`` on a background, and its mask."""
    linear = np.full((32, 32, 3), background, np.float16)
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    linear[mask] = value
    return linear, mask


@pytest.mark.parametrize("background", [0.01, 0.5, 8.0])
@pytest.mark.parametrize("brightness", [1.2, 3.0, 7.0])
def test_bright_subjects_are_not_burnt_out(brightness: float, background: float) -> None:
    linear, mask = patch((brightness, brightness, brightness), background)
    shown = expose(linear, mask)[mask] / 255
    assert shown.min() > 0.85
    assert shown.max() < 0.93


def test_dim_subjects_are_raised_whatever_the_background() -> None:
    dim, mask = patch((0.3, 0.3, 0.3), 5.0)
    assert 0.68 < expose(dim, mask)[mask].mean() / 255 < 0.72


def test_black_subjects_stay_black() -> None:
    black, mask = patch((0.01, 0.01, 0.01), 0.4)
    assert expose(black, mask)[mask].mean() / 255 < 0.15


def test_exposure_keeps_the_ratio_of_colours() -> None:
    linear, mask = patch((2.0, 1.0, 0.5), 0.2)
    red, green, blue = ((expose(linear, mask)[mask][0] / 255 + 0.055) / 1.055) ** 2.4
    assert red / green == pytest.approx(2, rel=0.03)
    assert green / blue == pytest.approx(2, rel=0.03)


def test_well_exposed_images_are_encoded_as_srgb_and_nothing_else() -> None:
    linear, mask = patch((0.5, 0.6, 0.0), 0.2140)
    shown = expose(linear, mask)
    assert shown[mask][0].tolist() == [188, 203, 0]
    assert shown[0, 0].tolist() == [127, 127, 127]


def test_views_have_straight_alpha_and_their_subject_decides() -> None:
    linear = np.zeros((16, 16, 4), np.float16)
    linear[4:12, 4:12] = (4.0, 4.0, 4.0, 1.0)
    linear[3, 4:12] = (2.0, 2.0, 2.0, 0.5)
    shown = expose_view(linear)
    assert shown[8, 8].tolist() == shown[4, 4].tolist()
    assert shown[3, 6].tolist() == [*shown[8, 8][:3].tolist(), 128]
    assert 225 < shown[8, 8, 0] < 237
    assert not shown[0].any()


def test_an_empty_view_is_empty() -> None:
    assert not expose_view(np.zeros((8, 8, 4), np.float16)).any()
