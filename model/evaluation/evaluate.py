"""Held-out scenes painted by a model, and what is measured of the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import numpy as np
import torch

from datagen.scene import Sample
from datagen.shards.codec import BadSample
from model.controls.control_sampling import EXACT, DrawConfig, draw_controls, draw_granularities
from model.controls.regions import Format, Granularity, identity_sheet
from model.data.batch import sample_prompt, sample_views
from model.data.decode import decode
from model.data.shard_index import ShardIndex
from model.evaluation.features import Network
from model.evaluation.metrics import Identities, describe, distances, measure, measure_swap, routed
from model.evaluation.scores import Outcome
from model.evaluation.segmentation import Example, Segmenter, fit_segmenter
from model.pipeline import SigmaGenPipeline

BATCH, PIXELS = 32, 32 * 128**2
"""Pictures that are painted at a time, and pixels of them together: of 512 px it is two."""


@dataclass(frozen=True, eq=False)
class Case:
    """A held-out scene and what a model is given of it. ``image`` (H, W, 3) is the truth;
    ``masks`` (N, H, W) bool the visible pixels; ``views`` one RGBA reference a subject; ``sheet``
    and ``control`` as the model takes them, channels last; ``granularities`` of the control, one a
    subject."""

    key: str
    prompt: str
    image: np.ndarray
    masks: np.ndarray
    views: np.ndarray
    sheet: np.ndarray
    control: np.ndarray
    granularities: tuple[Granularity, ...]

    @property
    def n_subjects(self) -> int:
        return len(self.masks)

    def swapped(self) -> np.ndarray:
        """The sheet with its first two references exchanged."""
        blocks = np.split(self.sheet, self.n_subjects)
        return np.concatenate([blocks[1], blocks[0], *blocks[2:]])


def cases(
    source: ShardIndex,
    keys: Sequence[str],
    format: Format,
    *,
    draws: DrawConfig = EXACT,
) -> tuple[list[Case], list[BadSample]]:
    """Ordered by number of subjects, and the damaged samples, which are left out. What is drawn
    for a scene follows from its key."""
    made, damaged = [], []
    for key in keys:
        rng = np.random.default_rng(list(key.encode()))
        try:
            sample = decode(source.verified_members(key), key, format.size)
            made.append(_case(sample, format, draws, rng))
        except BadSample as error:
            damaged.append(error)
    return sorted(made, key=lambda case: case.n_subjects), damaged


def _case(sample: Sample, format: Format, draws: DrawConfig, rng: np.random.Generator) -> Case:
    record = sample.record
    views = sample_views(sample, rng)
    granularities = draw_granularities(record.n_subjects, draws, rng)
    return Case(
        key=record.key,
        prompt=sample_prompt(record.prompt, 0.0, rng),
        image=sample.image,
        masks=sample.instances == np.arange(1, record.n_subjects + 1)[:, None, None],
        views=np.stack(views),
        sheet=identity_sheet(views, format.identity_size),
        control=draw_controls(sample, granularities, draws, rng, format.encoding),
        granularities=granularities,
    )


def in_one_palette(case: Case) -> Case:
    """A scene of two subjects, the second one's colours exchanged for the first one's, in its
    reference and in the truth: each of its pixels takes the colour of that pixel of the first
    which is as light among its own. Colour then tells nothing of who is where; pattern and shape
    do. Raises ValueError for other numbers of subjects."""
    if case.n_subjects != 2:
        raise ValueError(f"{case.key}: {case.n_subjects} subjects, expected 2")
    first, second = case.views
    views = np.stack([first, second])
    views[1][_solid(second), :3] = _recast(second[_solid(second), :3], first[_solid(first), :3])
    image, (here, there) = case.image.copy(), case.masks
    image[there] = _recast(image[there], image[here])
    sheet = identity_sheet(list(views), len(case.sheet) // 2)
    return replace(case, image=image, views=views, sheet=sheet)


def _solid(view: np.ndarray) -> np.ndarray:
    return view[..., 3] > 127


def _recast(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """``pixels`` (P, 3) in the colours of ``palette`` (Q, 3), by rank of lightness."""
    ranks = pixels.sum(axis=1, dtype=int).argsort(kind="stable").argsort(kind="stable")
    ordered = palette[palette.sum(axis=1, dtype=int).argsort(kind="stable")]
    return ordered[ranks * len(ordered) // max(len(pixels), 1)]


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures pictures of given cases. ``identities``: of each case its references, measured;
    ``alike`` and ``alike_identities``: the cases of two subjects, in one palette."""

    cases: Sequence[Case]
    identities: Sequence[Identities]
    alike: Sequence[Case]
    alike_identities: Sequence[Identities]
    network: Network
    segmenter: Segmenter

    def outcomes(
        self, row: str, images: Sequence[np.ndarray], swapped: Sequence[np.ndarray | None]
    ) -> Iterator[Outcome]:
        """``images``: a picture a case; ``swapped``: the picture with the first two references
        exchanged, None where there is none."""
        for case, known, image, other in zip(
            self.cases, self.identities, images, swapped, strict=True
        ):
            found = measure(image, case.masks, known, self.network, self.segmenter)
            if other is not None:
                found |= measure_swap(other, case.masks, known, (0, 1), self.network)
            for metric, values in found.items():
                yield from _outcomes(row, metric, case, values)

    def told_apart(self, row: str, images: Sequence[np.ndarray]) -> Iterator[Outcome]:
        """``images``: of the cases in one palette. Routing by colour is at chance there, for the
        truth, too."""
        for case, known, image in zip(self.alike, self.alike_identities, images, strict=True):
            for name, apart in distances(image, case.masks, known, self.network).items():
                yield from _outcomes(row, f"one palette/{name}", case, routed(apart))

    def truth(self) -> Iterator[Outcome]:
        """The ceiling: what is measured of the real pictures. Of a swap there is no truth."""
        images = [case.image for case in self.cases]
        yield from self.outcomes("truth", images, [None] * len(images))
        yield from self.told_apart("truth", [case.image for case in self.alike])


def _outcomes(row: str, metric: str, case: Case, values: np.ndarray) -> Iterator[Outcome]:
    """``values``: of the first subjects, or of all."""
    for value, granularity in zip(values, case.granularities, strict=False):
        yield Outcome(row, metric, case.key, case.n_subjects, granularity, float(value))


def make_judge(judged: Sequence[Case], fitted: Sequence[Case], network: Network) -> Judge:
    """``fitted``: scenes of another split, which teach what is a subject and what is not."""
    examples = (
        Example(case.image, case.masks, describe(case.views, network).palette) for case in fitted
    )
    segmenter = fit_segmenter(examples, network)
    alike = [in_one_palette(case) for case in judged if case.n_subjects == 2]
    identities, alike_identities = (
        [describe(case.views, network) for case in group] for group in (judged, alike)
    )
    return Judge(judged, identities, alike, alike_identities, network, segmenter)


def paint(
    pipeline: SigmaGenPipeline,
    painted: Sequence[Case],
    *,
    steps: int,
    image_guidance: float = 1.0,
    seed: int = 0,
    swapped: bool = False,
) -> list[np.ndarray]:
    """A picture (H, W, 3) uint8 a case, which are in order of their number of subjects. The noise
    follows from ``seed``; ``swapped``: the first two references are exchanged."""
    images: list[np.ndarray] = []
    generator = torch.Generator().manual_seed(seed)
    size = max(1, min(BATCH, PIXELS // pipeline.sigma.config.format.size**2))
    for _, alike in groupby(painted, key=lambda case: case.n_subjects):
        group = list(alike)
        for i in range(0, len(group), size):
            part = group[i : i + size]
            sheets = [case.swapped() if swapped else case.sheet for case in part]
            images += list(
                pipeline.sample(
                    [case.prompt for case in part],
                    _stacked(sheets),
                    _stacked([case.control for case in part]),
                    steps=steps,
                    image_guidance=image_guidance,
                    generator=generator,
                )
            )
    return images


def evaluate(
    row: str,
    pipeline: SigmaGenPipeline,
    judge: Judge,
    *,
    steps: int,
    image_guidance: float,
    seed: int = 0,
) -> tuple[list[Outcome], list[np.ndarray]]:
    """Everything about one model, and its pictures, as by ``paint``."""
    many = [case for case in judge.cases if case.n_subjects > 1]
    painted = partial(paint, pipeline, steps=steps, image_guidance=image_guidance, seed=seed)
    images, exchanged, alike = (
        painted(judge.cases),
        painted(many, swapped=True),
        painted(judge.alike),
    )
    alone = len(judge.cases) - len(many)
    outcomes = [
        *judge.outcomes(row, images, [*[None] * alone, *exchanged]),
        *judge.told_apart(row, alike),
    ]
    return outcomes, images


def _stacked(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures))).permute(0, 3, 1, 2)
