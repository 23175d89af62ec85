"""The numbers behind the histograms on the dataset's card, for the page to draw."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datagen.shards.card import subject_table
from datagen.shards.charts import most_common

BINS = 20
CATEGORIES = 15

Histogram = tuple[str, list[tuple[str, int]]]
"""Title, and for each bar its name and its count."""


def histograms(scenes: pa.Table) -> tuple[Histogram, ...]:
    """The histograms of a dataset. ``scenes``: the table of metadata.parquet."""
    subjects = subject_table(scenes)
    counts = sorted(most_common(scenes["n_subjects"]), key=lambda bar: int(bar[0]))
    return (
        ("scenes by number of subjects", counts),
        ("subjects by category", most_common(subjects["category"])[:CATEGORIES]),
        ("subjects by visibility", _bars(subjects["visibility"])),
        ("subjects by size (root of the image share)", _bars(pc.sqrt(subjects["area"]))),
    )


def _bars(values: pa.ChunkedArray) -> list[tuple[str, int]]:
    counts, edges = np.histogram(values.to_numpy(), bins=BINS, range=(0, 1))
    return [(f"{edge:.2f}", int(n)) for edge, n in zip(edges, counts, strict=False)]
