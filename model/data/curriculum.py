"""Curriculum: which subject counts at which step. The batches of a stage are planned by key before
anything is read.

Scenes of one subject count N form an endless stream, epoch after epoch, each epoch in an order of
its own; batches are consecutive pieces of it. So no scene is left out because a batch would not
fill, and none is seen more often: the rest of an epoch begins the next batch. Where there are
fewer scenes of N subjects than a batch holds, some occur twice in it, from different epochs. An
epoch of a stage is one epoch of every stream, with the batches of all streams shuffled.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from datagen.errors import UserError
from datagen.scene import MAX_SUBJECTS
from datagen.validation import Count

WINDOW = 8
"""Shards whose scenes are shuffled together: at a time, so many shards per subject count are read.
With the usual 256 scenes per shard these are some two thousand scenes."""

Pools = Mapping[int, Sequence[Sequence[str]]]
"""Keys by subject count, and then by shard, in the order of the shards."""


@dataclass(frozen=True)
class CurriculumStage:
    """Optimizer steps on scenes of ``min_subjects`` to ``max_subjects`` subjects."""

    steps: Count
    """Number of optimizer steps."""
    min_subjects: Count = 1
    """Smallest number of subjects in a scene."""
    max_subjects: Count = MAX_SUBJECTS
    """Largest number of subjects in a scene."""

    @property
    def named(self) -> range:
        """The subject counts that the set should have; none where ``max_subjects`` is the default,
        which takes whatever the set has."""
        whole = self.max_subjects == MAX_SUBJECTS
        return range(0) if whole else range(self.min_subjects, self.max_subjects + 1)


PAPER = (
    CurriculumStage(30_000, max_subjects=4),
    CurriculumStage(20_000, min_subjects=3),
    CurriculumStage(20_000, min_subjects=5),
)


@dataclass(frozen=True)
class PlannedBatch:
    """The samples of a batch, not yet read.

    Attributes:
        stage: index of the curriculum stage, from 0.
        n_subjects: number of subjects in every sample.
        items: (key, epoch) of each sample; no item occurs twice in a stage.
    """

    stage: int
    n_subjects: int
    items: tuple[tuple[str, int], ...]

    def part(self, rank: int, world_size: int) -> PlannedBatch:
        """The part of process ``rank`` of ``world_size``, which must divide the batch size."""
        share = len(self.items) // world_size
        return PlannedBatch(
            self.stage, self.n_subjects, self.items[rank * share : (rank + 1) * share]
        )


def stage_pools(pools: Pools, stages: Sequence[CurriculumStage]) -> tuple[Pools, ...]:
    """The scenes of each stage.

    Args:
        pools: all scenes of the split.
        stages: of the curriculum.

    Returns:
        One part of ``pools`` per stage.

    Raises:
        UserError: a stage has no scenes or no steps.
    """
    if not stages:
        raise UserError("curriculum: no stages, expected at least one")
    chosen = []
    for number, stage in enumerate(stages, start=1):
        name = f"curriculum stage {number} ({stage.min_subjects} to {stage.max_subjects} subjects)"
        if stage.steps < 1:
            raise UserError(f"{name}: steps is {stage.steps}, expected 1 or more")
        suitable = {
            n: shards
            for n, shards in pools.items()
            if stage.min_subjects <= n <= stage.max_subjects
        }
        if not suitable:
            have = ", ".join(map(str, sorted(pools))) or "no number of"
            raise UserError(
                f"{name}: the set has no such scene, it has scenes of {have} subjects; "
                "change the stage or leave it out"
            )
        chosen.append(suitable)
    return tuple(chosen)


def planned_batches(
    pools: Sequence[Pools], lengths: Sequence[int], batch_size: int, seed: int, start: int = 0
) -> Iterator[PlannedBatch]:
    """Plan the batches of all stages.

    Args:
        pools: the scenes of each stage.
        lengths: the number of batches of each stage.
        batch_size: samples per batch.
        seed: of the order.
        start: number of the first batch to plan, from 0.
    """
    for stage, (scenes, length) in enumerate(zip(pools, lengths, strict=True)):
        if start < length:
            endless = _stage_batches(scenes, batch_size, seed, stage, start)
            yield from islice(endless, length - start)
        start = max(start - length, 0)


def epoch_batches(
    pools: Pools, batch_size: int, seed: int, stage: int, epoch: int
) -> list[PlannedBatch]:
    """The batches that end in ``epoch``. The first of each stream begins with the rest of the
    epoch before."""
    streams: dict[int, Iterator[PlannedBatch]] = {}
    turns: list[int] = []
    for n, shards in sorted(pools.items()):
        size = sum(map(len, shards))
        first, end = epoch * size // batch_size, (epoch + 1) * size // batch_size
        turns += [n] * (end - first)
        begun, skipped = divmod(first * batch_size, size)
        items = [
            (key, past)
            for past in range(begun, epoch + 1)
            for key in _shuffled(shards, np.random.default_rng([seed, stage, past, n]))
        ]
        starts = range(skipped, skipped + (end - first) * batch_size, batch_size)
        streams[n] = iter(
            [PlannedBatch(stage, n, tuple(items[i : i + batch_size])) for i in starts]
        )
    np.random.default_rng([seed, stage, epoch, 0]).shuffle(turns)
    return [next(streams[n]) for n in turns]


def _stage_batches(
    pools: Pools, batch_size: int, seed: int, stage: int, start: int
) -> Iterator[PlannedBatch]:
    sizes = [sum(map(len, shards)) for shards in pools.values()]

    def before(epoch: int) -> int:
        return sum(epoch * size // batch_size for size in sizes)

    # Rounding down loses less than one batch per stream, so the wanted epoch is below this one.
    bound = (start + len(sizes) + 1) * batch_size // sum(sizes) + 1
    epoch = bisect_right(range(bound), start, key=before) - 1
    skip = start - before(epoch)
    for number in count(epoch):
        yield from epoch_batches(pools, batch_size, seed, stage, number)[skip:]
        skip = 0


def _shuffled(shards: Sequence[Sequence[str]], rng: np.random.Generator) -> list[str]:
    """Keys of all shards: shards in random order, scenes shuffled within each ``WINDOW``."""
    order = rng.permutation(len(shards))
    keys: list[str] = []
    for i in range(0, len(order), WINDOW):
        window = [key for shard in order[i : i + WINDOW] for key in shards[shard]]
        rng.shuffle(window)
        keys += window
    return keys
