"""``statistics.png``: statistics of the set, for the card. The same set gives the same bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datagen.scene import MAX_SUBJECTS, SPLITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHARTS = "statistics.png"

_COLORS = {"train": "#4477aa", "val": "#ccbb44", "test": "#ee6677"}
_CATEGORIES = 15


def most_common(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Values and their number, most frequent first, then by name."""
    counts = [
        (str(entry["values"]), int(entry["counts"]))
        for entry in pc.value_counts(column).to_pylist()
    ]
    return sorted(counts, key=lambda item: (-item[1], item[0]))


def draw(scenes: pa.Table, subjects: pa.Table) -> bytes:
    """A PNG of four charts.

    Args:
        scenes: ``metadata.parquet``.
        subjects: one row per subject, as ``card.subject_table`` makes it.
    """
    # Imported here: it takes a second, and every process of a job imports this module, but only
    # the one that packs draws.
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the style of the user who packs
        figure = Figure(figsize=(10, 6.4), dpi=100)
        (a, b), (c, d) = figure.subplots(2, 2)
        figure.subplots_adjust(0.08, 0.08, 0.98, 0.94, wspace=0.45, hspace=0.3)
        _subjects_per_scene(a, scenes)
        _by_category(b, subjects)
        _histogram(c, subjects["visibility"], "visible share of a subject")
        _histogram(
            d, pc.sqrt(subjects["area"]), "size of a subject (root of its share of the image)"
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _subjects_per_scene(axes: Axes, scenes: pa.Table) -> None:
    n = scenes["n_subjects"].to_numpy()
    split = np.array(scenes["split"].to_pylist())
    base = np.zeros(MAX_SUBJECTS)
    for name in SPLITS:
        if not (split == name).any():
            continue
        counts = np.bincount(n[split == name], minlength=MAX_SUBJECTS + 1)[1:]
        axes.bar(
            np.arange(1, MAX_SUBJECTS + 1), counts, bottom=base, color=_COLORS[name], label=name
        )
        base += counts
    axes.set(xlabel="subjects", ylabel="scenes", xticks=range(1, MAX_SUBJECTS + 1))
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 0.99))


def _by_category(axes: Axes, subjects: pa.Table) -> None:
    counts = most_common(subjects["category"])
    top = counts[:_CATEGORIES][::-1]
    left_out = f" ({_CATEGORIES} of {len(counts)} categories)" if len(counts) > len(top) else ""
    # Names come from asset libraries: "$" must not begin a formula.
    axes.barh(range(len(top)), [count for _, count in top], color="#4477aa")
    axes.set_yticks(range(len(top)), [name[:24].replace("$", r"\$") for name, _ in top], fontsize=7)
    axes.set(xlabel=f"subjects{left_out}")
    axes.locator_params("x", integer=True)


def _histogram(axes: Axes, values: pa.ChunkedArray, label: str) -> None:
    axes.hist(values.to_numpy(), bins=20, range=(0, 1), color="#4477aa")
    axes.set(xlabel=label, ylabel="subjects", xlim=(0, 1))
    axes.locator_params("y", integer=True)
