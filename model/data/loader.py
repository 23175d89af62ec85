"""The batches of a training run, in order, read ahead by worker processes.

The order is not that of a webdataset stream: with the byte offsets of the index, batches of one
subject count are planned before anything is read. So a run resumes at the exact batch by its number
alone, with any number of workers or ranks. What is sampled for a sample depends on its key, except
for augmentation that takes from other samples: those in its rank's part of the batch.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, tee, zip_longest
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from datagen.errors import UserError
from datagen.shards.codec import BadSample
from model.data.batch import Batch, BatchBuilder, BuiltBatch, check_max_subjects
from model.data.curriculum import CurriculumStage, PlannedBatch, planned_batches, stage_pools

READERS = 8
"""Threads that read, per worker. To read a sample from a bucket takes several times as long as to
decode it."""

PREFETCHED = 2
"""Batches that each worker makes in advance."""

SHARED_MEMORY = Path("/dev/shm")

_log = logging.getLogger(__name__)


class Loader:
    """The batches of a curriculum, by number, for one rank of ``world_size``.

    A damaged sample is replaced (``BatchBuilder.batch``), so that batches stay full and ranks stay
    in step; it is logged once. A missing shard, or a server that does not answer, ends the run: an
    order that depended on such failures could not be resumed.

    Attributes:
        skipped: the damaged samples that this rank has met: what is wrong, by key.
    """

    def __init__(
        self,
        builder: BatchBuilder,
        stages: Sequence[CurriculumStage],
        *,
        accumulation: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Plan a run.

        Args:
            builder: builds the batches.
            stages: the curriculum; its steps are optimizer steps.
            accumulation: batches per optimizer step.
            rank: of this process.
            world_size: number of processes; it must divide the batch size.

        Raises:
            UserError: a stage has no scenes, scenes have more subjects than the encoding can
                hold, or shared memory is too small for the batches of the workers.
        """
        config = builder.config
        if config.batch_size < 1 or config.batch_size % world_size:
            raise UserError(
                f"batch_size: {config.batch_size}, expected a multiple of the "
                f"{world_size} processes"
            )
        self.skipped: dict[str, str] = {}
        self._pools = stage_pools(builder.index.pools(config.split), stages)
        self._lengths = [stage.steps * accumulation for stage in stages]
        self._builder, self._rank, self._world_size = builder, rank, world_size
        most = max(n for pools in self._pools for n in pools)
        check_max_subjects(builder.format.encoding, most)
        _check_shared_memory(builder, most, world_size)
        if rank == 0:
            self._warn(stages)

    def __len__(self) -> int:
        return sum(self._lengths)

    def planned(self, start: int = 0) -> Iterator[PlannedBatch]:
        """The plan of all ranks' batches from number ``start`` on; nothing is read."""
        config = self._builder.config
        return planned_batches(self._pools, self._lengths, config.batch_size, config.seed, start)

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """This rank's part of the batches from number ``start`` on.

        Raises:
            UserError: the set cannot be read, too many samples are damaged, or a worker died.
        """
        workers = self._builder.config.workers
        # With each batch, its worker is given the next one that it will be asked for: workers
        # take turns.
        now, later = tee(batch.part(self._rank, self._world_size) for batch in self.planned(start))
        loader = DataLoader(
            _Worker(self._builder),
            batch_size=None,
            sampler=zip_longest(now, islice(later, max(workers, 1), None)),
            num_workers=workers,
            collate_fn=_as_it_is,
            prefetch_factor=PREFETCHED if workers else None,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # or it would advance the global one
        )
        try:
            for built in loader:
                if isinstance(built, UserError):
                    raise built
                for error in built.damaged:
                    self._skip(error)
                yield built.batch
            return
        except (RuntimeError, EOFError, ConnectionError, FileNotFoundError) as error:
            if not (workers and _is_worker_death(error)):
                raise
            death = repr(error)
        # Not before: the error's frames hold the loader. It raises errors of its own, wherever
        # the program may be, if the signal of a worker's death comes late.
        del loader
        raise UserError(f"a data worker died: {death}; if memory ran out, set fewer workers")

    def _skip(self, error: BadSample) -> None:
        if error.key not in self.skipped:
            self.skipped[error.key] = str(error)
            _log.warning("skipped a damaged sample, %d so far: %s", len(self.skipped), error)

    def _warn(self, stages: Sequence[CurriculumStage]) -> None:
        """Log what is allowed but may not be intended."""
        config, sides = self._builder.config, self._builder.index.sides
        wanted = self._builder.format.size
        sizes = {n: sum(map(len, shards)) for pools in self._pools for n, shards in pools.items()}
        absent = sorted({n for stage in stages for n in stage.named} - sizes.keys())
        if absent:
            _log.warning(
                "the curriculum names scenes of %s subjects, the set has none: they are left out",
                ", ".join(map(str, absent)),
            )
        few = [f"{size} of {n}" for n, size in sorted(sizes.items()) if size < config.batch_size]
        if few:
            _log.warning(
                "scenes of some subject counts are fewer than a batch of %d, and repeat in it: %s",
                config.batch_size,
                ", ".join(few),
            )
        small = sum(side < wanted for side in sides.values())
        if small:
            _log.warning(
                "%d of %d pictures have sides below %d pixels: they are enlarged",
                small,
                len(sides),
                wanted,
            )


class _Worker(Dataset[BuiltBatch | UserError]):
    """Builds batches, in a worker or in the training process: while one is built, the next is
    read. A UserError is returned and not raised, or the DataLoader would wrap it in a traceback."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._readers: ThreadPoolExecutor | None = None  # created after the fork
        self._begun: tuple[PlannedBatch, list[Future[dict[str, bytes]]]] | None = None

    def __getitem__(
        self, planned: tuple[PlannedBatch, PlannedBatch | None]
    ) -> BuiltBatch | UserError:
        now, later = planned
        if self._begun is not None and self._begun[0] == now:
            readings = self._begun[1]
        else:
            readings = self._read(now)
        self._begun = None if later is None else (later, self._read(later))
        try:
            return self._builder.batch(now, [reading.result for reading in readings])
        except UserError as error:
            return error

    def _read(self, planned: PlannedBatch) -> list[Future[dict[str, bytes]]]:
        if self._readers is None:
            self._readers = ThreadPoolExecutor(READERS)
        return [
            self._readers.submit(self._builder.index.verified_members, key)
            for key, _ in planned.items
        ]


def _check_shared_memory(builder: BatchBuilder, n_subjects: int, world_size: int) -> None:
    """Raises UserError where shared memory is too small for the workers' batches: a worker that
    finds it full dies of a bus error."""
    config, shown = builder.config, builder.format
    if not (config.workers and SHARED_MEMORY.exists()):
        return
    sample = shown.size**2 * (shown.encoding.channels + 4)
    sample += 3 * n_subjects * shown.identity_size**2
    needed = (config.workers * PREFETCHED + 2) * sample * config.batch_size // world_size
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        raise UserError(
            f"{SHARED_MEMORY}: {free >> 20} MiB free, {config.workers} data workers need "
            f"{needed >> 20}; give the container more (docker: --shm-size), or set workers to 0"
        )


def _is_worker_death(error: Exception) -> bool:
    """Whether the error says that a worker died. Either torch says so, or the socket is closed
    through which its tensors are fetched; exceptions raised in a worker begin with "Caught"."""
    if isinstance(error, RuntimeError):
        return "DataLoader worker (pid" in str(error)
    return "Caught" not in str(error)


def _as_it_is(built: Any) -> Any:
    return built
