"""The report of a run: scores and pictures on held-out scenes, beside the scores of an untrained
model and of the true images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from datagen.atomic import create_file, write_file
from datagen.errors import UserError
from datagen.validation import Name, convert
from model.controls.control_sampling import EXACT
from model.data.batch import held_out_keys, max_subjects
from model.data.shard_index import open_shard_index
from model.evaluation.eval_samples import EvalSample, load_eval_samples
from model.evaluation.evaluate import evaluate, make_evaluator
from model.evaluation.features import EfficientNetLite0
from model.evaluation.scores import Outcome, markdown, tabulate
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import SigmaGen, build, load_model, read_config
from model.training.checkpoint import model_folder
from pipelines.training.comparison import comparison
from pipelines.training.config import TrainingConfig

FITTED = 100
"""Scenes of the training split that the segmenter is fitted to."""

SHOWN, EDGE = 8, 128
"""Scenes in the report's picture, and the edge of each image there, in pixels."""

OWN_ROWS = ("model", "untrained", "truth")

ABOUT = """\
Held-out scenes of the test split; none of their assets was trained on. Mean, 95% interval
(bootstrap over scenes), and the number of subjects. `routing` accuracy: is a region nearest to its
own reference, among the references of the scene (chance 1/N)? `swap`: with two references
exchanged, is each of their regions nearer to the reference that it was given (chance 1/2)?
`assignment` and `swap assignment`: the same of distances from which the mean over the regions of
the scene is taken, with the same chance; for two subjects a verdict on both together: a region may
count as right though it looks like the other subject. `iou`: does a subject fill its visible
mask, whatever its control? `one palette`: routing of two subjects, the second in the colours of the
first, so that only pattern and shape distinguish them (chance 1/2).
`untrained`: the model before its first step; `truth`: the true images.
"""

NO_BASELINES = """\
This report lacks a third baseline: a model trained with the references of other scenes, from
which no binding can be learned. `--data.shuffled_references true` trains it,
`--report.baselines.shuffled_references FOLDER` adds its row.
"""


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        text: Markdown.
        picture: (H, W, 3) uint8, shown above the text.
    """

    text: str
    picture: np.ndarray


def baseline_folders(config: TrainingConfig) -> dict[str, Path]:
    """The models that ``report.baselines`` names.

    Args:
        config: of the run.

    Returns:
        The folder of each model, by the name of its row.

    Raises:
        UserError: a folder holds no model, a model has another ``model.format`` than the run's, or
            a name is not allowed.
    """
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
    config: TrainingConfig,
    shards: str,
    model: Path,
    baselines: Mapping[str, Path],
    console: Console | None = None,
) -> Report:
    """Measure the run's model, its untrained self, the true images and other models.

    Args:
        config: of the run.
        shards: folder or URL of the training set, whose test split is measured.
        model: folder of the run's model.
        baselines: folders of other models, by the names of their rows.
        console: where progress is shown.

    Raises:
        UserError: the set has no sound scenes to measure.
    """
    console = console or Console()
    source = open_shard_index(shards)
    settings = config.report
    shown = config.model.format
    most = max_subjects(shown.encoding)
    draws = replace(EXACT, mixed_share=float(settings.mixed))
    read = partial(load_eval_samples, source, format=shown, draws=draws)
    judged, damaged = read(held_out_keys(source, settings.scenes, "test", most))
    fitted, unfit = read(held_out_keys(source, FITTED, "train", most))
    if not (judged and fitted):
        raise UserError(f"{shards}: no sound scene to report on: {[*damaged, *unfit][-1]}")
    evaluator = make_evaluator(judged, fitted, EfficientNetLite0())
    device = "cuda" if config.job.gpu and torch.cuda.is_available() else "cpu"

    def measured(row: str, sigma: SigmaGen, steps: int) -> tuple[list[Outcome], list[np.ndarray]]:
        console.print(f"report: generating {len(judged)} scenes, {row}")
        return evaluate(
            row,
            SigmaGenPipeline(sigma),
            evaluator,
            num_inference_steps=steps,
            image_guidance_scale=settings.image_guidance_scale,
            seed=settings.seed,
        )

    outcomes, generated = measured("model", load_model(model, device), settings.num_inference_steps)
    for row, folder in baselines.items():
        outcomes += measured(row, load_model(folder, device), settings.num_inference_steps)[0]
    # An untrained transformer generates grey images, in one step as in many.
    steps = settings.num_inference_steps if config.model.lora else 1
    outcomes += measured("untrained", build(config.model, config.train.seed + 1, device), steps)[0]
    outcomes += evaluator.truth()
    tables = tabulate(outcomes, np.random.default_rng(0))
    how = (
        f"Run `{config.name}`, seed {config.train.seed}: {len(judged)} scenes, "
        f"{settings.num_inference_steps} sampling steps, "
        f"image guidance {settings.image_guidance_scale:g}, noise {settings.seed}"
        f"{', mixed controls' if settings.mixed else ''}.\n"
    )
    if not baselines:
        how += NO_BASELINES
    how += "".join(f"Left out as damaged: {error}.\n" for error in [*damaged, *unfit])
    return Report(f"{ABOUT}\n{how}\n{markdown(tables)}", _picture(judged, generated))


def write_report(report: Report, run: Path) -> tuple[Path, Path]:
    """Write a report.

    Args:
        report: the report.
        run: folder of the run.

    Returns:
        The paths of report.md and report.png.
    """
    text, picture = run / "report.md", run / "report.png"
    with create_file(picture) as stream:
        Image.fromarray(report.picture).save(stream, "PNG")
    content = f"![references, control, generated, truth](report.png)\n\n{report.text}"
    write_file(text, content.encode())
    return text, picture


def _picture(judged: Sequence[EvalSample], images: Sequence[np.ndarray]) -> np.ndarray:
    """Generated images of some scenes of every subject count."""
    step = max(len(judged) // SHOWN, 1)
    chosen = range(0, len(judged), step)[:SHOWN]
    return comparison([judged[i] for i in chosen], [images[i] for i in chosen], EDGE)
