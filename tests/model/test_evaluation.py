"""What the report measures can be failed: by a model that only knows colours."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from model.controls import identity_sheet
from model.evaluation import Case, in_one_palette
from model.metrics import MEASURES, describe, distances, routed
from tests.model import truth
from tests.model.truth import network


def pairs() -> list[Case]:
    """Every two subjects of every scene."""
    return [
        Case(
            key=scene.key,
            prompt="",
            image=scene.image,
            masks=scene.masks[[i, j]],
            views=scene.references[[i, j]],
            sheet=identity_sheet([scene.references[i], scene.references[j]], 32),
            control=np.zeros((64, 64, 3), np.uint8),
            granularities=("mask", "mask"),
        )
        for scene in truth.scenes()
        for i, j in combinations(range(len(scene.masks)), 2)
    ]


def colors(pixels: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, pixels.tolist()))


def test_in_one_palette_no_color_is_the_second_subjects_own():
    for case in pairs():
        made = in_one_palette(case)
        (first, second), (here, there) = made.views, made.masks
        seen = [view[view[..., 3] > 127][:, :3] for view in (first, second)]
        assert colors(seen[1]) <= colors(seen[0])
        assert colors(made.image[there]) <= colors(made.image[here])
        assert np.array_equal(first, case.views[0])
        assert np.array_equal(made.image[~there], case.image[~there])
        assert np.array_equal(second[..., 3], case.views[1][..., 3])
        assert np.array_equal(made.sheet, identity_sheet([first, second], 32))


def test_in_one_palette_color_is_blind_and_pattern_is_not():
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for case in map(in_one_palette, pairs()):
        known = describe(case.views, network())
        for name, apart in distances(case.image, case.masks, known, network()).items():
            found[name] += routed(apart).tolist()
    share = {name: float(np.mean(values)) for name, values in found.items()}
    assert share["pattern"] >= share["color"] + 0.2, share
    assert abs(share["color"] - 0.5) <= 0.15, share
