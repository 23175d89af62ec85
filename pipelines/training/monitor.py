"""What one process of a run, rank 0, tells of it: losses, validation, pictures."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from model.data.batch import BatchBuilder, held_out_keys, load_batches, max_subjects
from model.data.shard_index import ShardIndex
from model.evaluation.evaluate import cases, paint
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import SigmaGen
from model.training.optimizers import Ema
from model.training.train import held_out_loss
from pipelines.training.comparison import comparison
from pipelines.training.config import TrainingConfig
from pipelines.training.log import Log

LINES_A_SECOND = 2
SHOWN, VALIDATED = 4, 32
"""Held-out scenes that are painted, and that the validation loss is taken of."""


class Watch:
    """Told of every step by ``note``; ``close`` ends it. ``validation``: held-out samples as they
    are to be judged. Raises UserError where the set has none."""

    def __init__(
        self,
        config: TrainingConfig,
        run: Path,
        sigma: SigmaGen,
        ema: Ema | None,
        source: ShardIndex,
        validation: BatchBuilder,
    ) -> None:
        keys = held_out_keys(source, VALIDATED, most=max_subjects(config.model.format.encoding))
        self._validation = load_batches(validation, keys)
        self._shown, _ = cases(source, keys[:SHOWN], config.model.format)
        self._config, self._sigma, self._ema = config, sigma, ema
        self._log = Log(run, config.reproducibility_keys(), config.job.wandb)
        self._losses: list[float] = []
        self._line_at = self._since = time.monotonic()

    def note(self, done: int, loss: float, gradient_norm: float, flush: bool) -> None:
        """After step ``done``, counted from 1. ``flush``: tell of it at once."""
        self._losses.append(loss)
        if flush or time.monotonic() - self._line_at > 1 / LINES_A_SECOND:
            self._line(done, gradient_norm)

    def look(self, done: int, last: bool) -> None:
        """Validate and paint after step ``done``, where it is time for it, and in the end."""
        job = self._config.job
        validate, show = last or not done % job.validate_every, last or not done % job.sample_every
        if not (validate or show):
            return
        with self._ema.applied() if self._ema else nullcontext():
            self._sigma.backbone.eval()
            if validate:
                loss = held_out_loss(self._sigma, self._validation, self._config.train)
                self._log.write("validation", done, loss=loss)
            if show:
                self._log.picture("samples", done, self._painted())
            self._sigma.backbone.train()
        self._since = time.monotonic()

    def event(self, name: str, done: int) -> None:
        """Something that happens now and then, and is not to count as training time."""
        self._log.write(name, done)
        self._since = time.monotonic()

    def close(self) -> None:
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

    def _painted(self) -> np.ndarray:
        report = self._config.report
        images = paint(
            SigmaGenPipeline(self._sigma),
            self._shown,
            steps=report.num_inference_steps,
            image_guidance=report.image_guidance_scale,
        )
        return comparison(self._shown, images, edge=128)
