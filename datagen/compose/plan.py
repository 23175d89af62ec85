"""The plan of a dataset: which subjects each scene shows, from the seed and the assets alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Meta

from datagen.compose.subject_sampler import MAX_PER_CATEGORY, SubjectSampler, shape_of
from datagen.errors import UserError
from datagen.scene import MAX_SUBJECTS, SPLITS, Asset, Identity, Split
from datagen.shards.files import Folder
from datagen.validation import FINITE, CountOrZero, validate

# Each split gets assets for at least this many scenes without a repeated asset, as far as the
# catalogue goes, so that a small split has variety too.
_MIN_DISTINCT_SCENES = 3


SubjectCount = Annotated[int, Meta(ge=1, le=MAX_SUBJECTS)]


@dataclass(frozen=True)
class PlanConfig:
    """Number of scenes per split, and of subjects per scene."""

    seed: CountOrZero
    """Seed of all random choices of the dataset."""
    train: CountOrZero
    """Number of scenes in the train split."""
    val: CountOrZero
    """Number of scenes in the val split."""
    test: CountOrZero
    """Number of scenes in the test split."""
    min_subjects: SubjectCount = 1
    """Least number of subjects in a scene. Each number is equally frequent in each split."""
    max_subjects: SubjectCount = 6
    """Largest number of subjects in a scene. Each number is equally frequent in each split."""
    size_ratio: Annotated[float, Meta(ge=1, le=FINITE)] = 2.2
    """The apparent sizes of the subjects of a scene differ by this factor at most; with a larger
    one, the smallest subject could not be seen."""

    def __post_init__(self) -> None:
        """Raises:
        UserError: no scene at all, or no number of subjects that a scene could have.
        """
        if self.train + self.val + self.test == 0:
            raise UserError("plan.train, plan.val, plan.test: all 0, expected at least one scene")
        if self.min_subjects > self.max_subjects:
            raise UserError(
                f"plan.min_subjects: {self.min_subjects}, expected at most plan.max_subjects, "
                f"which is {self.max_subjects}"
            )


@dataclass(frozen=True)
class ScenePlan:
    """One row of the plan: a scene and its subjects. ``seed`` is the plan's; with ``index`` and the
    number of the draw it determines the scene's randomness (``scene_rng``)."""

    index: int
    key: str
    split: Split
    seed: int
    identities: tuple[Identity, ...]


def scene_rng(seed: int, index: int, draw: int) -> np.random.Generator:
    """The only source of randomness of draw number ``draw`` of scene ``index``."""
    return np.random.default_rng(np.random.SeedSequence([seed, index, draw]))


def make_plan(config: PlanConfig, assets: Sequence[Asset], recolor: float) -> tuple[ScenePlan, ...]:
    """Plans every scene. The same config and assets, in any order, give the same plan.

    Splits share no asset and no shape. Identities are unique in the plan. The subjects of a scene
    are of distinct assets and shapes, with distinct captions and similar sizes, at most
    ``MAX_PER_CATEGORY`` of a category; assets of ``NO_CATEGORY`` are excepted from the last rule,
    and may share a caption.

    Args:
        config: number and kind of the scenes.
        assets: the catalogue.
        recolor: share, 0 to 1, of the identities of assets from files that are recoloured.

    Returns:
        One row per scene, in the order of the splits.

    Raises:
        UserError: the catalogue is too small for the config.
    """
    validate(config, "plan")
    counts = {split: _subject_counts(config, split) for split in SPLITS}
    split_assets = _partition(config, sorted(assets, key=lambda asset: asset.id), counts)
    taken: set[str] = set()
    plan: list[ScenePlan] = []
    for split in SPLITS:
        if not counts[split]:
            continue
        # The purposes of ``_rng`` are part of the seed: another word gives another plan.
        sampler = SubjectSampler(
            split_assets[split],
            config.size_ratio,
            recolor,
            _rng(config.seed, "pool", split),
            taken,
        )
        for count in counts[split]:
            identities = sampler.scene(count)
            if identities is None:
                raise _too_small(config, split, count, len(split_assets[split]), len(assets))
            index = len(plan)
            plan.append(ScenePlan(index, f"{index:06d}", split, config.seed, identities))
    return tuple(plan)


def write_plan(plan: Sequence[ScenePlan], path: str) -> None:
    """Writes ``plan`` as Parquet. A plan that is there already must be equal and is left as it is.

    Raises:
        UserError: another plan is there.
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
    """Reads the plan that ``write_plan`` wrote.

    Raises:
        UserError: there is no plan at ``path``, or the file is not one.
    """
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


def _rng(seed: int, purpose: str, split: str) -> np.random.Generator:
    """Randomness of the plan itself; independent of every ``scene_rng``, which has no spawn key."""
    return np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=tuple(f"{purpose} {split}".encode()))
    )


def _subject_counts(config: PlanConfig, split: Split) -> list[int]:
    """Number of subjects of each scene of a split, in random order; the frequencies of the possible
    numbers differ by one at most."""
    scenes: int = getattr(config, split)
    options = config.max_subjects - config.min_subjects + 1
    counts = [
        config.min_subjects + (2 * scene + 1) * options // (2 * scenes) for scene in range(scenes)
    ]
    return [counts[i] for i in _rng(config.seed, "counts", split).permutation(scenes)]


def _partition(
    config: PlanConfig, assets: Sequence[Asset], counts: dict[Split, list[int]]
) -> dict[Split, list[Asset]]:
    """Assigns each shape, with all its assets, to one split, in proportion to the number of
    subjects that the split needs, in every category alike."""
    wanted = np.array([float(sum(counts[split])) for split in SPLITS])
    used = wanted > 0
    wanted /= wanted.sum()
    by_shape: dict[str, list[Asset]] = {}
    for asset in assets:
        by_shape.setdefault(shape_of(asset), []).append(asset)
    distinct = _MIN_DISTINCT_SCENES * config.max_subjects
    floor = min(distinct / max(len(by_shape), 1), 0.5 / used.sum())
    shares = np.where(used, np.maximum(wanted, floor), 0)
    # What small splits get beyond their proportion is taken from the largest.
    shares[np.argmax(shares)] += 1 - shares.sum()

    rng = _rng(config.seed, "assets", "all")
    by_category: dict[str, list[list[Asset]]] = {}
    for alike in by_shape.values():
        by_category.setdefault(alike[0].category, []).append(alike)
    split_assets: dict[Split, list[Asset]] = {split: [] for split in SPLITS}
    assigned = np.zeros(len(SPLITS))
    for category in sorted(by_category):
        for i in rng.permutation(len(by_category[category])):
            missing = shares * (assigned.sum() + 1) - assigned
            split = int(np.argmax(np.where(used, missing, -np.inf)))
            assigned[split] += 1
            split_assets[SPLITS[split]].extend(by_category[category][i])
    return split_assets


def _too_small(
    config: PlanConfig, split: Split, count: int, in_split: int, in_catalogue: int
) -> UserError:
    return UserError(
        f"the catalogue is too small: {split} has {in_split} of {in_catalogue} assets, and no "
        f"{count} of them are left that can share one scene (apparent sizes within a factor of "
        f"{config.size_ratio:g}, at most {MAX_PER_CATEGORY} of a category, all shapes, captions "
        f"and appearances different): add assets, lower plan.max_subjects, or raise plan.size_ratio"
    )
