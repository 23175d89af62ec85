"""Build training batches from samples: read, sample at random, stack. ``loader.py`` orders them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, zip_longest
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from datagen.errors import UserError
from datagen.scene import MAX_SUBJECTS, Prompt, Sample, Split
from datagen.shards.codec import BadSample
from datagen.validation import Count, CountOrZero, Seed, Share
from model.controls.control_image import InputSpec, RoutingEncoding
from model.controls.control_sampling import (
    ControlSamplingConfig,
    sample_controls,
    sample_granularities,
)
from model.controls.identity_sheet import identity_sheet
from model.controls.kinds import reads_depth
from model.controls.regions import Granularity
from model.data.curriculum import PlannedBatch
from model.data.decode import decode
from model.data.shard_index import ShardIndex

Augment = Callable[[Sequence[Sample], np.random.Generator], Sample]
"""Augments the first of the given samples, which are at training size, before controls are sampled
from it; not in place. It may take subjects from the others, which are the rest of the batch on this
rank. The number of subjects must stay the same."""

Read = Callable[[], dict[str, bytes]]
"""Returns the members of one sample, as ``ShardIndex.verified_members`` does."""

MOST_DAMAGED = 8
"""Number of damaged samples in a row after which the run ends."""


@dataclass(frozen=True)
class DataConfig:
    """Which samples are read, and what is sampled at random for each."""

    batch_size: Count = 8
    """Samples per batch, over all ranks."""
    seed: Seed = 0
    """Seed of the order of samples, and of what is sampled at random for each."""
    split: Split = "train"
    """Split to train on."""
    full_prompts: Share = 0.5
    """Share of samples whose prompt describes the whole scene and not only its background (paper:
    0.5)."""
    shuffled_references: bool = False
    """Give each sample the identity sheet of another scene, so that a model cannot learn which
    subject goes where: a control experiment to compare a report with."""
    workers: CountOrZero = 2
    """Loader processes per rank; 0 loads in the training process."""
    draws: ControlSamplingConfig = field(default_factory=ControlSamplingConfig)


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples of N subjects each. Tensors are uint8; the first three are stored channels last.

    Attributes:
        images: (B, 3, H, W) target images.
        sheets: (B, 3, N * S, S) identity sheets.
        controls: (B, C, H, W) control images.
        subjects: (B, H, W): 0 is background, i the visible pixels of subject i.
        prompts: one per sample.
        keys: one per sample.
        granularities: one per subject, per sample.
        n_subjects: N.
    """

    images: Tensor
    sheets: Tensor
    controls: Tensor
    subjects: Tensor
    prompts: list[str]
    keys: list[str]
    granularities: list[tuple[Granularity, ...]]
    n_subjects: int


@dataclass(frozen=True, eq=False)
class BuiltBatch:
    """A batch, and the damaged samples that were replaced in it."""

    batch: Batch
    damaged: tuple[BadSample, ...]


@dataclass(frozen=True, eq=False)
class BatchBuilder:
    """Builds planned batches. What is sampled at random for a sample depends only on seed, stage,
    epoch and key.

    Attributes:
        index: the samples.
        format: sizes and encoding of the model's inputs.
        config: see ``DataConfig``.
        augment: the augmentation, if there is one.
    """

    index: ShardIndex
    format: InputSpec
    config: DataConfig = field(default_factory=DataConfig)
    augment: Augment | None = None

    def batch(self, planned: PlannedBatch, reads: Sequence[Read]) -> BuiltBatch:
        """Build one batch.

        A damaged sample is replaced by the first sound sample that follows it in the set with the
        same subject count, so that the batch keeps its size.

        Args:
            planned: the samples of the batch.
            reads: one per item of ``planned``, in the same order.

        Raises:
            UserError: more than ``MOST_DAMAGED`` samples in a row are damaged, or reading failed
                for a reason that is not one sample's fault.
        """
        damaged: list[BadSample] = []
        rngs = [
            np.random.default_rng([self.config.seed, planned.stage, epoch, _number(key)])
            for key, epoch in planned.items
        ]
        drawn = [sample_granularities(planned.n_subjects, self.config.draws, rng) for rng in rngs]
        supplies = [
            self._sound(key, read, reads_depth(granularities), damaged)
            for (key, _), read, granularities in zip(planned.items, reads, drawn, strict=True)
        ]
        samples = [next(supply) for supply in supplies]
        examples = []
        for i, (supply, granularities, rng) in enumerate(zip(supplies, drawn, rngs, strict=True)):
            others = samples[:i] + samples[i + 1 :]
            for sample in chain([samples[i]], supply):
                try:
                    examples.append(self._example([sample, *others], granularities, rng))
                    break
                except BadSample as error:
                    damaged.append(error)
        return BuiltBatch(_stack(examples, planned.n_subjects), tuple(damaged))

    def _sound(
        self, key: str, read: Read, depth: bool, damaged: list[BadSample]
    ) -> Iterator[Sample]:
        """The sample, and then the ones that may replace it."""
        candidates: Iterator[tuple[str, Read]] = chain(
            [(key, read)],
            (
                (other, partial(self.index.verified_members, other))
                for other in self.index.successors(key)
            ),
        )
        for candidate, members in islice(candidates, MOST_DAMAGED):
            try:
                yield self._decode(candidate, members(), depth)
            except BadSample as error:
                damaged.append(error)
        where = self.index.folder.url
        raise UserError(
            f"{where}: no sound scene of {self.index.counts[key]} subjects at {key} or behind "
            f"it, the last: {damaged[-1]}; see what is left: sigma verify {where}"
        )

    def _decode(self, key: str, members: dict[str, bytes], depth: bool) -> Sample:
        wanted = depth or self.augment is not None
        sample = decode(members, key, self.format.size, depth=wanted)
        found, expected = sample.record.n_subjects, self.index.counts[key]
        if found != expected:
            raise BadSample(key, "json", f"n_subjects is {found}, the set's tables say {expected}")
        try:
            identity_views(sample)
        except UserError as error:  # the format allows crops alone, training does not
            raise BadSample(key, "json", str(error).removeprefix(f"{key}: ")) from None
        return sample

    def _example(
        self,
        samples: Sequence[Sample],
        granularities: tuple[Granularity, ...],
        rng: np.random.Generator,
    ) -> _Example:
        sample, n_subjects = samples[0], samples[0].record.n_subjects
        key = sample.record.key
        if self.augment is not None:
            # A set may hold sheets of several sizes; subjects are exchanged among equal ones.
            edge = sample.views.shape[2]
            sample = self.augment([one for one in samples if one.views.shape[2] == edge], rng)
            if sample.record.n_subjects != n_subjects:
                raise ValueError(f"{key}: augmented, it has {sample.record.n_subjects} subjects")
        prompt = sample_prompt(sample.record.prompt, self.config.full_prompts, rng)
        shown = self._stranger(key, rng) if self.config.shuffled_references else sample
        views = sample_views(shown, rng)
        control = sample_controls(
            sample, granularities, self.config.draws, rng, self.format.encoding
        )
        return _Example(
            key=key,
            image=sample.image,
            sheet=identity_sheet(views, self.format.identity_size),
            control=control,
            subjects=sample.instances,
            prompt=prompt,
            granularities=granularities,
        )

    def _stranger(self, key: str, rng: np.random.Generator) -> Sample:
        """Another scene of the same subject count. Raises UserError if there is none, BadSample."""
        others = tuple(self.index.successors(key))
        if not others:
            raise UserError(
                f"data.shuffled_references: only one scene has {self.index.counts[key]} subjects, "
                "expected at least two scenes of every number of subjects"
            )
        other = others[rng.integers(len(others))]
        sample = self._decode(other, self.index.verified_members(other), depth=False)
        return sample if self.augment is None else self.augment([sample], rng)


def load_batches(builder: BatchBuilder, keys: Iterable[str]) -> list[Batch]:
    """Build batches of given samples, each once: for validation.

    Args:
        builder: builds the batches, of up to its ``batch_size`` samples.
        keys: of the samples. Batches are in the order of subject counts, then of ``keys``.

    Raises:
        KeyError: the set has no sample of a key.
        UserError: a sample is damaged; a held-out set must be complete.
    """
    index, size = builder.index, builder.config.batch_size
    by_count: dict[int, list[str]] = {}
    for key in keys:
        by_count.setdefault(index.counts[key], []).append(key)
    check_max_subjects(builder.format.encoding, max(by_count, default=1))
    batches = []
    for n, alike in sorted(by_count.items()):
        for i in range(0, len(alike), size):
            items = tuple((key, 0) for key in alike[i : i + size])
            reads = [partial(index.verified_members, key) for key, _ in items]
            built = builder.batch(PlannedBatch(0, n, items), reads)
            if built.damaged:
                raise UserError(
                    f"{index.folder.url}: {built.damaged[0]}; fetch or pack the set again"
                )
            batches.append(built.batch)
    return batches


def held_out_keys(
    index: ShardIndex, number: int, split: Split = "val", most: int = MAX_SUBJECTS
) -> tuple[str, ...]:
    """Choose samples to validate with, the same every time, spread evenly over subject counts.

    Args:
        index: the samples.
        number: how many keys to return; fewer if the split has fewer.
        split: to choose from.
        most: highest subject count to include.

    Raises:
        UserError: the split has no scenes of up to ``most`` subjects.
    """
    found = index.pools(split)
    pools = [[k for shard in shards for k in shard] for n, shards in found.items() if n <= most]
    if not pools:
        have = ", ".join(map(str, found))
        raise UserError(
            f"{index.folder.url}: the model has room for {most} subjects, and in split {split} "
            f"are scenes of {have}; train on a set with smaller ones, or change the encoding"
        )
    return tuple(islice((key for turn in zip_longest(*pools) for key in turn if key), number))


def max_subjects(encoding: RoutingEncoding) -> int:
    """The highest number of subjects that the routing encoding can represent."""
    return 255 // encoding.step if encoding.routing == "intensity" else encoding.slots


def check_max_subjects(encoding: RoutingEncoding, n_subjects: int) -> None:
    """Raise UserError if the routing encoding cannot represent ``n_subjects`` subjects."""
    if n_subjects > max_subjects(encoding):
        raise UserError(
            f"scenes of {n_subjects} subjects, the {encoding.routing} routing has room for "
            f"{max_subjects(encoding)}; lower max_subjects in the curriculum, "
            "or change the encoding"
        )


@dataclass(frozen=True, eq=False)
class _Example:
    """One sample as the model gets it; arrays are (height, width, channels)."""

    key: str
    image: np.ndarray
    sheet: np.ndarray
    control: np.ndarray
    subjects: np.ndarray
    prompt: str
    granularities: tuple[Granularity, ...]


def prompts(prompt: Prompt) -> tuple[str, str]:
    """The paper's two forms of a prompt: with the background only, and with the whole scene."""
    return (
        f"Place these subjects in {prompt.background}.",
        f"Place these subjects to compose: {prompt.full.removesuffix('.')}.",
    )


def sample_prompt(prompt: Prompt, full: float, rng: np.random.Generator) -> str:
    """Sample one of the two forms of ``prompts``, the full one with probability ``full``."""
    return prompts(prompt)[int(rng.random() < full)]


def identity_views(sample: Sample) -> np.ndarray:
    """The identity views of a sample that a model may be given as references.

    Returns:
        (N, V - 1, S, S, 4) uint8 RGBA: all views but the crops of the image itself, since a model
        that is given those learns to copy them.

    Raises:
        UserError: the sample has no views but the crops.
    """
    views = sample.views
    if views.shape[1] == 1:
        raise UserError(
            f"{sample.record.key}: its only identity view is the crop of the image itself, "
            "expected another view of each subject"
        )
    return views[:, 1:]


def sample_views(sample: Sample, rng: np.random.Generator) -> list[np.ndarray]:
    """Sample one of ``identity_views`` per subject: N arrays (S, S, 4). Raises UserError."""
    views = identity_views(sample)
    chosen = rng.integers(views.shape[1], size=len(views))
    return [views[i, column] for i, column in enumerate(chosen)]


def _stack(examples: Sequence[_Example], n_subjects: int) -> Batch:
    def stacked(arrays: list[np.ndarray]) -> Tensor:
        if get_worker_info() is None:  # torch.stack would wake threads, which costs more
            return torch.from_numpy(np.stack(arrays))
        # Straight into shared memory. torch takes neither what is read-only nor what is flipped.
        tensors = [torch.from_numpy(np.require(one, requirements=("C", "W"))) for one in arrays]
        return cast(Tensor, default_collate(tensors))

    def pictures(arrays: list[np.ndarray]) -> Tensor:
        return stacked(arrays).permute(0, 3, 1, 2)

    return Batch(
        images=pictures([one.image for one in examples]),
        sheets=pictures([one.sheet for one in examples]),
        controls=pictures([one.control for one in examples]),
        subjects=stacked([one.subjects for one in examples]),
        prompts=[one.prompt for one in examples],
        keys=[one.key for one in examples],
        granularities=[one.granularities for one in examples],
        n_subjects=n_subjects,
    )


def _number(key: str) -> int:
    """A number that is different for every key."""
    return int.from_bytes(key.encode(), "big")
