"""The metrics of the report can be failed: by a model that knows only colours, and by one that does
not look at its references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest

from model.controls.control_image import InputSpec, RoutingEncoding, control_image
from model.controls.identity_sheet import SHEET_BACKGROUND, identity_sheet
from model.controls.regions import mask_region
from model.evaluation.eval_samples import EvalSample, in_one_palette
from model.evaluation.evaluate import Evaluator, evaluate, make_evaluator
from model.evaluation.metrics import MEASURES, describe, distances, routed
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import ModelConfig, ScratchConfig, SigmaGen, build
from tests.model import truth
from tests.model.truth import Scene, network

FORMAT = InputSpec(64, 32, RoutingEncoding("one_hot", slots=4))
COLORS = np.array([[210, 60, 50], [60, 80, 190], [70, 160, 70]], np.uint8)


def eval_sample(scene: Scene, chosen: Sequence[int] | None = None) -> EvalSample:
    """With the chosen subjects of the scene, or with all."""
    chosen = range(len(scene.masks)) if chosen is None else chosen
    masks, views = scene.masks[chosen], scene.references[chosen]
    return EvalSample(
        key=scene.key,
        prompt="",
        image=scene.image,
        masks=masks,
        views=views,
        sheet=identity_sheet(list(views), FORMAT.identity_size),
        control=control_image([mask_region(mask) for mask in masks], FORMAT.encoding),
        granularities=("mask",) * len(masks),
    )


def pairs() -> list[EvalSample]:
    """Every two subjects of every scene."""
    return [
        eval_sample(scene, [i, j])
        for scene in truth.scenes()
        for i, j in combinations(range(len(scene.masks)), 2)
    ]


def colors(pixels: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, pixels.tolist()))


def test_in_one_palette_recolors_only_the_second_subject():
    for sample in pairs():
        made = in_one_palette(sample)
        (first, second), (here, there) = made.views, made.masks
        seen = [view[view[..., 3] > 127][:, :3] for view in (first, second)]
        assert colors(seen[1]) <= colors(seen[0])
        assert colors(made.image[there]) <= colors(made.image[here])
        assert np.array_equal(first, sample.views[0])
        assert np.array_equal(made.image[~there], sample.image[~there])
        assert np.array_equal(second[..., 3], sample.views[1][..., 3])
        assert np.array_equal(made.sheet, identity_sheet([first, second], 32))


@pytest.mark.slow
def test_in_one_palette_routing_is_at_chance_by_color_and_not_by_pattern():
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for sample in map(in_one_palette, pairs()):
        known = describe(sample.views, network())
        for name, apart in distances(sample.image, sample.masks, known, network()).items():
            found[name] += routed(apart).tolist()
    share = {name: float(np.mean(values)) for name, values in found.items()}
    assert share["pattern"] >= share["color"] + 0.2, share
    assert abs(share["color"] - 0.5) <= 0.15, share


class CopiesSheet(SigmaGenPipeline):
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


class IgnoresSheet(CopiesSheet):
    """Paints the first place red, the second blue, the third green."""

    def picture(self, sheet: np.ndarray, places: np.ndarray) -> np.ndarray:
        edge = sheet.shape[1]
        always = np.repeat(COLORS[: len(sheet) // edge], edge, axis=0)
        return super().picture(np.broadcast_to(always[:, None], sheet.shape), places)


def plain(scene: Scene) -> list[EvalSample]:
    """The scene with its references in plain colours, once for each way to hand these out."""
    made = []
    for colors in permutations(COLORS[: len(scene.masks)]):
        views = scene.references.copy()
        views[..., :3] = np.array(colors)[:, None, None]
        made.append(eval_sample(replace(scene, references=views)))
    return made


@pytest.fixture(scope="module")
def sigma() -> SigmaGen:
    return build(ModelConfig(ScratchConfig(), FORMAT), seed=0)


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    """Scenes of one, two and three subjects."""
    two, three = (next(scene for scene in truth.scenes() if len(scene.masks) == n) for n in (2, 3))
    fitted = [eval_sample(two)]
    return make_evaluator([eval_sample(two, [0]), *plain(two), *plain(three)], fitted, network())


BY_COLOR = ("routing/color", "assignment/color", "swap/color", "swap assignment/color")


def by_color(
    pipeline: SigmaGenPipeline, evaluator: Evaluator
) -> dict[tuple[str, int], list[float]]:
    """Outcomes of the colour metrics, by metric and number of subjects."""
    outcomes, _ = evaluate(
        "model", pipeline, evaluator, num_inference_steps=1, image_guidance_scale=1.0
    )
    found: dict[tuple[str, int], list[float]] = {}
    for outcome in outcomes:
        if outcome.metric in BY_COLOR:
            found.setdefault((outcome.metric, outcome.n_subjects), []).append(outcome.value)
    return found


def test_model_that_copies_the_identity_sheet_scores_1_in_routing_and_swap(sigma, evaluator):
    assert by_color(CopiesSheet(sigma), evaluator) == {
        ("routing/color", 2): [1.0] * 2 * 2,
        ("routing/color", 3): [1.0] * 6 * 3,
        ("assignment/color", 2): [1.0] * 2 * 2,
        ("assignment/color", 3): [1.0] * 6 * 3,
        ("swap/color", 2): [1.0] * 2 * 2,
        ("swap/color", 3): [1.0] * 6 * 2,
        ("swap assignment/color", 2): [1.0] * 2 * 2,
        ("swap assignment/color", 3): [1.0] * 6 * 2,
    }


def test_model_that_ignores_the_identity_sheet_scores_at_chance(sigma, evaluator):
    shares = {
        name: np.mean(values) for name, values in by_color(IgnoresSheet(sigma), evaluator).items()
    }
    assert shares == {
        ("routing/color", 2): 1 / 2,
        ("routing/color", 3): pytest.approx(1 / 3),
        ("assignment/color", 2): 1 / 2,
        ("assignment/color", 3): pytest.approx(1 / 3),
        ("swap/color", 2): 1 / 2,
        ("swap/color", 3): 1 / 2,
        ("swap assignment/color", 2): 1 / 2,
        ("swap assignment/color", 3): 1 / 2,
    }
