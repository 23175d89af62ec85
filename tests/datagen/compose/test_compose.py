"""Composed scenes of the mini preset's plan, with the default configuration."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datagen.catalog.catalog import CatalogConfig, open_catalog
from datagen.catalog.glb import load_mesh
from datagen.compose.compose import VIEW_TURN_DEGREES, ComposeConfig, compose, viewing_azimuth
from datagen.compose.layout import LayoutRejected
from datagen.compose.plan import PlanConfig, ScenePlan, make_plan
from datagen.raycast import Shape, image_window, visible_index
from datagen.scene import OCCLUDED, SceneSpec

CONFIG = ComposeConfig()

Composed = list[tuple[ScenePlan, list[Shape], SceneSpec]]


def compose_first_draw(plan: ScenePlan, shapes: list[Shape]) -> SceneSpec:
    for draw in range(20):
        try:
            return compose(plan, draw, shapes, CONFIG)
        except LayoutRejected:
            continue
    raise AssertionError(f"{plan.key}: every draw was rejected")


@pytest.fixture(scope="module")
def composed(asset_cache: Path) -> Composed:
    catalog = open_catalog(CatalogConfig("procedural", assets=96), asset_cache)
    config = PlanConfig(seed=27, train=16, val=2, test=6, min_subjects=1, max_subjects=6)
    found = []
    for plan in make_plan(config, catalog.assets(), 0.5):
        shapes = [Shape(load_mesh(catalog.mesh(identity))) for identity in plan.identities]
        found.append((plan, shapes, compose_first_draw(plan, shapes)))
    return found


def visibility(spec: SceneSpec, shapes: list[Shape]) -> np.ndarray:
    depths = [
        shape.depth(subject.pose, spec.camera, image_window(spec.camera))
        for shape, subject in zip(shapes, spec.subjects, strict=True)
    ]
    visible = np.bincount(visible_index(depths).ravel(), minlength=len(shapes) + 1)[1:]
    return visible / [np.count_nonzero(depth) for depth in depths]


def test_a_third_of_scenes_with_several_subjects_have_occlusion(composed: Composed) -> None:
    groups = [(spec, shapes) for _, shapes, spec in composed if len(shapes) > 1]
    occluded = [visibility(*group).min() < OCCLUDED for group in groups]
    assert len(groups) > 15
    assert np.mean(occluded) >= 0.3


def test_compose_is_deterministic_in_plan_and_draw(composed: Composed) -> None:
    for plan, shapes, spec in composed[:4]:
        assert compose(plan, spec.draw, shapes, CONFIG) == spec
        assert compose_first_draw(plan, shapes) == spec


def test_subjects_are_the_planned_identities_in_order(composed: Composed) -> None:
    for plan, _, spec in composed:
        assert (spec.key, spec.split, spec.seed) == (plan.key, plan.split, plan.seed)
        assert tuple(subject.identity for subject in spec.subjects) == plan.identities
        assert [subject.index for subject in spec.subjects] == list(
            range(1, len(spec.subjects) + 1)
        )


def test_identity_views_show_another_side_than_the_image(composed: Composed) -> None:
    for _, _, spec in composed:
        for subject in spec.subjects:
            azimuth = viewing_azimuth(subject.pose, spec.camera)
            assert len(subject.views) == CONFIG.identity_views
            for view in subject.views:
                turn = np.degrees(np.abs(np.angle(np.exp(1j * (view.yaw - azimuth)))))
                assert turn > VIEW_TURN_DEGREES - 0.01


def test_environments_and_cameras_vary(composed: Composed) -> None:
    places = Counter(spec.environment.place for _, _, spec in composed)
    heights = [spec.camera.camera_to_world[2][3] for _, _, spec in composed]
    fields = [spec.camera.intrinsics[0][0] for _, _, spec in composed]
    assert len(places) >= 4
    assert len({spec.environment.environment_map.name for _, _, spec in composed}) >= 4
    assert max(heights) > 2 * min(heights)
    assert max(fields) > 1.5 * min(fields)
