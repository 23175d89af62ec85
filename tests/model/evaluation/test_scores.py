"""Outcomes to means that count what was measured, with intervals that hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.evaluation.scores import Outcome, markdown, score, tabulate

BASE = Outcome("model", "iou", "000001", 2, "box2d", 1.0)


def draw(rng: np.random.Generator, scenes: int, luck: float) -> list[Outcome]:
    """Three subjects a scene, right with probability 0.7; ``luck`` spreads it between scenes."""
    rates = (0.7 + luck * rng.choice([-1, 1], scenes)).clip(0, 1)
    return [
        replace(BASE, scene=str(i), value=float(rng.random() < rate))
        for i, rate in enumerate(rates)
        for _ in range(3)
    ]


@pytest.mark.parametrize("luck", [0.0, 0.3])
def test_score_interval_covers_the_true_mean(luck: float) -> None:
    """Nominally 95%; also where subjects of a scene share their luck."""
    rng = np.random.default_rng(0)
    scores = [score(draw(rng, 40, luck), rng) for _ in range(200)]
    assert np.mean([s.low <= 0.7 <= s.high for s in scores]) >= 0.9
    assert np.mean([s.high - s.low for s in scores]) < 0.35


def test_score_resamples_scenes_and_not_subjects() -> None:
    alone = [replace(BASE, scene=str(i), value=float(i % 2)) for i in range(20)]
    tripled = [outcome for outcome in alone for _ in range(3)]
    one, other = (score(outcomes, np.random.default_rng(1)) for outcomes in (alone, tripled))
    assert (one.mean, one.low, one.high) == (other.mean, other.low, other.high)
    assert (one.n, other.n) == (20, 60)


def test_score_counts_unmeasured_subjects_separately() -> None:
    outcomes = [replace(BASE, value=v) for v in (1.0, 0.0, float("nan"), 1.0)]
    found = score(outcomes, np.random.default_rng(0))
    assert (found.mean, found.n, found.unmeasured) == (pytest.approx(2 / 3), 3, 1)
    nothing = score(outcomes[2:3], np.random.default_rng(0))
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()
    assert (nothing.n, nothing.unmeasured) == (0, 1)


def test_score_is_deterministic_for_a_seed() -> None:
    outcomes = draw(np.random.default_rng(0), 30, 0.2)
    assert score(outcomes, np.random.default_rng(5)) == score(outcomes, np.random.default_rng(5))


def test_tabulate_by_number_of_subjects_and_by_granularity() -> None:
    outcomes = [
        BASE,
        replace(BASE, n_subjects=10, granularity="mask", value=0.0),
        replace(BASE, scene="000002", value=0.5),
        replace(BASE, row="truth", granularity="mask"),
        replace(BASE, metric="swap/color", value=0.25),
    ]
    numbers, kinds, *swap = tabulate(outcomes, np.random.default_rng(0))
    assert numbers.columns == ("N = 2", "N = 10", "all")
    assert kinds.columns == ("box2d", "mask", "all")
    assert [name for name, _ in numbers.rows] == ["model", "truth"]
    model, truth = (scores for _, scores in numbers.rows)
    assert [s and (s.mean, s.n) for s in model] == [(0.75, 2), (0.0, 1), (0.5, 3)]
    assert [s and s.n for s in truth] == [1, None, 1]
    assert len(swap) == 2
    assert swap[0].title == "swap/color, by number of subjects"


def test_markdown_shows_every_cell() -> None:
    outcomes = [
        BASE,
        replace(BASE, row="truth", n_subjects=3, value=float("nan")),
    ]
    text = markdown(tabulate(outcomes, np.random.default_rng(0)))
    assert text.splitlines()[:6] == [
        "**iou, by number of subjects**",
        "",
        "| | N = 2 | N = 3 | all |",
        "|---|---|---|---|",
        "| model | 1.00 [1.00, 1.00] n = 1 | - | 1.00 [1.00, 1.00] n = 1 |",
        "| truth | - | n = 0, 1 unmeasured | n = 0, 1 unmeasured |",
    ]
