"""Seed and preset to the immutable plan: which subjects each scene shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.captions import describe
from datagen.catalog.appearance import draw_appearance, fingerprint
from datagen.scene import MAX_SUBJECTS, SPLITS, Asset, Identity, Split, UserError, Vec3
from datagen.shards.files import Folder

MAX_PER_CATEGORY = 2
"""Subjects of one category in a scene, at most."""

# Each split gets room for this many scenes of distinct assets, as far as the catalogue goes, so
# that a small split has variety, too.
_FLOOR_SCENES = 3
# Looks drawn for an asset before it is passed over; assets of a category that wait behind those
# that a scene may take; groups tried for a scene, beside one for each asset.
_LOOKS = 12
_SPARE = 2
_GROUPS = 60


@dataclass(frozen=True)
class PlanConfig:
    """``train``, ``val``, ``test``: scenes a split. ``min_subjects``, ``max_subjects``: subject
    counts, balanced in each split. ``size_ratio``: the apparent sizes of the subjects of a scene
    differ by this factor at most."""

    seed: int
    train: int
    val: int
    test: int
    min_subjects: int = 1
    max_subjects: int = 6
    size_ratio: float = 2.5


@dataclass(frozen=True)
class ScenePlan:
    """One row of the plan. ``seed`` is the plan's; with ``index`` and a draw it gives the scene's
    randomness (``scene_rng``)."""

    index: int
    key: str
    split: Split
    seed: int
    identities: tuple[Identity, ...]


def scene_rng(seed: int, index: int, draw: int) -> np.random.Generator:
    """The only source of randomness of draw ``draw`` of scene ``index``."""
    return np.random.default_rng(np.random.SeedSequence([seed, index, draw]))


def make_plan(config: PlanConfig, assets: Sequence[Asset]) -> tuple[ScenePlan, ...]:
    """One row a scene; the same config and assets, in any order, give the same plan.

    Splits share no asset. Identities are unique in the plan. The subjects of a scene are of
    distinct assets and captions, alike in size, at most ``MAX_PER_CATEGORY`` of a category.
    Raises ``UserError`` for a config that makes no sense and for a catalogue too small for it.
    """
    _check(config)
    counts = {split: _subject_counts(config, split) for split in SPLITS}
    pools = _partition(config, sorted(assets, key=lambda asset: asset.id), counts)
    taken: set[str] = set()
    plan: list[ScenePlan] = []
    for split in SPLITS:
        if not counts[split]:
            continue
        pool = _Pool(pools[split], config, _rng(config.seed, "pool", split), taken)
        for count in counts[split]:
            identities = pool.scene(count)
            if identities is None:
                raise _too_small(config, split, count, len(pools[split]), len(assets))
            index = len(plan)
            plan.append(ScenePlan(index, f"{index:06d}", split, config.seed, identities))
    return tuple(plan)


def apparent_size(size: Vec3) -> float:
    """How big a thing of these extents looks, in metres, averaged over where one stands: the edge
    of a square that hides as much. A fork looks smaller than a cup of its length: beside each
    other in one picture, one of them could not be seen."""
    x, y, z = size
    return float(np.sqrt((x * y + y * z + z * x) / 3))


def write_plan(plan: Sequence[ScenePlan], path: str) -> None:
    """Write ``plan`` as Parquet; one that is there already must say the same.

    Raises ``UserError`` where it does not.
    """
    parent, _, name = path.rpartition("/")
    folder = Folder(parent or ".")
    if folder.exists(name):
        if read_plan(path) != tuple(plan):
            raise UserError(
                f"{path}: another plan is there already and plans never change: "
                "write this one to another folder"
            )
        return
    table = pa.table(
        {
            "index": pa.array([scene.index for scene in plan], pa.int64()),
            "key": pa.array([scene.key for scene in plan], pa.string()),
            "split": pa.array([scene.split for scene in plan], pa.string()),
            "seed": pa.array([scene.seed for scene in plan], pa.uint64()),
            "n_subjects": pa.array([len(scene.identities) for scene in plan], pa.int32()),
            "identities": pa.array(
                [
                    msgspec.json.encode(scene.identities, order="deterministic").decode()
                    for scene in plan
                ],
                pa.string(),
            ),
        }
    )
    with folder.create(name) as stream:
        pq.write_table(table, stream, compression="zstd", row_group_size=1024)


def read_plan(path: str) -> tuple[ScenePlan, ...]:
    """The plan that ``write_plan`` wrote. Raises ``UserError`` where there is none."""
    parent, _, name = path.rpartition("/")
    try:
        with Folder(parent or ".").open(name) as stream:
            table = pq.read_table(stream)
        decoder = msgspec.json.Decoder(tuple[Identity, ...])
        return tuple(
            ScenePlan(
                row["index"],
                row["key"],
                row["split"],
                row["seed"],
                decoder.decode(row["identities"]),
            )
            for batch in table.to_batches(max_chunksize=1024)
            for row in batch.to_pylist()
        )
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no plan here; `sigma plan` makes one") from error
    except (pa.ArrowException, KeyError, msgspec.DecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a plan ({reason}); `sigma plan` makes one") from error


class _Pool:
    """The assets of one split, and how often each was taken: the least used come first."""

    def __init__(
        self, assets: Sequence[Asset], config: PlanConfig, rng: np.random.Generator, taken: set[str]
    ) -> None:
        self._assets = sorted(assets, key=lambda asset: (apparent_size(asset.size), asset.id))
        self._sizes = np.array([apparent_size(asset.size) for asset in self._assets])
        categories = [asset.category for asset in self._assets]
        self._kinds = np.unique(categories, return_inverse=True)[1]
        self._ratio = config.size_ratio
        self._rng = rng
        self._taken = taken
        # Whole part: times used. The rest: a random place in the queue, drawn anew at each use.
        self._turn = rng.random(len(assets))

    def scene(self, count: int) -> tuple[Identity, ...] | None:
        """``count`` subjects, or None when no group of assets can be found.

        The least used asset and a size band around it are drawn; the others are the least used
        of the band. An asset that finds no company waits as if it had been used.
        """
        for _ in range(_GROUPS + len(self._assets)):
            anchor = int(self._turn.argmin()) if len(self._turn) else -1
            if anchor < 0:
                return None
            smallest = self._sizes[anchor] / self._ratio ** self._rng.random()
            low = int(np.searchsorted(self._sizes, smallest * (1 - 1e-9)))
            high = int(np.searchsorted(self._sizes, smallest * self._ratio, side="right"))
            chosen = self._company(anchor, low, high, count)
            for place, _ in chosen if len(chosen) == count else [(anchor, None)]:
                self._turn[place] = np.floor(self._turn[place]) + 1 + self._rng.random()
            if len(chosen) == count:
                identities = [identity for _, identity in chosen]
                self._taken.update(identity.id for identity in identities)
                return tuple(identities[i] for i in self._rng.permutation(count))
        return None

    def _company(self, anchor: int, low: int, high: int, count: int) -> list[tuple[int, Identity]]:
        """Up to ``count`` subjects of assets ``low`` to ``high``, the anchor first, and none where
        there cannot be so many."""
        queue = self._queue(low, high, count)
        chosen: list[tuple[int, Identity]] = []
        categories: Counter[str] = Counter()
        captions: set[str] = set()
        sizes: list[float] = []
        for place in [anchor, *(place for place in queue if place != anchor)] if queue else []:
            asset = self._assets[place]
            if categories[asset.category] == MAX_PER_CATEGORY:
                continue
            found = self._look(asset, captions, sizes)
            if found is None:
                continue
            identity, caption = found
            chosen.append((place, identity))
            categories[asset.category] += 1
            captions.add(caption)
            sizes.append(apparent_size(identity.size))
            if len(chosen) == count:
                break
        return chosen

    def _queue(self, low: int, high: int, count: int) -> list[int]:
        """Of assets ``low`` to ``high`` the least used of each category, with some to spare, the
        least used first; empty where their categories are too few for ``count`` subjects."""
        order = np.argsort(self._turn[low:high])
        kinds = self._kinds[low:high][order]
        grouped = np.argsort(kinds, kind="stable")
        starts = np.flatnonzero(np.diff(kinds[grouped], prepend=-1))
        rank = np.empty(len(order), dtype=int)
        rank[grouped] = np.arange(len(order)) - np.repeat(
            starts, np.diff(starts, append=len(order))
        )
        if np.count_nonzero(rank < MAX_PER_CATEGORY) < count:
            return []
        return [int(place) + low for place in order[rank < MAX_PER_CATEGORY + _SPARE]]

    def _look(
        self, asset: Asset, captions: set[str], sizes: list[float]
    ) -> tuple[Identity, str] | None:
        """A new identity of the asset that suits those chosen before, and its caption."""
        for _ in range(_LOOKS):
            appearance = draw_appearance(asset, self._rng)
            identity = Identity(fingerprint(asset, appearance), asset, appearance)
            within = [*sizes, apparent_size(identity.size)]
            if identity.id in self._taken or max(within) > self._ratio * min(within):
                continue
            caption = describe(identity)
            if caption not in captions:
                return identity, caption
        return None


def _rng(seed: int, purpose: str, split: str) -> np.random.Generator:
    """Apart from every ``scene_rng``, which has no spawn key."""
    return np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=tuple(f"{purpose} {split}".encode()))
    )


def _subject_counts(config: PlanConfig, split: Split) -> list[int]:
    """Subjects of each scene of a split: every count as often as every other, give or take one,
    in random order."""
    scenes: int = getattr(config, split)
    options = config.max_subjects - config.min_subjects + 1
    counts = [
        config.min_subjects + (2 * scene + 1) * options // (2 * scenes) for scene in range(scenes)
    ]
    return [counts[i] for i in _rng(config.seed, "counts", split).permutation(scenes)]


def _partition(
    config: PlanConfig, assets: Sequence[Asset], counts: dict[Split, list[int]]
) -> dict[Split, list[Asset]]:
    """Each asset to one split, in proportion to the subjects that the split needs, in every
    category alike."""
    wanted = np.array([float(sum(counts[split])) for split in SPLITS])
    used = wanted > 0
    wanted /= wanted.sum()
    floor = min(_FLOOR_SCENES * config.max_subjects / max(len(assets), 1), 0.5 / used.sum())
    shares = np.where(used, np.maximum(wanted, floor), 0)
    # What small splits get beyond their proportion, the largest gives.
    shares[np.argmax(shares)] += 1 - shares.sum()

    rng = _rng(config.seed, "assets", "all")
    kinds: dict[str, list[Asset]] = {}
    for asset in assets:
        kinds.setdefault(asset.category, []).append(asset)
    pools: dict[Split, list[Asset]] = {split: [] for split in SPLITS}
    given = np.zeros(len(SPLITS))
    for category in sorted(kinds):
        for i in rng.permutation(len(kinds[category])):
            due = shares * (given.sum() + 1) - given
            split = int(np.argmax(np.where(used, due, -np.inf)))
            given[split] += 1
            pools[SPLITS[split]].append(kinds[category][i])
    return pools


def _check(config: PlanConfig) -> None:
    if not 0 <= config.seed < 2**64:
        raise UserError(f"plan.seed: {config.seed}: expected a whole number from 0 to 2**64 - 1")
    for split in SPLITS:
        scenes: int = getattr(config, split)
        if scenes < 0:
            raise UserError(f"plan.{split}: {scenes}: expected a number of scenes, 0 or more")
    if config.train + config.val + config.test == 0:
        raise UserError("plan: train, val and test are all 0: ask for at least one scene")
    if not 1 <= config.min_subjects <= config.max_subjects <= MAX_SUBJECTS:
        raise UserError(
            f"plan: min_subjects {config.min_subjects}, max_subjects {config.max_subjects}: "
            f"expected 1 <= min_subjects <= max_subjects <= {MAX_SUBJECTS}"
        )
    if config.size_ratio < 1:
        raise UserError(f"plan.size_ratio: {config.size_ratio}: expected 1 or more")


def _too_small(
    config: PlanConfig, split: Split, count: int, in_split: int, in_catalogue: int
) -> UserError:
    return UserError(
        f"the catalogue is too small: {split} has {in_split} of {in_catalogue} assets, among which "
        f"there are no {count} left for one scene (apparent sizes within a factor of "
        f"{config.size_ratio:g}, at most {MAX_PER_CATEGORY} of a category, captions and looks all "
        f"different): add assets, lower plan.max_subjects, or raise plan.size_ratio"
    )
