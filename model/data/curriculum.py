"""Which scenes when: stages by subject count, and the batches of a stage, known by key before
anything is read.

Scenes of one subject count N form an endless stream, epoch after epoch, each epoch in an order of
its own; batches are cut from it one behind the other. So no scene is left out because a batch
would not fill, and none is seen more often: what an epoch leaves over begins the next batch.
Where there are fewer scenes of N subjects than a batch takes, some come twice in it, of different
epochs. An epoch of a stage is one of every stream, its batches shuffled among the streams.
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
"""Shards whose scenes are shuffled together. Reading stays within so many shards a subject
count, a couple of thousand scenes of the usual 256 a shard."""

Pools = Mapping[int, Sequence[Sequence[str]]]
"""By subject count: the keys of each shard that has such scenes, in the set's order."""


@dataclass(frozen=True)
class CurriculumStage:
    """Optimizer steps on scenes of ``min_subjects`` to ``max_subjects`` subjects."""

    steps: Count
    """How many."""
    min_subjects: Count = 1
    """The least of a scene."""
    max_subjects: Count = MAX_SUBJECTS
    """The most of a scene."""

    @property
    def named(self) -> range:
        """The subject counts that it asks for by name: none, where it takes all that there are."""
        whole = self.max_subjects == MAX_SUBJECTS
        return range(0) if whole else range(self.min_subjects, self.max_subjects + 1)


PAPER = (
    CurriculumStage(30_000, max_subjects=4),
    CurriculumStage(20_000, min_subjects=3),
    CurriculumStage(20_000, min_subjects=5),
)


@dataclass(frozen=True)
class PlannedBatch:
    """A batch by name. ``stage`` counts from 0; ``items``: (key, epoch), of ``n_subjects`` each.
    Within a stage no item comes twice."""

    stage: int
    n_subjects: int
    items: tuple[tuple[str, int], ...]

    def part(self, rank: int, world_size: int) -> PlannedBatch:
        """What one of ``world_size`` processes gets; their number divides the batch."""
        share = len(self.items) // world_size
        return PlannedBatch(
            self.stage, self.n_subjects, self.items[rank * share : (rank + 1) * share]
        )


def stage_pools(pools: Pools, stages: Sequence[CurriculumStage]) -> tuple[Pools, ...]:
    """The scenes of each stage. Raises UserError for a stage that has none."""
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
    """The batches of all stages from number ``start`` on. ``pools``, ``lengths``: of each stage
    its scenes and its number of batches."""
    for stage, (scenes, length) in enumerate(zip(pools, lengths, strict=True)):
        if start < length:
            endless = _stage_batches(scenes, batch_size, seed, stage, start)
            yield from islice(endless, length - start)
        start = max(start - length, 0)


def epoch_batches(
    pools: Pools, batch_size: int, seed: int, stage: int, epoch: int
) -> list[PlannedBatch]:
    """The batches that end in ``epoch``. They begin with what earlier epochs left over."""
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
    """Shards in random order, scenes in random order within windows of them."""
    order = rng.permutation(len(shards))
    keys: list[str] = []
    for i in range(0, len(order), WINDOW):
        window = [key for shard in order[i : i + WINDOW] for key in shards[shard]]
        rng.shuffle(window)
        keys += window
    return keys
