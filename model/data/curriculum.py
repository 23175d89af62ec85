"""The curriculum: which subject counts at which step, and which samples in which batch.

Batches are planned by key, before anything is read. Scenes of one subject count N form an endless
stream, epoch after epoch, each epoch in another random order; batches are consecutive pieces of
it. So no scene is left out because a batch would not be full, and none is used more often than
others: what is left over of one epoch begins the next batch. Where there are fewer scenes of N
subjects than a batch holds, some occur twice in a batch, from different epochs. An epoch of a
stage is one epoch of every stream, with the batches of all streams shuffled.
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
"""Number of shards whose scenes are shuffled together. So reading stays within this many shards per
subject count: about two thousand scenes, at the usual 256 per shard."""

Pools = Mapping[int, Sequence[Sequence[str]]]
"""By subject count: the keys of its scenes, one sequence per shard, in the order of the shards."""


@dataclass(frozen=True)
class CurriculumStage:
    """A part of training: optimizer steps on scenes of some subject counts."""

    steps: Count
    """Number of optimizer steps."""
    min_subjects: Count = 1
    """Fewest subjects of a scene in this stage."""
    max_subjects: Count = MAX_SUBJECTS
    """Most subjects of a scene in this stage."""

    @property
    def named(self) -> range:
        """The subject counts that the set is expected to have: from ``min_subjects`` to
        ``max_subjects``, but none if ``max_subjects`` is left at its maximum."""
        whole = self.max_subjects == MAX_SUBJECTS
        return range(0) if whole else range(self.min_subjects, self.max_subjects + 1)


PAPER = (
    CurriculumStage(30_000, max_subjects=4),
    CurriculumStage(20_000, min_subjects=3),
    CurriculumStage(20_000, min_subjects=5),
)


@dataclass(frozen=True)
class PlannedBatch:
    """The samples of a batch, by key.

    Attributes:
        stage: number of the curriculum stage, from 0.
        n_subjects: of every sample in the batch.
        items: (key, epoch) of each sample; within a stage, no item occurs twice.
    """

    stage: int
    n_subjects: int
    items: tuple[tuple[str, int], ...]

    def part(self, rank: int, world_size: int) -> PlannedBatch:
        """The part of the batch for process ``rank`` of ``world_size``, which divides the batch
        size."""
        share = len(self.items) // world_size
        return PlannedBatch(
            self.stage, self.n_subjects, self.items[rank * share : (rank + 1) * share]
        )


def stage_pools(pools: Pools, stages: Sequence[CurriculumStage]) -> tuple[Pools, ...]:
    """The scenes of each stage.

    Args:
        pools: all scenes of the split.
        stages: of the curriculum.

    Raises:
        UserError: there is no stage, or a stage without steps or without scenes.
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
    """The batches of all stages, in order.

    Args:
        pools: the scenes of each stage.
        lengths: the number of batches of each stage.
        batch_size: samples per batch, over all processes.
        seed: of the order.
        start: number of the first batch to yield, counted over all stages.
    """
    for stage, (scenes, length) in enumerate(zip(pools, lengths, strict=True)):
        if start < length:
            endless = _stage_batches(scenes, batch_size, seed, stage, start)
            yield from islice(endless, length - start)
        start = max(start - length, 0)


def epoch_batches(
    pools: Pools, batch_size: int, seed: int, stage: int, epoch: int
) -> list[PlannedBatch]:
    """The batches that end in ``epoch`` of a stage. The first of each subject count begins with
    what earlier epochs left over."""
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

    # Rounding down costs less than a batch a stream, so the epoch sought is below this one.
    bound = (start + len(sizes) + 1) * batch_size // sum(sizes) + 1
    epoch = bisect_right(range(bound), start, key=before) - 1
    skip = start - before(epoch)
    for number in count(epoch):
        yield from epoch_batches(pools, batch_size, seed, stage, number)[skip:]
        skip = 0


def _shuffled(shards: Sequence[Sequence[str]], rng: np.random.Generator) -> list[str]:
    """The keys with shards in random order, and scenes in random order within windows of
    ``WINDOW`` shards."""
    order = rng.permutation(len(shards))
    keys: list[str] = []
    for i in range(0, len(order), WINDOW):
        window = [key for shard in order[i : i + WINDOW] for key in shards[shard]]
        rng.shuffle(window)
        keys += window
    return keys
