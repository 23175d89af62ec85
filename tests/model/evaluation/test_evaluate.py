"""What the report measures can be failed: by a model that only knows colours, by one that does not
look at its references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest

from model.controls.regions import (
    SHEET_BACKGROUND,
    Encoding,
    Format,
    control_image,
    identity_sheet,
    mask_region,
)
from model.evaluation.evaluate import Case, Judge, evaluate, in_one_palette, make_judge
from model.evaluation.metrics import MEASURES, describe, distances, routed
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import ModelConfig, ScratchConfig, SigmaGen, build
from tests.model import truth
from tests.model.truth import Scene, network

FORMAT = Format(64, 32, Encoding("one_hot", slots=4))
COLORS = np.array([[210, 60, 50], [60, 80, 190], [70, 160, 70]], np.uint8)


def case(scene: Scene, chosen: Sequence[int] | None = None) -> Case:
    """Of some of its subjects, or of all."""
    chosen = range(len(scene.masks)) if chosen is None else chosen
    masks, views = scene.masks[chosen], scene.references[chosen]
    return Case(
        key=scene.key,
        prompt="",
        image=scene.image,
        masks=masks,
        views=views,
        sheet=identity_sheet(list(views), FORMAT.identity_size),
        control=control_image([mask_region(mask) for mask in masks], FORMAT.encoding),
        granularities=("mask",) * len(masks),
    )


def pairs() -> list[Case]:
    """Every two subjects of every scene."""
    return [
        case(scene, [i, j])
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


class Seeing(SigmaGenPipeline):
    """Paints where the control has a subject, in the colour that its block of the sheet has."""

    def sample(self, prompts, sheets, controls, **options):
        return np.stack(
            [
                self.picture(sheet.permute(1, 2, 0).numpy(), control[:-1].numpy() > 0)
                for sheet, control in zip(sheets, controls, strict=True)
            ]
        )

    def picture(self, sheet: np.ndarray, places: np.ndarray) -> np.ndarray:
        image = np.full((*places.shape[1:], 3), SHEET_BACKGROUND, np.uint8)
        blocks = np.split(sheet, len(sheet) // sheet.shape[1])
        for place, block in zip(places, blocks, strict=False):
            image[place] = np.median(block[(block != SHEET_BACKGROUND).any(axis=2)], axis=0)
        return image


class Blind(Seeing):
    """Paints the first place red, the second blue, the third green."""

    def picture(self, sheet: np.ndarray, places: np.ndarray) -> np.ndarray:
        edge = sheet.shape[1]
        always = np.repeat(COLORS[: len(sheet) // edge], edge, axis=0)
        return super().picture(np.broadcast_to(always[:, None], sheet.shape), places)


def plain(scene: Scene) -> list[Case]:
    """The scene with its references in plain colours, once for each way to hand these out."""
    made = []
    for colors in permutations(COLORS[: len(scene.masks)]):
        views = scene.references.copy()
        views[..., :3] = np.array(colors)[:, None, None]
        made.append(case(replace(scene, references=views)))
    return made


@pytest.fixture(scope="module")
def sigma() -> SigmaGen:
    return build(ModelConfig(ScratchConfig(), FORMAT), seed=0)


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Of one subject, of two, of three."""
    two, three = (next(scene for scene in truth.scenes() if len(scene.masks) == n) for n in (2, 3))
    fitted = [case(two)]
    return make_judge([case(two, [0]), *plain(two), *plain(three)], fitted, network())


def by_color(pipeline: SigmaGenPipeline, judge: Judge) -> dict[tuple[str, int], list[float]]:
    """By metric and number of subjects."""
    outcomes, _ = evaluate(
        "model", pipeline, judge, num_inference_steps=1, image_guidance_scale=1.0
    )
    found: dict[tuple[str, int], list[float]] = {}
    for outcome in outcomes:
        if outcome.metric in ("routing/color", "swap/color"):
            found.setdefault((outcome.metric, outcome.n_subjects), []).append(outcome.value)
    return found


def test_who_paints_what_the_sheet_shows_is_always_right_and_follows_every_swap(sigma, judge):
    assert by_color(Seeing(sigma), judge) == {
        ("routing/color", 2): [1.0] * 2 * 2,
        ("routing/color", 3): [1.0] * 6 * 3,
        ("swap/color", 2): [1.0] * 2 * 2,
        ("swap/color", 3): [1.0] * 6 * 2,
    }


def test_who_never_looks_at_the_sheet_is_at_chance(sigma, judge):
    shares = {name: np.mean(values) for name, values in by_color(Blind(sigma), judge).items()}
    assert shares == {
        ("routing/color", 2): 1 / 2,
        ("routing/color", 3): pytest.approx(1 / 3),
        ("swap/color", 2): 1 / 2,
        ("swap/color", 3): 1 / 2,
    }
