"""Environment of a scene: samples place, ground, walls and light, and the words for them.

To add a place, a ground or wall material, an environment map, or the setting of a category, add an
entry to assets/places.yaml, surfaces.yaml, worlds.yaml or settings.yaml; no code is needed, except
for a material with a new texture (``datagen.render.textures``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, TypeVar

import numpy as np

from datagen import resources
from datagen.scene import Environment, EnvironmentMap, Light, Room, Surface, Table, Vec3

T = TypeVar("T")
Role = Literal["floor", "open", "table", "wall"]

# Height of a table, and range of the least half of its edges, in metres.
_TABLE_HEIGHT, _TABLE_HALF = 0.74, (0.4, 0.7)
# Watts of an area light per unit of (irradiance / pi) one metre below it, as Cycles defines it.
_LAMP_WATTS = np.pi**2
# Metres that one repeat of a ground's texture should cover, per metre of the scene's radius.
_SPAN_PER_RADIUS = 1.1


@dataclass(frozen=True)
class SunEntry:
    """A sun that agrees with an environment map. Angles in degrees; see assets/worlds.yaml."""

    azimuth: float
    elevation: tuple[float, float]
    strength: tuple[float, float]
    size: float
    color: Vec3


@dataclass(frozen=True)
class EnvironmentMapEntry:
    """One entry of assets/worlds.yaml: an environment map that ships with Blender."""

    irradiance: float
    radiance: float
    ambient: tuple[float, float]
    words: tuple[str, ...] = ()
    scenery: str = ""
    sun: SunEntry | None = None


@dataclass(frozen=True)
class LampEntry:
    """An area light above the scene; see assets/places.yaml."""

    strength: tuple[float, float]
    size: tuple[float, float]
    color: Vec3


@dataclass(frozen=True)
class PlaceEntry:
    """One entry of assets/places.yaml. ``worlds``: the environment maps that may light it;
    ``reach``: the range of scene radii, in metres, that fit into it; ``settings``: what belongs
    there, keys of assets/settings.yaml, none for everything; ``grounds``, ``walls``: the surfaces
    that it may have, none for all."""

    phrase: str
    worlds: tuple[str, ...]
    reach: tuple[float, float]
    weight: float
    lamp: LampEntry | None = None
    settings: tuple[str, ...] = ()
    grounds: tuple[str, ...] = ()
    walls: tuple[str, ...] = ()


@dataclass(frozen=True)
class SurfaceEntry:
    """One entry of assets/surfaces.yaml."""

    texture: str
    span: tuple[float, float]
    colors: dict[str, str]
    floor: str = ""
    open: str = ""
    table: str = ""
    wall: str = ""
    weight: float = 1.0

    def words(self, role: Role) -> str:
        """The phrase for the surface as ``role``; empty where it cannot have that role. "open" is
        ground outdoors."""
        words: str = getattr(self, role)
        return words


@cache
def environment_maps() -> dict[str, EnvironmentMapEntry]:
    """Every environment map by name."""
    return resources.load("worlds.yaml", dict[str, EnvironmentMapEntry])


@cache
def places() -> dict[str, PlaceEntry]:
    """Every place by name."""
    return resources.load("places.yaml", dict[str, PlaceEntry])


@cache
def surfaces() -> dict[str, SurfaceEntry]:
    """Every material of grounds and walls by name."""
    return resources.load("surfaces.yaml", dict[str, SurfaceEntry])


@cache
def settings() -> dict[str, frozenset[str]]:
    """The categories that are at home in each setting."""
    return resources.load("settings.yaml", dict[str, frozenset[str]])


def sample_environment(
    rng: np.random.Generator,
    scene_radius: float,
    group_radius: float,
    categories: Sequence[str],
) -> Environment:
    """Samples a place with its ground, walls, light and words; its props come later, from
    ``datagen.compose.props``.

    Args:
        rng: source of randomness.
        scene_radius: metres; subjects and camera lie within this distance of the world's origin.
            A room is larger, and its walls fill the image of a camera that far out.
        group_radius: metres; the subjects lie within this distance of the world's origin.
        categories: of the subjects; the place suits as many of them as possible.
    """
    place = _sample_place(rng, scene_radius, categories)
    entry = places()[place]
    map_name = entry.worlds[int(rng.integers(len(entry.worlds)))]
    map_entry = environment_maps()[map_name]
    strength = rng.uniform(*map_entry.ambient) / map_entry.irradiance
    rotation = float(rng.uniform(-np.pi, np.pi))
    light_words = ""
    if "{light}" in entry.phrase:
        light_words = map_entry.words[int(rng.integers(len(map_entry.words)))]

    role: Role = "open" if "{open}" in entry.phrase else "floor"
    ground, ground_words = _sample_surface(rng, role, scene_radius, entry.grounds)
    table: tuple[Table, ...] = ()
    table_words = ""
    if "{table}" in entry.phrase:
        half = np.maximum(group_radius * rng.uniform(1.2, 2.0, 2), rng.uniform(*_TABLE_HALF, 2))
        floor = replace(ground, span=_span(rng, ground.material, max(scene_radius, 1.0)))
        ground, table_words = _sample_surface(rng, "table", scene_radius, ())
        table = (Table((_rounded(2 * half[0]), _rounded(2 * half[1])), _TABLE_HEIGHT, floor),)
    room: tuple[Room, ...] = ()
    wall_words = ""
    if "{wall}" in entry.phrase:
        walls, wall_words = _sample_surface(rng, "wall", scene_radius, entry.walls)
        reach = max(scene_radius, *(max(item.size) / 2 for item in table), 0.0)
        size = 2 * np.maximum(reach * rng.uniform(1.15, 1.7, 2), rng.uniform(1.2, 2.4, 2))
        height = max(2.4, 1.5 * scene_radius) + sum(item.height for item in table)
        room = (Room((_rounded(size[0]), _rounded(size[1])), _rounded(height), walls),)
    if entry.lamp:
        key_light = _sample_lamp(rng, entry.lamp, scene_radius, room, table)
    else:
        assert map_entry.sun is not None, f"worlds.yaml: {map_name} needs a sun to light {place}"
        key_light = _sample_sun(rng, map_entry.sun, rotation)
    return Environment(
        place=place,
        phrase=entry.phrase.format(
            floor=ground_words,
            open=ground_words,
            table=table_words,
            wall=wall_words,
            light=light_words,
        ),
        environment_map=EnvironmentMap(map_name, _rounded(rotation), _rounded(strength)),
        lights=(key_light,),
        ground=ground,
        room=room,
        table=table,
    )


def sample_view_environment_map(rng: np.random.Generator) -> EnvironmentMap:
    """The light of an identity view: any environment map at any rotation, as bright as daylight."""
    name = list(environment_maps())[int(rng.integers(len(environment_maps())))]
    strength = rng.uniform(0.7, 1.1) / environment_maps()[name].radiance
    return EnvironmentMap(name, _rounded(rng.uniform(-np.pi, np.pi)), _rounded(strength))


def _sample_place(rng: np.random.Generator, scene_radius: float, categories: Sequence[str]) -> str:
    """One of the places that suit most of the subjects, among those of the right size."""
    fitting = {
        name: entry
        for name, entry in places().items()
        if entry.reach[0] <= scene_radius <= entry.reach[1]
    }
    suited = {
        name: sum(_belongs(category, entry) for category in categories)
        for name, entry in fitting.items()
    }
    best = [name for name, count in suited.items() if count == max(suited.values())]
    chances = np.array([fitting[name].weight for name in best])
    return best[int(rng.choice(len(best), p=chances / chances.sum()))]


def _belongs(category: str, place: PlaceEntry) -> bool:
    """Whether a subject of the category may be in the place; one in no setting may be anywhere."""
    homes = {setting for setting, known in settings().items() if category in known}
    return not homes or not place.settings or bool(homes & set(place.settings))


def _sample_surface(
    rng: np.random.Generator, role: Role, scene_radius: float, allowed: Sequence[str]
) -> tuple[Surface, str]:
    """A surface that can have ``role``, and its words. ``allowed``: its material is one of these;
    any if there are none."""
    suitable = [
        name
        for name, entry in surfaces().items()
        if entry.words(role) and (not allowed or name in allowed)
    ]
    weights = np.array([surfaces()[name].weight for name in suitable])
    material = suitable[int(rng.choice(len(suitable), p=weights / weights.sum()))]
    entry = surfaces()[material]
    color = list(entry.colors)[int(rng.integers(len(entry.colors)))]
    surface = Surface(material, color, _span(rng, material, scene_radius))
    return surface, entry.words(role).format(color=color)


def _span(rng: np.random.Generator, material: str, scene_radius: float) -> float:
    """Metres that one repeat of a material's texture covers in a scene of this radius."""
    span = _SPAN_PER_RADIUS * scene_radius * rng.uniform(0.7, 1.3)
    return _rounded(np.clip(span, *surfaces()[material].span))


def _sample_sun(rng: np.random.Generator, sun: SunEntry, rotation: float) -> Light:
    """A sun that shines from where the environment map, rotated by ``rotation`` radians, is
    brightest."""
    azimuth = np.radians(sun.azimuth + rng.uniform(-5, 5)) - rotation
    elevation = np.radians(rng.uniform(*sun.elevation))
    to_sun = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    return Light(
        kind="sun",
        position=_vector(50 * to_sun),
        direction=_vector(-to_sun),
        strength=_rounded(np.pi * rng.uniform(*sun.strength)),
        size=_rounded(np.radians(sun.size)),
        color=sun.color,
    )


def _sample_lamp(
    rng: np.random.Generator,
    lamp: LampEntry,
    scene_radius: float,
    room: tuple[Room, ...],
    table: tuple[Table, ...],
) -> Light:
    """An area light above the scene that faces the origin, too high to be in the image."""
    height = 0.97 * room[0].height if room else 1.8 * max(scene_radius, 0.6)
    height -= sum(item.height for item in table)
    offset, angle = 0.5 * scene_radius * np.sqrt(rng.random()), rng.uniform(-np.pi, np.pi)
    position = np.array([offset * np.cos(angle), offset * np.sin(angle), height])
    distance = float(np.linalg.norm(position))
    # The light falls on the ground at an angle: cos = height / distance.
    watts = _LAMP_WATTS * rng.uniform(*lamp.strength) * distance**3 / height
    return Light(
        kind="area",
        position=_vector(position),
        direction=_vector(-position / distance),
        strength=_rounded(watts),
        size=_rounded(rng.uniform(*lamp.size) * scene_radius),
        color=lamp.color,
    )


def _vector(values: np.ndarray) -> Vec3:
    x, y, z = (_rounded(value) for value in values)
    return (x, y, z)


def _rounded(value: float) -> float:
    return round(float(value), 5)
