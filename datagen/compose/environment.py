"""Environment of a scene: samples place, ground, walls and light, and the words for them.

To add a place, a ground or wall material, or an environment map, add an entry to
assets/places.yaml, assets/surfaces.yaml or assets/worlds.yaml; no code is needed, except for a
material with a new texture (``datagen.render.textures``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

from datagen import resources
from datagen.scene import Environment, EnvironmentMap, Light, Room, Surface, Vec3

T = TypeVar("T")

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
    ``reach``: the range of scene radii, in metres, that fit into it."""

    phrase: str
    worlds: tuple[str, ...]
    reach: tuple[float, float]
    weight: float
    lamp: LampEntry | None = None


@dataclass(frozen=True)
class SurfaceEntry:
    """One entry of assets/surfaces.yaml."""

    texture: str
    span: tuple[float, float]
    colors: dict[str, str]
    floor: str = ""
    open: str = ""
    wall: str = ""

    def words(self, role: str) -> str:
        """The phrase for the surface as ``role``, "floor", "open" (outdoor ground) or "wall"; empty
        where the surface cannot have that role."""
        return {"floor": self.floor, "open": self.open, "wall": self.wall}[role]


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


def sample_environment(rng: np.random.Generator, scene_radius: float) -> Environment:
    """Samples a place with its ground, walls, light and words.

    Args:
        rng: source of randomness.
        scene_radius: metres; subjects and camera lie within this distance of the world's origin.
            A room is larger, and its walls fill the image of a camera that far out.
    """
    place = _sample_place(rng, scene_radius)
    entry = places()[place]
    map_name = entry.worlds[int(rng.integers(len(entry.worlds)))]
    map_entry = environment_maps()[map_name]
    strength = rng.uniform(*map_entry.ambient) / map_entry.irradiance
    rotation = float(rng.uniform(-np.pi, np.pi))
    light_words = ""
    if "{light}" in entry.phrase:
        light_words = map_entry.words[int(rng.integers(len(map_entry.words)))]

    outdoors = "{open}" in entry.phrase
    ground, ground_words = _sample_surface(rng, "open" if outdoors else "floor", scene_radius)
    room: tuple[Room, ...] = ()
    wall_words = ""
    if "{wall}" in entry.phrase:
        walls, wall_words = _sample_surface(rng, "wall", scene_radius)
        size = 2 * np.maximum(scene_radius * rng.uniform(1.15, 1.7, 2), rng.uniform(1.2, 2.4, 2))
        height = max(2.4, 1.5 * scene_radius)
        room = (Room((_rounded(size[0]), _rounded(size[1])), _rounded(height), walls),)
    if entry.lamp:
        key_light = _sample_lamp(rng, entry.lamp, scene_radius, room)
    else:
        assert map_entry.sun is not None, f"worlds.yaml: {map_name} needs a sun to light {place}"
        key_light = _sample_sun(rng, map_entry.sun, rotation)
    return Environment(
        place=place,
        phrase=entry.phrase.format(
            floor=ground_words, open=ground_words, wall=wall_words, light=light_words
        ),
        environment_map=EnvironmentMap(map_name, _rounded(rotation), _rounded(strength)),
        lights=(key_light,),
        ground=ground,
        room=room,
    )


def sample_view_environment_map(rng: np.random.Generator) -> EnvironmentMap:
    """The light of an identity view: any environment map at any rotation, as bright as daylight."""
    name = list(environment_maps())[int(rng.integers(len(environment_maps())))]
    strength = rng.uniform(0.7, 1.1) / environment_maps()[name].radiance
    return EnvironmentMap(name, _rounded(rng.uniform(-np.pi, np.pi)), _rounded(strength))


def _sample_place(rng: np.random.Generator, scene_radius: float) -> str:
    weights = {
        name: entry.weight
        for name, entry in places().items()
        if entry.reach[0] <= scene_radius <= entry.reach[1]
    }
    chances = np.array(list(weights.values()))
    return list(weights)[int(rng.choice(len(weights), p=chances / chances.sum()))]


def _sample_surface(
    rng: np.random.Generator, role: str, scene_radius: float
) -> tuple[Surface, str]:
    """A surface that can have ``role``, and its words."""
    suitable = [name for name, entry in surfaces().items() if entry.words(role)]
    material = suitable[int(rng.integers(len(suitable)))]
    entry = surfaces()[material]
    color = list(entry.colors)[int(rng.integers(len(entry.colors)))]
    span = np.clip(_SPAN_PER_RADIUS * scene_radius * rng.uniform(0.7, 1.3), *entry.span)
    return Surface(material, color, _rounded(span)), entry.words(role).format(color=color)


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
    rng: np.random.Generator, lamp: LampEntry, scene_radius: float, room: tuple[Room, ...]
) -> Light:
    """An area light above the scene that faces the origin, too high to be in the image."""
    height = 0.97 * room[0].height if room else 1.8 * max(scene_radius, 0.6)
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
