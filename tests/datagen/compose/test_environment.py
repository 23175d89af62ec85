from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageColor

from datagen.catalog.looks.colors import color_names, color_rgb, lab, name_color
from datagen.compose.environment import (
    draw_environment,
    draw_view_environment_map,
    places,
    surfaces,
    worlds,
)
from datagen.scene import Environment, Vec3

REACHES = st.floats(0.3, 25.0)
SEEDS = st.integers(0, 2**32)

MAPS = {"city", "courtyard", "forest", "interior", "night", "studio", "sunrise", "sunset"}
SKY_WORDS = "day|daylight|daybreak|sunrise|sunset|dusk|night|shade|shaded|sky"


def draw(seed: int, reach: float) -> Environment:
    return draw_environment(np.random.default_rng(seed), reach)


def shade(material: str, color: str) -> Vec3:
    red, green, blue = ImageColor.getrgb(surfaces()[material].colors[color])[:3]
    return (red / 255, green / 255, blue / 255)


def irradiance(environment: Environment) -> float:
    """What the middle of the ground gets from map and key light, over pi, walls apart."""
    ambient = (
        environment.environment_map.strength * worlds()[environment.environment_map.name].irradiance
    )
    for light in environment.lights:
        if light.kind == "sun":
            slant = -light.direction[2] / np.linalg.norm(light.direction)
            ambient += float(light.strength / np.pi * slant)
        else:
            distance = np.linalg.norm(light.position)
            ambient += float(light.strength / np.pi**2 * light.position[2] / distance**3)
    return ambient


@given(seed=SEEDS, reach=REACHES)
@settings(max_examples=200, deadline=None)
def test_a_room_holds_the_scene(seed: int, reach: float) -> None:
    environment = draw(seed, reach)
    for room in environment.room:
        assert min(room.size) / 2 > 1.1 * reach
        assert room.height >= max(2.4, reach)
    for light in environment.lights:
        if light.kind == "area":
            assert light.position[2] > reach
            assert np.dot(light.direction, light.position) < 0
        else:
            assert light.direction[2] < 0


@given(seed=SEEDS, reach=REACHES)
@settings(max_examples=200, deadline=None)
def test_every_word_is_of_what_is_rendered(seed: int, reach: float) -> None:
    environment = draw(seed, reach)
    phrase = environment.phrase
    assert phrase.startswith("in a")
    assert not re.search(r"[{}]|  |\ba [aeiou](?!ni)", phrase)

    ground = surfaces()[environment.ground.material]
    outdoors = environment.place == "open"
    words = ground.open if outdoors else ground.floor
    assert words
    assert words.format(color=environment.ground.color) in phrase

    assert ("wall" in phrase) == bool(environment.room)
    for room in environment.room:
        walls = surfaces()[room.walls.material].wall
        assert walls.format(color=room.walls.color) in phrase

    sky = worlds()[environment.environment_map.name]
    assert bool(re.search(rf"\b({SKY_WORDS})\b", phrase)) == outdoors
    assert not outdoors or phrase.endswith(sky.words)

    named = {name for name in color_names() if re.search(rf"\b{name}\b", phrase)}
    shown = {environment.ground.color, *(room.walls.color for room in environment.room)}
    assert named <= shown | {"white"}


def test_everything_is_drawn_and_nothing_else() -> None:
    drawn = [draw(seed, reach) for seed in range(600) for reach in (0.5, 2.0, 8.0)]
    assert {environment.place for environment in drawn} == set(places())
    assert {environment.environment_map.name for environment in drawn} == MAPS == set(worlds())
    used = {environment.ground.material for environment in drawn}
    used |= {room.walls.material for environment in drawn for room in environment.room}
    assert used == set(surfaces())


@given(seed=SEEDS, reach=REACHES)
@settings(max_examples=200, deadline=None)
def test_exposure_is_sane(seed: int, reach: float) -> None:
    environment = draw(seed, reach)
    darkest = 0.15 if environment.environment_map.name == "night" else 0.35
    assert darkest < irradiance(environment) < 1.7


@given(seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_small_scenes_get_small_textures(seed: int) -> None:
    near, far = draw(seed, 0.5).ground, draw(seed, 12.0).ground
    for surface in (near, far):
        low, high = surfaces()[surface.material].span
        assert low <= surface.span <= high
    if near.material == far.material:
        assert near.span <= far.span


@pytest.mark.parametrize("name", sorted(name for name, world in worlds().items() if world.sun))
def test_the_sun_turns_with_the_map(name: str) -> None:
    sun = worlds()[name].sun
    assert sun
    environments = [draw(seed, 8.0) for seed in range(400)]
    lit = [e for e in environments if e.environment_map.name == name and e.lights[0].kind == "sun"]
    assert len(lit) > 5
    for environment in lit:
        x, y, z = environment.lights[0].direction
        off = np.arctan2(-y, -x) + environment.environment_map.rotation - np.radians(sun.azimuth)
        assert abs(np.angle(np.exp(1j * off))) < np.radians(6)
        low, high = np.radians(sun.elevation)
        assert low - 0.01 < np.arcsin(-z) < high + 0.01


@pytest.mark.parametrize("material", sorted(surfaces()))
def test_colors_of_surfaces_are_called_by_their_names(material: str) -> None:
    entry = surfaces()[material]
    for color in entry.colors:
        if "pale {color}" in entry.wall:
            # Lighter than the colour of that name, and of its hue.
            pale, full = lab(np.array([shade(material, color), color_rgb(color)]))
            assert pale[0] > full[0]
            assert np.dot(pale[1:], full[1:]) > 0.85 * np.hypot(*pale[1:]) * np.hypot(*full[1:])
        else:
            assert name_color(shade(material, color), 0.0) == color


def test_views_are_lit_by_all_maps_alike() -> None:
    rng = np.random.default_rng(5)
    drawn = [draw_view_environment_map(rng) for _ in range(200)]
    assert {world.name for world in drawn} == MAPS
    for world in drawn:
        assert 0.6 < world.strength * worlds()[world.name].radiance < 1.2


def test_the_same_draw_is_the_same_place() -> None:
    assert draw(11, 2.0) == draw(11, 2.0)
    assert draw(11, 2.0) != draw(12, 2.0)
