"""What rank 0 measures of a run while it trains: losses, validation, sample images."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from model.data.batch import BatchBuilder, held_out_keys, load_batches, max_subjects
from model.data.shard_index import ShardIndex
from model.evaluation.eval_samples import load_eval_samples
from model.evaluation.evaluate import generate_images
from model.pipeline import SigmaGenPipeline
from model.training.precision import Precision
from model.training.train import held_out_loss
from model.training.train_state import TrainState
from pipelines.training.comparison import comparison
from pipelines.training.config import TrainingConfig
from pipelines.training.log import Log

LINES_PER_SECOND = 2
SHOWN, VALIDATED = 4, 32
"""Held-out scenes whose images are generated, and held-out scenes of the validation loss."""


class Monitor:
    """Logs the steps of a run, and validates its model.

    Args:
        config: of the run.
        run: its folder.
        state: the model in training, with its averaged weights.
        source: the training set.
        validation: builder of held-out batches.
        start: steps that the run has taken before.

    Raises:
        UserError: the set has no held-out scenes.
    """

    def __init__(
        self,
        config: TrainingConfig,
        run: Path,
        state: TrainState,
        source: ShardIndex,
        validation: BatchBuilder,
        start: int,
    ) -> None:
        keys = held_out_keys(source, VALIDATED, most=max_subjects(config.model.format.encoding))
        self._validation = load_batches(validation, keys)
        self._shown, _ = load_eval_samples(source, keys[:SHOWN], config.model.format)
        self._config, self._state = config, state
        self._log = Log(run, config.reproducibility_keys(), config.job.wandb, start)
        self._losses: list[float] = []
        self._line_at = self._since = time.monotonic()

    def log_step(self, done: int, loss: float, gradient_norm: float, flush: bool) -> None:
        """Log a step, together with others of the same half second.

        Args:
            done: steps taken, this one included.
            loss: of the step, over all processes.
            gradient_norm: before clipping.
            flush: write to the log at once.
        """
        self._losses.append(loss)
        if flush or time.monotonic() - self._line_at > 1 / LINES_PER_SECOND:
            self._line(done, gradient_norm)

    def validate(self, done: int, last: bool) -> None:
        """Compute the validation loss and generate sample images, where they are due.

        Args:
            done: steps taken.
            last: whether this was the last step, after which both are due.
        """
        job = self._config.job
        validate, show = last or not done % job.validate_every, last or not done % job.sample_every
        if not (validate or show):
            return
        sigma = self._state.sigma
        with self._state.averaged():
            sigma.backbone.eval()
            if validate:
                loss = held_out_loss(sigma, self._validation, self._config.train)
                self._log.write("validation", done, loss=loss)
            if show:
                self._log.picture("samples", done, self._generated())
            sigma.backbone.train()
        self._since = time.monotonic()

    def started(self, done: int, precision: Precision, reason: str) -> None:
        """Log that the run starts or continues.

        Args:
            done: steps taken before.
            precision: number type that the run computes in.
            reason: why, in a line for people.
        """
        removed = self._log.removed_lines
        self._log.write("started", done, precision=precision, reason=reason, removed_lines=removed)
        self._since = time.monotonic()

    def saved(self, done: int) -> None:
        """Log a checkpoint after ``done`` steps. The time that it took does not count as
        training."""
        self._log.write("saved", done)
        self._since = time.monotonic()

    def close(self) -> None:
        """Write what is buffered."""
        self._log.close()

    def _line(self, done: int, gradient_norm: float) -> None:
        now = time.monotonic()
        self._log.write(
            "step",
            done,
            loss=float(np.mean(self._losses)),
            losses=self._losses,
            gradient_norm=gradient_norm,
            steps_per_second=len(self._losses) / max(now - self._since, 1e-9),
        )
        self._line_at = self._since = now
        self._losses = []

    def _generated(self) -> np.ndarray:
        report = self._config.report
        images = generate_images(
            SigmaGenPipeline(self._state.sigma),
            self._shown,
            num_inference_steps=report.num_inference_steps,
            image_guidance_scale=report.image_guidance_scale,
        )
        return comparison(self._shown, images, edge=128)
