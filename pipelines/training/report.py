"""What a run has learned: measured on held-out scenes, beside what a model that learned nothing
and the truth itself would score, and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datagen.errors import UserError
from datagen.validation import Name, convert
from model.controls.control_sampling import EXACT
from model.data.batch import held_out_keys, max_subjects
from model.data.shard_index import open_shard_index
from model.evaluation.evaluate import Case, cases, evaluate, make_judge
from model.evaluation.features import EfficientNetLite0
from model.evaluation.scores import Outcome, markdown, tabulate
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import SigmaGen, build, load_model, read_config
from model.training.checkpoint import model_folder
from pipelines.training.comparison import comparison
from pipelines.training.config import TrainingConfig

FITTED = 100
"""Scenes of the training split that the segmenter is fitted to."""

SHOWN = 8
EDGE = 128

OWN_ROWS = ("model", "untrained", "truth")

ABOUT = """\
Held-out scenes of the test split, none of whose assets was trained on. Mean, 95% interval
(bootstrap over scenes), and the number of subjects. `routing`: is a region nearer to its own
reference than to the scene's others (chance 1/N)? `swap`: two references exchanged, do their
regions follow (chance 1/2)? `iou`: does a subject fill its visible mask, whatever its control?
`one palette`: two subjects, the second in the first one's colours, so that only pattern and shape
tell them apart (chance 1/2).
`untrained`: the model before its first step; `truth`: the real pictures.
"""

ALONE = """\
A third control is not here: a model trained on other scenes' references, of which no binding can be
learned. `--data.shuffled_references true` trains it,
`--report.baselines.shuffled_references FOLDER` adds its row.
"""


@dataclass(frozen=True)
class Report:
    """``text``: Markdown; ``picture`` (H, W, 3) uint8 goes with it."""

    text: str
    picture: np.ndarray


def models_beside(config: TrainingConfig) -> dict[str, Path]:
    """Folders of the models that ``report.baselines`` names, by row. Raises UserError where one is
    none, or takes other pictures than the run's."""
    folders = {}
    for row, place in config.report.baselines.items():
        key = f"report.baselines.{row}"
        convert(row, Name, key)
        if row in OWN_ROWS:
            raise UserError(f"{key}: the report has a row of that name; choose another")
        try:
            folders[row] = model_folder(Path(place))
            other = read_config(folders[row])
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
        if other.format != config.model.format:
            raise UserError(f"{key}: {place} has another model.format; expected this run's")
    return folders


def make_report(
    config: TrainingConfig, shards: str, model: Path, beside: Mapping[str, Path]
) -> Report:
    """``model``: the folder of the run's own; ``beside``: of others, by row. Raises UserError."""
    source = open_shard_index(shards)
    settings = config.report
    shown = config.model.format
    most = max_subjects(shown.encoding)
    draws = replace(EXACT, mixed_share=float(settings.mixed))
    read = partial(cases, source, format=shown, draws=draws)
    judged, damaged = read(held_out_keys(source, settings.scenes, "test", most))
    fitted, unfit = read(held_out_keys(source, FITTED, "train", most))
    if not (judged and fitted):
        raise UserError(f"{shards}: no sound scene to report on: {[*damaged, *unfit][-1]}")
    judge = make_judge(judged, fitted, EfficientNetLite0())
    device = "cuda" if config.job.gpu and torch.cuda.is_available() else "cpu"

    def measured(row: str, sigma: SigmaGen, steps: int) -> tuple[list[Outcome], list[np.ndarray]]:
        return evaluate(
            row,
            SigmaGenPipeline(sigma),
            judge,
            steps=steps,
            image_guidance=settings.image_guidance_scale,
            seed=settings.seed,
        )

    outcomes, painted = measured("model", load_model(model, device), settings.num_inference_steps)
    for row, folder in beside.items():
        outcomes += measured(row, load_model(folder, device), settings.num_inference_steps)[0]
    # A transformer that has learned nothing paints grey, in one step as in many.
    steps = settings.num_inference_steps if config.model.lora else 1
    outcomes += measured("untrained", build(config.model, config.train.seed + 1, device), steps)[0]
    outcomes += judge.truth()
    tables = tabulate(outcomes, np.random.default_rng(0))
    how = (
        f"Run `{config.name}`, seed {config.train.seed}: {len(judged)} scenes, "
        f"{settings.num_inference_steps} sampling steps, "
        f"image guidance {settings.image_guidance_scale:g}, noise {settings.seed}"
        f"{', mixed controls' if settings.mixed else ''}.\n"
    )
    if not beside:
        how += ALONE
    how += "".join(f"Left out as damaged: {error}.\n" for error in [*damaged, *unfit])
    return Report(f"{ABOUT}\n{how}\n{markdown(tables)}", _picture(judged, painted))


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
