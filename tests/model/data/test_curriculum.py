"""Who is trained on when: everybody equally often, in an order that numbers alone decide."""

from __future__ import annotations

from collections import Counter
from itertools import count, islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.errors import UserError
from model.data.curriculum import (
    PAPER,
    WINDOW,
    CurriculumStage,
    Pools,
    epoch_batches,
    planned_batches,
    stage_pools,
)


def pools_of(sizes: dict[int, list[int]]) -> Pools:
    """Pools of so many scenes a shard, by subject count."""
    names = (f"{i:06d}" for i in count())
    return {n: [list(islice(names, size)) for size in shards] for n, shards in sizes.items()}


pools = st.dictionaries(
    st.integers(1, 10), st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=4
).map(pools_of)
batch_sizes = st.integers(1, 9)


@given(pools, batch_sizes, st.integers(0, 4))
def test_batches_are_full_and_of_one_subject_count(pools: Pools, size: int, epoch: int) -> None:
    for batch in epoch_batches(pools, size, 0, 0, epoch):
        mine = {key for shard in pools[batch.n_subjects] for key in shard}
        assert len(batch.items) == size
        assert {key for key, _ in batch.items} <= mine
        assert {past for _, past in batch.items} <= set(range(epoch + 1))


@given(pools, batch_sizes, st.integers(1, 6))
def test_every_scene_occurs_once_per_epoch(pools: Pools, size: int, epochs: int) -> None:
    """After so many epochs each scene has come so often, or is in what the next batch begins
    with, which is less than a batch."""
    made = [b for epoch in range(epochs) for b in epoch_batches(pools, size, 0, 0, epoch)]
    items = Counter(item for batch in made for item in batch.items)
    assert set(items.values()) <= {1}
    for shards in pools.values():
        due = {(key, epoch) for shard in shards for key in shard for epoch in range(epochs)}
        missing = len(due - set(items))
        assert missing == len(due) % size
        assert not missing or {epoch for _, epoch in due - set(items)} <= set(
            range(epochs - 1 - size // sum(map(len, shards)), epochs)
        )


@given(pools, batch_sizes, st.integers(0, 80), st.integers(0, 2**32))
def test_planning_from_a_batch_number_gives_the_same_batches(
    pools: Pools, size: int, start: int, seed: int
) -> None:
    stages = (pools, {n: shards for n, shards in pools.items() if n == max(pools)}, pools)
    lengths = (13, 7, 40)
    whole = list(planned_batches(stages, lengths, size, seed))
    assert [batch.stage for batch in whole] == [0] * 13 + [1] * 7 + [2] * 40
    assert list(planned_batches(stages, lengths, size, seed, start)) == whole[start:]


def test_planning_from_a_large_batch_number_is_fast() -> None:
    pools = pools_of({1: [256] * 20, 4: [256] * 3})
    far = 10**9
    (batch,) = planned_batches([pools], [far + 1], 8, 0, far)
    assert len(batch.items) == 8


@given(pools, st.integers(1, 4), st.integers(1, 4))
def test_ranks_share_a_batch(pools: Pools, world_size: int, share: int) -> None:
    for batch in islice(planned_batches([pools], [20], world_size * share, 3), 20):
        parts = [batch.part(rank, world_size) for rank in range(world_size)]
        assert [len(part.items) for part in parts] == [share] * world_size
        assert sum((part.items for part in parts), ()) == batch.items
        assert {part.n_subjects for part in parts} == {batch.n_subjects}


def test_orders_differ_by_seed_stage_and_epoch() -> None:
    pools = pools_of({2: [20, 20]})

    def keys(seed: int, stage: int, epoch: int) -> list[str]:
        batches = epoch_batches(pools, 4, seed, stage, epoch)
        return [key for batch in batches for key, _ in batch.items]

    orders = [keys(0, 0, 0), keys(1, 0, 0), keys(0, 1, 0), keys(0, 0, 1)]
    assert all(one != other for one, other in pairwise([*orders, orders[0]]))
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert keys(0, 0, 0) == orders[0] != sorted(orders[0])


def test_subject_counts_are_shuffled() -> None:
    turns = [batch.n_subjects for batch in epoch_batches(pools_of({1: [80], 5: [80]}), 4, 0, 0, 0)]
    assert Counter(turns) == {1: 20, 5: 20}
    assert sum(one != other for one, other in pairwise(turns)) > 10


def test_reading_stays_within_a_window_of_shards() -> None:
    pools = pools_of({3: [10] * (3 * WINDOW)})
    shard_of = {key: i for i, shard in enumerate(pools[3]) for key in shard}
    batches = epoch_batches(pools, 10, 0, 0, 0)
    shards = [shard_of[key] for batch in batches for key, _ in batch.items]
    windows = [shards[i : i + 10 * WINDOW] for i in range(0, len(shards), 10 * WINDOW)]
    assert all(len(set(window)) == WINDOW for window in windows)
    assert shards != sorted(shards)
    assert len(set(windows[0][:WINDOW])) > 2  # shuffled among the shards of a window


def test_a_stage_takes_its_subject_counts() -> None:
    pools = pools_of({1: [2], 3: [2], 4: [1, 1], 6: [2]})
    chosen = stage_pools(pools, PAPER)
    assert [sorted(one) for one in chosen] == [[1, 3, 4], [3, 4, 6], [6]]
    assert chosen[0][4] == pools[4]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (
            [CurriculumStage(5), CurriculumStage(5, min_subjects=4)],
            r"stage 2 \(4 to 10 subjects\).*of 1, 2 subjects",
        ),
        ([CurriculumStage(5, 2, 1)], r"stage 1 \(2 to 1 subjects\)"),
        ([CurriculumStage(0)], "stage 1.*steps is 0, expected 1 or more"),
        ([], "no stages"),
    ],
)
def test_a_stage_without_scenes_is_refused_by_name(
    stages: list[CurriculumStage], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        stage_pools(pools_of({1: [2], 2: [3]}), stages)
