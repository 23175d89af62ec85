"""What a run has learned: measured on held-out scenes, beside what a model that learned nothing
and the truth itself would score, and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from model.data import held_out
from model.evaluation import Case, cases, evaluate, make_judge
from model.features import EfficientNetLite0
from model.sampling import SigmaGenPipeline
from model.scores import Table, markdown, tabulate
from model.sigma import build
from model.source import open_source
from pipelines.training.config import TrainingConfig
from pipelines.training.pictures import comparison

FITTED = 100
"""Scenes of the training split that the segmenter is fitted to."""

SHOWN = 8
EDGE = 128

ABOUT = """\
Held-out scenes of the test split, none of whose assets was trained on. Mean, 95% interval
(bootstrap over scenes), and the number of subjects. `routing`: is a region nearer to its own
reference than to the scene's others (chance 1/N)? `swap`: two references exchanged, do their
regions follow (chance 1/2)? `iou`: does a subject fill its mask? `one palette`: two subjects, the
second in the first one's colours, so that only pattern and shape tell them apart (chance 1/2).
`truth`: the real pictures.
"""


@dataclass(frozen=True)
class Report:
    """``text``: Markdown; ``picture`` and ``tables`` with it. ``headline``: a line a metric."""

    text: str
    picture: np.ndarray
    tables: tuple[Table, ...]


def make_report(config: TrainingConfig, shards: str, models: dict[str, Path]) -> Report:
    """``models``: by row, the folder of a saved model; the first is shown. Raises UserError."""
    source = open_source(shards)
    test = held_out(source, config.report.scenes, "test")
    judged = cases(source, test, config.model.format)
    fitted = cases(source, held_out(source, FITTED, "train"), config.model.format)
    judge = make_judge(judged, fitted, EfficientNetLite0())
    settings = config.report
    outcomes, shown = [], list[np.ndarray]()
    for row, folder in models.items():
        pipeline = SigmaGenPipeline.from_pretrained(folder)
        found, images = evaluate(
            row,
            pipeline,
            judge,
            steps=settings.steps,
            image_guidance=settings.image_guidance,
        )
        outcomes += found
        shown = shown or images
    untrained = SigmaGenPipeline(build(config.model, config.train.seed + 1))
    outcomes += evaluate("untrained", untrained, judge, steps=2, image_guidance=1.0)[0]
    outcomes += judge.truth()
    tables = tabulate(outcomes, np.random.default_rng(0))
    return Report(f"{ABOUT}\n{markdown(tables)}", _picture(judged, shown), tables)


def write_report(report: Report, run: Path) -> tuple[Path, Path]:
    """RUN/report.md and RUN/report.png."""
    text, picture = run / "report.md", run / "report.png"
    Image.fromarray(report.picture).save(picture)
    text.write_text(f"![references, control, painted, truth](report.png)\n\n{report.text}")
    return text, picture


def _picture(judged: Sequence[Case], images: Sequence[np.ndarray]) -> np.ndarray:
    """Some scenes of each number of subjects."""
    step = max(len(judged) // SHOWN, 1)
    chosen = range(0, len(judged), step)[:SHOWN]
    return comparison([judged[i] for i in chosen], [images[i] for i in chosen], EDGE)
