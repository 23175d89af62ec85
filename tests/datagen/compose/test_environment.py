"""Environments: their words agree with what is rendered, and their light is within limits."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageColor

from datagen.catalog.looks.colors import color_names, color_rgb, lab, name_color
from datagen.compose.environment import (
    environment_maps,
    places,
    sample_environment,
    sample_view_environment_map,
    surfaces,
)
from datagen.compose.environment import (
    settings as settings_of,
)
from datagen.scene import Environment, Vec3

SCENE_RADII = st.floats(0.3, 25.0)
SEEDS = st.integers(0, 2**32)

MAPS = {"city", "courtyard", "forest", "interior", "night", "studio", "sunrise", "sunset"}
SKY_WORDS = "day|daylight|daybreak|sunrise|sunset|dusk|night|shade|shaded|sky"


def environment_of(
    seed: int, scene_radius: float, categories: tuple[str, ...] = ("gizmo",)
) -> Environment:
    """Of subjects of a category that belongs anywhere, unless told otherwise."""
    rng = np.random.default_rng(seed)
    return sample_environment(rng, scene_radius, 0.4 * scene_radius, categories)


def shade(material: str, color: str) -> Vec3:
    red, green, blue = ImageColor.getrgb(surfaces()[material].colors[color])[:3]
    return (red / 255, green / 255, blue / 255)


def irradiance(environment: Environment) -> float:
    """Irradiance over pi of the ground at the origin, from map and key light, without walls."""
    ambient = (
        environment.environment_map.strength
        * environment_maps()[environment.environment_map.name].irradiance
    )
    for light in environment.lights:
        if light.kind == "sun":
            slant = -light.direction[2] / np.linalg.norm(light.direction)
            ambient += float(light.strength / np.pi * slant)
        else:
            distance = np.linalg.norm(light.position)
            ambient += float(light.strength / np.pi**2 * light.position[2] / distance**3)
    return ambient


@given(seed=SEEDS, scene_radius=SCENE_RADII)
@settings(max_examples=200, deadline=None)
def test_room_and_lights_enclose_the_scene(seed: int, scene_radius: float) -> None:
    environment = environment_of(seed, scene_radius)
    for room in environment.room:
        assert min(room.size) / 2 > 1.1 * scene_radius
        assert room.height >= max(2.4, scene_radius)
        for table in environment.table:
            assert room.height - table.height >= 2.4
    for table in environment.table:
        assert min(table.size) / 2 > 0.4 * scene_radius, "every subject stands on it"
    for light in environment.lights:
        if light.kind == "area":
            assert light.position[2] > scene_radius
            assert np.dot(light.direction, light.position) < 0
        else:
            assert light.direction[2] < 0


@given(seed=SEEDS, scene_radius=SCENE_RADII)
@settings(max_examples=200, deadline=None)
def test_phrase_states_only_what_is_rendered(seed: int, scene_radius: float) -> None:
    environment = environment_of(seed, scene_radius)
    phrase = environment.phrase
    assert phrase.startswith("in a")
    assert not re.search(r"[{}]|  |\ba [aeiou](?!ni)", phrase)

    ground = surfaces()[environment.ground.material]
    outdoors = not environment.room and environment.lights[0].kind == "sun"
    assert ("on a table of" in phrase) == bool(environment.table)
    for table in environment.table:
        below = surfaces()[table.floor.material]
        assert (below.open if outdoors else below.floor).format(color=table.floor.color) in phrase
    words = ground.table if environment.table else ground.open if outdoors else ground.floor
    assert words
    assert words.format(color=environment.ground.color) in phrase

    assert ("wall" in phrase) == bool(environment.room)
    for room in environment.room:
        walls = surfaces()[room.walls.material].wall
        assert walls.format(color=room.walls.color) in phrase

    map_entry = environment_maps()[environment.environment_map.name]
    assert bool(re.search(rf"\b({SKY_WORDS})\b", phrase)) == outdoors
    assert not outdoors or phrase.endswith(map_entry.words)

    named = {name for name in color_names() if re.search(rf"\b{name}\b", phrase)}
    shown = {environment.ground.color, *(room.walls.color for room in environment.room)}
    shown |= {table.floor.color for table in environment.table}
    assert named <= shown | {"white"}


@pytest.mark.parametrize(
    ("categories", "scene_radius", "wanted"),
    [
        (["bathtub"], 3.0, {"tiled_room"}),
        (["bathtub", "washbasin", "toilet"], 3.0, {"tiled_room"}),
        (["mug", "teapot"], 0.6, {"table", "garden_table"}),
        (["sofa", "wardrobe"], 4.0, {"room"}),
        (["bus"], 15.0, {"street"}),
        (["hedge", "swing set"], 8.0, {"garden"}),
        (["workbench"], 3.0, {"workshop"}),
    ],
)
def test_places_suit_the_subjects(
    categories: list[str], scene_radius: float, wanted: set[str]
) -> None:
    neutral = {name for name, entry in places().items() if not entry.settings}
    sampled = {environment_of(seed, scene_radius, tuple(categories)).place for seed in range(60)}
    home = {"interior"} if wanted & {"room", "tiled_room"} else set()
    assert wanted <= sampled <= wanted | neutral | home


def test_subjects_that_belong_nowhere_together_are_in_a_neutral_place() -> None:
    neutral = {name for name, entry in places().items() if not entry.settings}
    sampled = {environment_of(seed, 5.0, ("bathtub", "bus")).place for seed in range(60)}
    assert sampled <= neutral


def test_settings_name_each_category_once_and_places_name_what_there_is() -> None:
    for place in places().values():
        assert set(place.settings) <= set(settings_of())
        assert {*place.grounds, *place.walls} <= set(surfaces())
    assert {setting for place in places().values() for setting in place.settings} == set(
        settings_of()
    )


def test_loud_patterns_are_rare() -> None:
    materials = [environment_of(seed, 3.0, ("sofa",)).ground.material for seed in range(400)]
    assert 0 < materials.count("checker") < 0.5 * materials.count("planks")


def test_every_place_map_and_surface_is_sampled() -> None:
    sampled = [
        environment_of(seed, scene_radius)
        for seed in range(600)
        for scene_radius in (0.5, 2.0, 8.0)
    ]
    assert {environment.place for environment in sampled} == set(places())
    assert (
        {environment.environment_map.name for environment in sampled}
        == MAPS
        == set(environment_maps())
    )
    used = {environment.ground.material for environment in sampled}
    used |= {table.floor.material for environment in sampled for table in environment.table}
    used |= {room.walls.material for environment in sampled for room in environment.room}
    assert used == set(surfaces())


@given(seed=SEEDS, scene_radius=SCENE_RADII)
@settings(max_examples=200, deadline=None)
def test_irradiance_of_the_ground_is_within_limits(seed: int, scene_radius: float) -> None:
    environment = environment_of(seed, scene_radius)
    darkest = 0.15 if environment.environment_map.name == "night" else 0.35
    assert darkest < irradiance(environment) < 1.7


@given(seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_texture_span_increases_with_scene_radius(seed: int) -> None:
    near, far = environment_of(seed, 0.5).ground, environment_of(seed, 12.0).ground
    for surface in (near, far):
        low, high = surfaces()[surface.material].span
        assert low <= surface.span <= high
    if near.material == far.material:
        assert near.span <= far.span


@pytest.mark.parametrize(
    "name", sorted(name for name, entry in environment_maps().items() if entry.sun)
)
def test_sun_direction_agrees_with_the_environment_map(name: str) -> None:
    sun = environment_maps()[name].sun
    assert sun
    environments = [environment_of(seed, 8.0, ("bus",)) for seed in range(400)]
    lit = [e for e in environments if e.environment_map.name == name and e.lights[0].kind == "sun"]
    assert len(lit) > 5
    for environment in lit:
        x, y, z = environment.lights[0].direction
        difference = (
            np.arctan2(-y, -x) + environment.environment_map.rotation - np.radians(sun.azimuth)
        )
        assert abs(np.angle(np.exp(1j * difference))) < np.radians(6)
        low, high = np.radians(sun.elevation)
        assert low - 0.01 < np.arcsin(-z) < high + 0.01


@pytest.mark.parametrize("material", sorted(surfaces()))
def test_surface_colors_have_true_names(material: str) -> None:
    entry = surfaces()[material]
    for color in entry.colors:
        if "pale {color}" in entry.wall:
            # Lighter than the colour of that name, and of its hue.
            pale, full = lab(np.array([shade(material, color), color_rgb(color)]))
            assert pale[0] > full[0]
            assert np.dot(pale[1:], full[1:]) > 0.85 * np.hypot(*pale[1:]) * np.hypot(*full[1:])
        else:
            assert name_color(shade(material, color), 0.0) == color


def test_view_environment_maps_are_all_used_with_equal_brightness() -> None:
    rng = np.random.default_rng(5)
    sampled = [sample_view_environment_map(rng) for _ in range(200)]
    assert {environment_map.name for environment_map in sampled} == MAPS
    for environment_map in sampled:
        assert (
            0.6 < environment_map.strength * environment_maps()[environment_map.name].radiance < 1.2
        )


def test_sample_environment_is_deterministic() -> None:
    assert environment_of(11, 2.0) == environment_of(11, 2.0)
    assert environment_of(11, 2.0) != environment_of(12, 2.0)
