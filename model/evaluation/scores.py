"""Scores with confidence intervals from outcomes of single subjects, and their tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Outcome:
    """One measurement of one subject.

    Attributes:
        row: What made the picture: "model", "untrained", "truth", or the name of another model,
            such as "shuffled_references".
        metric: A key of ``metrics.measure`` or ``measure_swap``.
        scene: Key of the scene in the set.
        n_subjects: Of the scene.
        granularity: Of the subject's control.
        value: 0..1, NaN where it could not be measured.
    """

    row: str
    metric: str
    scene: str
    n_subjects: int
    granularity: str
    value: float


@dataclass(frozen=True)
class Score:
    """Mean over ``n`` measured subjects, and the bounds of its 95% interval; all three are NaN
    where ``n`` is 0. ``unmeasured`` subjects had no pixel to measure and are not in the mean."""

    mean: float
    low: float
    high: float
    n: int
    unmeasured: int


@dataclass(frozen=True)
class Table:
    """Scores of one metric. ``rows``: a name and one score per column, None where there is no
    outcome."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Score | None, ...]], ...]


def score(outcomes: Iterable[Outcome], rng: np.random.Generator) -> Score:
    """Mean and 95% interval, by a percentile bootstrap over scenes.

    Scenes are resampled, not subjects, because the outcomes of subjects of one scene are correlated
    (Davison and Hinkley 1997, section 3.8).
    """
    sums: dict[str, list[float]] = {}
    unmeasured = 0
    for outcome in outcomes:
        if np.isnan(outcome.value):
            unmeasured += 1
        else:
            sums.setdefault(outcome.scene, []).append(outcome.value)
    if not sums:
        return Score(np.nan, np.nan, np.nan, 0, unmeasured)
    totals = np.array([sum(values) for values in sums.values()])
    counts = np.array([len(values) for values in sums.values()])
    drawn = rng.integers(0, len(totals), (_RESAMPLES, len(totals)))
    means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, _INTERVAL)
    mean = totals.sum() / counts.sum()
    return Score(float(mean), float(low), float(high), int(counts.sum()), unmeasured)


def tabulate(outcomes: Sequence[Outcome], rng: np.random.Generator) -> tuple[Table, ...]:
    """Two tables per metric: by number of subjects, and by granularity of the control. The last
    column is over all outcomes. Rows and metrics are in the order of their first outcome."""
    tables = []
    for metric in dict.fromkeys(outcome.metric for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.metric == metric]
        numbers = [f"N = {n}" for n in sorted({outcome.n_subjects for outcome in own})]
        kinds = list(dict.fromkeys(outcome.granularity for outcome in own))
        for what, column_of, columns in (
            ("number of subjects", _number, numbers),
            ("granularity", _kind, kinds),
        ):
            rows = []
            for row in dict.fromkeys(outcome.row for outcome in own):
                made = [outcome for outcome in own if outcome.row == row]
                groups = [[o for o in made if column_of(o) == column] for column in columns]
                scores = [score(group, rng) if group else None for group in [*groups, made]]
                rows.append((row, tuple(scores)))
            tables.append(Table(f"{metric}, by {what}", (*columns, "all"), tuple(rows)))
    return tuple(tables)


def markdown(tables: Iterable[Table]) -> str:
    """The tables as Markdown: mean, interval and number of subjects in each cell, a dash where
    there is no outcome."""
    parts = []
    for table in tables:
        lines = [
            f"**{table.title}**",
            "",
            "| | " + " | ".join(table.columns) + " |",
            "|---|" + "---|" * len(table.columns),
        ]
        for name, scores in table.rows:
            lines.append(f"| {name} | " + " | ".join(_cell(value) for value in scores) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _number(outcome: Outcome) -> str:
    return f"N = {outcome.n_subjects}"


def _kind(outcome: Outcome) -> str:
    return outcome.granularity


def _cell(value: Score | None) -> str:
    if value is None:
        return "-"
    unmeasured = f", {value.unmeasured} unmeasured" if value.unmeasured else ""
    if value.n == 0:
        return f"n = 0{unmeasured}"
    return f"{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}] n = {value.n}{unmeasured}"
