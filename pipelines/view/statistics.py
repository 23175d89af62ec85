"""The histograms of a dataset, for the page to draw."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from datagen.shards.card import subject_table
from datagen.shards.charts import most_common

# Most subjects are visible as a whole and cover a few percent of the image; bins are narrow there.
_VISIBLE_BINS = {
    "under 40%": 0.4, "40% to 70%": 0.7, "70% to 90%": 0.9, "90% to 99.5%": 0.995,
    "over 99.5%": np.inf,
}  # fmt: skip
_AREA_BINS = {
    "under 0.5%": 0.005, "0.5% to 1%": 0.01, "1% to 2%": 0.02, "2% to 5%": 0.05,
    "5% to 10%": 0.1, "10% to 20%": 0.2, "20% to 40%": 0.4, "over 40%": np.inf,
}  # fmt: skip
"""The upper edge of each bin, by its name."""

Histogram = tuple[str, list[tuple[str, int]]]
"""Title, and for each bar its name and its count."""


def histograms(scenes: pa.Table) -> tuple[Histogram, ...]:
    """The histograms of a dataset. ``scenes``: the table of metadata.parquet."""
    subjects = subject_table(scenes)
    counts = sorted(most_common(scenes["n_subjects"]), key=lambda bar: int(bar[0]))
    categories = most_common(subjects["category"])
    return (
        ("scenes by number of subjects", counts),
        (f"subjects by category, {len(categories)} categories", categories),
        ("subjects by visible share", _bars(subjects["visibility"], _VISIBLE_BINS)),
        ("subjects by share of the image", _bars(subjects["area"], _AREA_BINS)),
    )


def _bars(values: pa.ChunkedArray, bins: dict[str, float]) -> list[tuple[str, int]]:
    """The bars from the first to the last bin that has a value."""
    edges = list(bins.values())[:-1]
    counts = np.bincount(np.digitize(values.to_numpy(), edges), minlength=len(bins))
    filled = np.flatnonzero(counts)
    if not len(filled):
        return []
    bars = list(zip(bins, counts.tolist(), strict=True))
    return bars[filled[0] : filled[-1] + 1]
