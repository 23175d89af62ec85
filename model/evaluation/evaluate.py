"""Evaluates a model: pictures of held-out scenes, and what is measured of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import torch

from model.evaluation.eval_samples import EvalSample, in_one_palette
from model.evaluation.features import Network
from model.evaluation.metrics import (
    Identities,
    describe,
    distances,
    measure,
    measure_swap,
    relative_distances,
    routed,
)
from model.evaluation.scores import Outcome
from model.evaluation.segmentation import Segmenter, SegmenterExample, fit_segmenter
from model.pipeline import SigmaGenPipeline

BATCH, PIXELS = 32, 32 * 128**2
"""Upper bounds of a batch: its pictures, and their pixels together (at 512 px, two pictures)."""


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Measures generated pictures of given scenes.

    Attributes:
        samples: The scenes, ordered by number of subjects.
        identities: The references of each of ``samples``, measured.
        one_palette_samples: The scenes of two subjects, in one palette (``in_one_palette``).
        one_palette_identities: The references of each of ``one_palette_samples``, measured.
        network: Extracts features.
        segmenter: Finds the pixels of subjects.
    """

    samples: Sequence[EvalSample]
    identities: Sequence[Identities]
    one_palette_samples: Sequence[EvalSample]
    one_palette_identities: Sequence[Identities]
    network: Network
    segmenter: Segmenter

    def outcomes(
        self, row: str, images: Sequence[np.ndarray], swapped: Sequence[np.ndarray | None]
    ) -> Iterator[Outcome]:
        """Routing, assignment, intersection over union and swap response of one model.

        Args:
            row: Name of the model in the tables.
            images: One picture (H, W, 3) uint8 per sample.
            swapped: Per sample, the picture that was generated with the first two references
                exchanged, or None.
        """
        for sample, known, image, other in zip(
            self.samples, self.identities, images, swapped, strict=True
        ):
            measured = measure(image, sample.masks, known, self.network, self.segmenter)
            if other is not None:
                measured |= measure_swap(other, sample.masks, known, (0, 1), self.network)
            for metric, values in measured.items():
                yield from _outcomes(row, metric, sample, values)

    def one_palette_outcomes(self, row: str, images: Sequence[np.ndarray]) -> Iterator[Outcome]:
        """Routing and assignment of the scenes in one palette; by colour they are at chance there,
        even for the real pictures. ``images``: one picture (H, W, 3) uint8 per sample in one
        palette."""
        for sample, known, image in zip(
            self.one_palette_samples, self.one_palette_identities, images, strict=True
        ):
            for name, apart in distances(image, sample.masks, known, self.network).items():
                yield from _outcomes(row, f"one palette/{name}", sample, routed(apart))
                assigned = routed(relative_distances(apart))
                yield from _outcomes(row, f"one palette assignment/{name}", sample, assigned)

    def truth(self) -> Iterator[Outcome]:
        """Outcomes of the real pictures, row "truth": the upper bound of every score. The swap
        response is missing, since no real picture has its references exchanged."""
        images = [sample.image for sample in self.samples]
        yield from self.outcomes("truth", images, [None] * len(images))
        images = [sample.image for sample in self.one_palette_samples]
        yield from self.one_palette_outcomes("truth", images)


def _outcomes(row: str, metric: str, sample: EvalSample, values: np.ndarray) -> Iterator[Outcome]:
    """``values``: one per subject, of all subjects or of the first ones."""
    for value, granularity in zip(values, sample.granularities, strict=False):
        yield Outcome(row, metric, sample.key, sample.n_subjects, granularity, float(value))


def make_evaluator(
    samples: Sequence[EvalSample], fit_samples: Sequence[EvalSample], network: Network
) -> Evaluator:
    """An evaluator for ``samples``.

    Args:
        samples: The scenes to evaluate on, ordered by number of subjects.
        fit_samples: Scenes of another split, to which the segmenter is fitted.
        network: Extracts features.
    """
    examples = (
        SegmenterExample(sample.image, sample.masks, describe(sample.views, network).palette)
        for sample in fit_samples
    )
    segmenter = fit_segmenter(examples, network)
    one_palette = [in_one_palette(sample) for sample in samples if sample.n_subjects == 2]
    identities, one_palette_identities = (
        [describe(sample.views, network) for sample in group] for group in (samples, one_palette)
    )
    return Evaluator(samples, identities, one_palette, one_palette_identities, network, segmenter)


def generate_images(
    pipeline: SigmaGenPipeline,
    samples: Sequence[EvalSample],
    *,
    num_inference_steps: int,
    image_guidance_scale: float = 1.0,
    seed: int = 0,
    swapped: bool = False,
) -> list[np.ndarray]:
    """One picture per sample.

    Args:
        pipeline: The model.
        samples: Ordered by number of subjects.
        num_inference_steps: Number of denoising steps.
        image_guidance_scale: Guidance scale for references and controls; 1 is no guidance.
        seed: Of the noise.
        swapped: Whether the first two references are exchanged.

    Returns:
        Pictures (H, W, 3) uint8, in the order of ``samples``.
    """
    images: list[np.ndarray] = []
    generator = torch.Generator().manual_seed(seed)
    size = max(1, min(BATCH, PIXELS // pipeline.sigma.config.format.size**2))
    for _, group in groupby(samples, key=lambda sample: sample.n_subjects):
        of_one_count = list(group)
        for i in range(0, len(of_one_count), size):
            batch = of_one_count[i : i + size]
            sheets = [sample.swapped_sheet() if swapped else sample.sheet for sample in batch]
            images += list(
                pipeline.sample(
                    [sample.prompt for sample in batch],
                    _stacked(sheets),
                    _stacked([sample.control for sample in batch]),
                    num_inference_steps=num_inference_steps,
                    image_guidance_scale=image_guidance_scale,
                    generator=generator,
                )
            )
    return images


def evaluate(
    row: str,
    pipeline: SigmaGenPipeline,
    evaluator: Evaluator,
    *,
    num_inference_steps: int,
    image_guidance_scale: float,
    seed: int = 0,
) -> tuple[list[Outcome], list[np.ndarray]]:
    """Generates and measures all pictures of one model; numbers as in ``generate_images``.

    Args:
        row: Name of the model in the tables.

    Returns:
        The outcomes, and one picture (H, W, 3) uint8 per sample of the evaluator.
    """
    several = [sample for sample in evaluator.samples if sample.n_subjects > 1]
    generate = partial(
        generate_images,
        pipeline,
        num_inference_steps=num_inference_steps,
        image_guidance_scale=image_guidance_scale,
        seed=seed,
    )
    images = generate(evaluator.samples)
    swapped = generate(several, swapped=True)
    one_palette = generate(evaluator.one_palette_samples)
    of_one_subject = len(evaluator.samples) - len(several)
    outcomes = [
        *evaluator.outcomes(row, images, [*[None] * of_one_subject, *swapped]),
        *evaluator.one_palette_outcomes(row, one_palette),
    ]
    return outcomes, images


def _stacked(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """Pictures (H, W, C) as one tensor (B, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures))).permute(0, 3, 1, 2)
