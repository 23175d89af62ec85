"""Rate of the training loader, compared with decoding alone.

    python benchmarks/loader.py out/mini/shards --size 64 --identity-size 64

Every way reads the training scenes again and again, from a warm page cache; all but webdataset
read the same scenes in the same order. Repetitions are interleaved, so that other load on the
machine affects all ways alike; medians are printed.
Two references, both one process that has the bytes in memory:
- decoding: all five members decoded to training size, by the loader's own decoders;
- making: all that is computed for a batch: decode, sample views, prompts and controls, stack.
Beyond making, the loader finds and reads the bytes, verifies their checksums, and hands batches
from process to process.
"""

from __future__ import annotations

import argparse
import io
import resource
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from statistics import median
from typing import Any

import msgspec
import numpy as np
import torch
import webdataset as wds
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from datagen.scene import Sample, SceneRecord
from datagen.shards import codec
from model.controls.control_image import InputSpec
from model.controls.control_sampling import sample_controls, sample_granularities
from model.controls.identity_sheet import identity_sheet
from model.data.batch import BatchBuilder, DataConfig
from model.data.curriculum import CurriculumStage
from model.data.decode import decode, scale_record
from model.data.loader import Loader
from model.data.shard_index import ShardIndex, open_shard_index

AROUND = 6
"""Batches before the clock starts, in which workers start and get ahead, and as many after it has
stopped, so that workers are as far ahead at its end as at its start."""

DECODING, MAKING = "decoding", "making, from memory"


@dataclass(frozen=True)
class Rate:
    """Samples per second: by the clock, and by the processor time of all processes together."""

    clock: float
    processor: float


Way = Callable[[int], Iterator[int]]
"""Makes a number of batches, and yields the size of each."""


def measured(way: Way, batches: int) -> Rate:
    busy = processor_seconds()
    supply = way(batches + 2 * AROUND)
    before = sum(islice(supply, AROUND))
    start = time.perf_counter()
    counted = sum(islice(supply, batches))
    passed = time.perf_counter() - start
    made = before + counted + sum(supply)  # workers end here, and their processor time is known
    return Rate(counted / passed, made / (processor_seconds() - busy))


def processor_seconds() -> float:
    usage = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usage)


def decoded(builder: BatchBuilder, batches: int) -> Iterator[int]:
    held = in_memory(builder.index)
    for planned in Loader(builder, [CurriculumStage(batches)]).planned():
        for key, _ in planned.items:
            decode(held[key], key, builder.format.size)
        yield len(planned.items)


def decoded_by_two(builder: BatchBuilder, batches: int) -> Iterator[int]:
    """Two processes that decode: how the machine itself scales."""
    dataset = _Decoding(builder, batches // 2)
    yield from DataLoader(dataset, batch_size=None, num_workers=2)


class _Decoding(IterableDataset[int]):
    def __init__(self, *given: Any) -> None:
        self._given = given

    def __iter__(self) -> Iterator[int]:
        return decoded(*self._given)


def decoded_by_pil(builder: BatchBuilder, batches: int) -> Iterator[int]:
    """By ``codec.decode`` at full size."""
    held = in_memory(builder.index)
    for planned in Loader(builder, [CurriculumStage(batches)]).planned():
        for key, _ in planned.items:
            codec.decode(held[key], key)
        yield len(planned.items)


def made(builder: BatchBuilder, batches: int) -> Iterator[int]:
    held = in_memory(builder.index)
    for planned in Loader(builder, [CurriculumStage(batches)]).planned():
        reads = [partial(held.__getitem__, key) for key, _ in planned.items]
        yield len(builder.batch(planned, reads).batch.keys)


def loaded(builder: BatchBuilder, batches: int) -> Iterator[int]:
    for batch in Loader(builder, [CurriculumStage(batches)]).batches():
        yield len(batch.keys)


def stock(builder: BatchBuilder, batches: int) -> Iterator[int]:
    """webdataset and PIL, as one would write it in an afternoon, with the same sampling. It checks
    nothing, skips no damaged sample, mixes subject counts, and cannot resume."""
    tars = [
        f"{builder.index.folder.url}/{e.file}"
        for e in builder.index.manifest.shards
        if e.split == "train"
    ]
    dataset = (
        wds.WebDataset(tars, shardshuffle=False)
        .repeat()
        .map(partial(by_pil, builder))
        .batched(builder.config.batch_size, collation_fn=stacked)
        .with_epoch(batches // max(builder.config.workers, 1))
    )
    for batch in wds.WebLoader(dataset, batch_size=None, num_workers=builder.config.workers):
        yield len(batch[-1])


def by_pil(builder: BatchBuilder, members: dict[str, bytes]) -> tuple[np.ndarray, ...]:
    def picture(name: str, resampling: Image.Resampling) -> np.ndarray:
        image = Image.open(io.BytesIO(members[name]))
        return np.array(image.resize((builder.format.size, builder.format.size), resampling))

    record = msgspec.json.decode(members["json"], type=SceneRecord)
    sample = Sample(
        record=scale_record(record, builder.format.size),
        image=picture("image.jpg", Image.Resampling.BICUBIC),
        depth=picture("depth.png", Image.Resampling.NEAREST),
        instances=picture("instances.png", Image.Resampling.NEAREST),
        identities=np.array(Image.open(io.BytesIO(members["identities.webp"])).convert("RGBA")),
    )
    views = list(sample.views[:, 1])
    rng, draws = np.random.default_rng(), builder.config.draws
    granularities = sample_granularities(record.n_subjects, draws, rng)
    return (
        sample.image,
        sample.instances,
        sample_controls(sample, granularities, draws, rng),
        identity_sheet(views, builder.format.identity_size),
    )


def stacked(samples: list[tuple[np.ndarray, ...]]) -> tuple[object, ...]:
    *pictures, sheets = zip(*samples, strict=True)
    return *(torch.from_numpy(np.stack(arrays)) for arrays in pictures), sheets


def in_memory(index: ShardIndex) -> dict[str, dict[str, bytes]]:
    pools = index.pools("train").values()
    return {
        key: index.verified_members(key) for shards in pools for shard in shards for key in shard
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", help="a packed set, on a local disk")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--identity-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument(
        "--batches", type=int, default=40, help="counted of a repetition, an even number"
    )
    parser.add_argument("--repetitions", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    index = open_shard_index(args.shards)
    shown = InputSpec(args.size, args.identity_size)
    alone = BatchBuilder(index, shown, DataConfig(args.batch_size, workers=0))
    two = replace(alone, config=replace(alone.config, workers=2))
    ways: dict[str, tuple[int, Way]] = {
        DECODING: (1, partial(decoded, alone)),
        "decoding, 2 processes": (2, partial(decoded_by_two, two)),
        "decoding by PIL, at full size": (1, partial(decoded_by_pil, alone)),
        MAKING: (1, partial(made, alone)),
        "loader": (1, partial(loaded, alone)),
        "loader, 2 workers": (2, partial(loaded, two)),
        "webdataset + PIL": (1, partial(stock, alone)),
        "webdataset + PIL, 2 workers": (2, partial(stock, two)),
    }
    rates: dict[str, list[Rate]] = {name: [] for name in ways}
    for _ in range(args.repetitions):
        for name, (_, way) in ways.items():
            rates[name].append(measured(way, args.batches))
    print(f"`{shlex.join(['python', *sys.argv])}`, medians of {args.repetitions}\n")
    print("| way | samples/s | of decoding, by the clock | by CPU time | of making | by CPU time |")
    print("|---|---|---|---|---|---|")
    for name, (processes, _) in ways.items():
        shares = []
        for yardstick in (DECODING, MAKING):
            pairs = list(zip(rates[name], rates[yardstick], strict=True))
            shares.append(median(one.clock / bare.clock / processes for one, bare in pairs))
            shares.append(median(one.processor / bare.processor for one, bare in pairs))
        rate = median(one.clock for one in rates[name])
        print(f"| {name} | {rate:.0f} | {' | '.join(f'{share:.2f}' for share in shares)} |")


if __name__ == "__main__":
    main()
