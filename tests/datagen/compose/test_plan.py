from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.catalog.shapes.families import families
from datagen.compose import plan as planning
from datagen.compose.captions import describe
from datagen.compose.plan import (
    PlanConfig,
    ScenePlan,
    read_plan,
    scene_rng,
    write_plan,
)
from datagen.errors import UserError
from datagen.scene import Asset, Part

RECOLOR = 0.5
CONFIG = PlanConfig(seed=7, train=40, val=8, test=12, min_subjects=1, max_subjects=6)


def make_plan(config: PlanConfig, assets: Sequence[Asset]) -> tuple[ScenePlan, ...]:
    return planning.make_plan(config, assets, RECOLOR)


def make_assets(count: int, extents: Sequence[float] = (0.2, 0.3, 0.5, 0.7)) -> tuple[Asset, ...]:
    """Assets of all procedural families in turn, without meshes."""
    names = sorted(families())
    made = []
    for i in range(count):
        family = names[i % len(names)]
        parts = list(families()[family].parts)
        size = extents[i * 7 % len(extents)]
        made.append(
            Asset(
                id=f"procedural/{family}/{i:04d}",
                category=families()[family].category,
                noun=families()[family].noun,
                size=(size, size / 2, size / 2),
                silhouette=size**2 / 2,
                parts=tuple(Part(part, 1 / len(parts), (0.5, 0.5, 0.5), 0.0) for part in parts),
                recolorable=True,
                source="procedural",
                author="tests",
                license="CC0-1.0",
                digest=f"{i:064d}",
            )
        )
    return tuple(made)


def in_variants(assets: Sequence[Asset]) -> tuple[Asset, ...]:
    """Three assets of each shape: in two formats, and in another colour."""
    return tuple(
        replace(asset, id=f"{asset.id}{kind}", digest=asset.digest + kind, shape=asset.id)
        for asset in assets
        for kind in ("", ".obj", "-red")
    )


def nameless(assets: Sequence[Asset]) -> tuple[Asset, ...]:
    """The same assets from files whose names say nothing."""
    return tuple(
        replace(asset, noun="object", category="object", source="file") for asset in assets
    )


def assets_of(plan: Sequence[ScenePlan], split: str) -> set[str]:
    return {i.asset.id for scene in plan if scene.split == split for i in scene.identities}


def shapes_of(plan: Sequence[ScenePlan], split: str) -> set[str]:
    return {
        i.asset.shape or i.asset.id
        for scene in plan
        if scene.split == split
        for i in scene.identities
    }


def check(plan: Sequence[ScenePlan], config: PlanConfig) -> None:
    """Checks everything that is true of every plan."""
    assert [scene.index for scene in plan] == list(range(len(plan)))
    assert len({scene.key for scene in plan}) == len(plan)
    assert all(scene.key.isdigit() and len(scene.key) >= 6 for scene in plan)
    for one, other in combinations(("train", "val", "test"), 2):
        assert not assets_of(plan, one) & assets_of(plan, other)
        assert not shapes_of(plan, one) & shapes_of(plan, other)
    ids = [identity.id for scene in plan for identity in scene.identities]
    assert len(ids) == len(set(ids))
    for scene in plan:
        extents = [identity.apparent_size for identity in scene.identities]
        captions = [describe(identity) for identity in scene.identities]
        assert max(extents) <= config.size_ratio * min(extents)
        assert len(set(captions)) == len(captions)
        shapes = {identity.asset.shape or identity.asset.id for identity in scene.identities}
        assert len(shapes) == len(captions)
        assert max(Counter(i.asset.category for i in scene.identities).values()) <= 2
    for split, scenes in (("train", config.train), ("val", config.val), ("test", config.test)):
        counts = Counter(len(scene.identities) for scene in plan if scene.split == split)
        assert counts.total() == scenes
        frequencies = [counts[n] for n in range(config.min_subjects, config.max_subjects + 1)]
        assert not scenes or max(frequencies) - min(frequencies) <= 1


def test_make_plan_follows_its_rules() -> None:
    check(make_plan(CONFIG, make_assets(96)), CONFIG)


@given(seed=st.integers(0, 2**64 - 1), most=st.integers(1, 5), scenes=st.integers(1, 30))
@settings(max_examples=12, deadline=None)
def test_make_plan_follows_its_rules_with_small_catalogues(
    seed: int, most: int, scenes: int
) -> None:
    config = PlanConfig(seed, train=scenes, val=2, test=3, min_subjects=1, max_subjects=most)
    check(make_plan(config, make_assets(60)), config)


def test_plan_does_not_depend_on_the_order_of_assets() -> None:
    assets = make_assets(60)
    plan = make_plan(CONFIG, assets)
    assert make_plan(CONFIG, assets[::-1]) == plan
    assert make_plan(replace(CONFIG, seed=8), assets) != plan


def test_assets_of_one_shape_share_a_split_and_no_scene() -> None:
    check(make_plan(CONFIG, in_variants(make_assets(60))), CONFIG)


def test_assets_of_one_shape_and_different_categories_share_a_split() -> None:
    assets = make_assets(120)
    shared = tuple(
        replace(asset, shape=assets[i - i % 2].id, category=f"kind {i}")
        for i, asset in enumerate(assets)
    )
    check(make_plan(CONFIG, shared), CONFIG)


def test_assets_without_a_name_fill_scenes_of_many_subjects() -> None:
    config = replace(CONFIG, min_subjects=6, max_subjects=6)
    for recolorable in (True, False):
        assets = nameless(make_assets(96, extents=(0.4, 0.5)))
        plan = make_plan(config, [replace(asset, recolorable=recolorable) for asset in assets])
        assert {len(scene.identities) for scene in plan} == {6}
        assert all(len({i.asset.id for i in scene.identities}) == 6 for scene in plan)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 60, 140), (1.0, 200, 200)])
def test_recolor_is_the_share_of_recolored_identities(share: float, least: int, most: int) -> None:
    files = tuple(replace(asset, source="file") for asset in make_assets(40))
    config = PlanConfig(seed=3, train=200, val=0, test=0, min_subjects=1, max_subjects=1)
    plan = planning.make_plan(config, files, share)
    changed = [scene for scene in plan if scene.identities[0].appearance.finishes]
    assert least <= len(changed) <= most


def of_categories(*categories: str) -> tuple[Asset, ...]:
    """Three assets of each category, all of one size."""
    made = make_assets(3 * len(categories), extents=(0.5,))
    return tuple(
        replace(asset, category=categories[i // 3], noun=categories[i // 3])
        for i, asset in enumerate(made)
    )


def test_subjects_of_a_scene_belong_in_one_setting_if_they_can() -> None:
    on_tables = ("mug", "teapot", "bowl", "fork", "spoon", "jug", "plate")
    on_streets = ("van", "bus", "truck", "hydrant", "column", "stall", "cone")
    anywhere = "gizmo"
    config = PlanConfig(seed=3, train=60, val=0, test=0, min_subjects=2, max_subjects=6)
    plan = make_plan(config, of_categories(*on_tables, *on_streets, anywhere))
    check(plan, config)
    scenes = [{identity.asset.category for identity in scene.identities} for scene in plan]
    assert not [scene for scene in scenes if scene & set(on_tables) and scene & set(on_streets)]
    assert [scene for scene in scenes if anywhere in scene and len(scene) > 1]


def test_subjects_of_several_settings_share_a_scene_where_one_has_too_few() -> None:
    config = PlanConfig(seed=3, train=30, val=0, test=0, min_subjects=4, max_subjects=4)
    plan = make_plan(config, of_categories("mug", "van"))
    check(plan, config)


def test_small_splits_have_several_categories() -> None:
    config = PlanConfig(seed=1, train=500, val=4, test=4, min_subjects=1, max_subjects=6)
    plan = make_plan(config, make_assets(200))
    for split in ("val", "test"):
        shown = [i.asset for scene in plan if scene.split == split for i in scene.identities]
        assert len({asset.category for asset in shown}) >= 4


def test_assets_are_used_equally_often() -> None:
    config = PlanConfig(seed=3, train=30, val=0, test=0, min_subjects=2, max_subjects=2)
    used = Counter(
        identity.asset.id
        for scene in make_plan(config, make_assets(60, extents=(0.4, 0.5)))
        for identity in scene.identities
    )
    assert max(used.values()) <= 2
    assert len(used) >= 50


def test_identities_of_assets_that_are_not_recolorable_differ_by_scale() -> None:
    fixed = tuple(replace(asset, recolorable=False, source="file") for asset in make_assets(5))
    config = PlanConfig(seed=3, train=100, val=0, test=0, min_subjects=1, max_subjects=1)
    plan = make_plan(config, fixed)
    check(plan, config)
    assert all(not scene.identities[0].appearance.finishes for scene in plan)


def test_an_asset_of_unusual_size_appears_alone() -> None:
    giant = replace(
        make_assets(1)[0],
        id="procedural/armchair/9999",
        size=(40.0, 10.0, 10.0),
        silhouette=400.0,
        digest="giant",
    )
    config = PlanConfig(seed=3, train=30, val=0, test=0, min_subjects=1, max_subjects=3)
    plan = make_plan(config, (*make_assets(30), giant))
    check(plan, config)
    crowds = [scene.identities for scene in plan if len(scene.identities) > 1]
    assert all(max(identity.size) < 30 for crowd in crowds for identity in crowd)


def test_a_catalogue_that_is_too_small_is_a_user_error_with_counts() -> None:
    config = PlanConfig(seed=3, train=4, val=1, test=1, min_subjects=4, max_subjects=6)
    with pytest.raises(
        UserError, match=r"has \d of 9 assets, and no \d of them are left"
    ) as caught:
        make_plan(config, make_assets(9))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="train has 0 of 0 assets"):
        make_plan(config, ())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": -1}, "plan.seed"),
        ({"val": -1}, "plan.val"),
        ({"train": 0, "val": 0, "test": 0}, "at least one scene"),
        ({"min_subjects": 0}, "plan.min_subjects: 0, expected 1 to 10"),
        ({"max_subjects": 11}, "plan.max_subjects: 11, expected 1 to 10"),
        ({"min_subjects": 4, "max_subjects": 3}, "plan.min_subjects: 4, expected at most"),
        ({"size_ratio": 0.5}, "plan.size_ratio"),
    ],
)
def test_plan_configs_out_of_bounds_are_user_errors(change: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        make_plan(replace(CONFIG, **change), make_assets(60))


def test_read_plan_returns_what_write_plan_wrote(tmp_path: Path) -> None:
    path = tmp_path / "out" / "plan.parquet"
    plan = make_plan(CONFIG, make_assets(60))
    write_plan(plan, str(path))
    assert read_plan(str(path)) == plan


def test_write_plan_refuses_another_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.parquet"
    plan = make_plan(CONFIG, make_assets(60))
    write_plan(plan, str(path))
    before = path.read_bytes()
    write_plan(plan, str(path))
    with pytest.raises(UserError, match=r"plan\.parquet: another plan"):
        write_plan(plan[:-1], str(path))
    assert path.read_bytes() == before


def test_read_plan_of_a_missing_or_broken_file_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "plan.parquet"
    with pytest.raises(UserError, match="there is no plan here"):
        read_plan(str(path))
    path.write_bytes(b"not parquet")
    with pytest.raises(UserError, match="not a plan") as caught:
        read_plan(str(path))
    assert "\n" not in str(caught.value)


def test_scene_rng_differs_by_seed_index_and_draw() -> None:
    def first(seed: int, index: int, draw: int) -> int:
        return int(scene_rng(seed, index, draw).integers(2**62))

    assert first(1, 2, 3) == first(1, 2, 3)
    assert len({first(*where) for where in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4)]}) == 4
