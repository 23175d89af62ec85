"""Where a scene takes place: draws ground, walls, light and the words for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

from datagen import resources
from datagen.scene import Environment, EnvironmentMap, Light, Room, Surface, Vec3

T = TypeVar("T")

# Watts of an area light for a unit of irradiance over pi one metre below it, as Cycles has it.
_LAMP_WATTS = np.pi**2
# How much of a scene's reach the repeat of a ground's texture is to cover.
_SPAN = 1.1


@dataclass(frozen=True)
class Sun:
    azimuth: float
    elevation: tuple[float, float]
    strength: tuple[float, float]
    size: float
    color: Vec3


@dataclass(frozen=True)
class WorldEntry:
    """One entry of assets/worlds.yaml."""

    irradiance: float
    radiance: float
    ambient: tuple[float, float]
    words: tuple[str, ...] = ()
    scenery: str = ""
    sun: Sun | None = None


@dataclass(frozen=True)
class Lamp:
    strength: tuple[float, float]
    size: tuple[float, float]
    color: Vec3


@dataclass(frozen=True)
class PlaceEntry:
    """One entry of assets/places.yaml."""

    phrase: str
    worlds: tuple[str, ...]
    reach: tuple[float, float]
    weight: float
    lamp: Lamp | None = None


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
        """What it is called as "floor", "open" or "wall"; empty where it is none."""
        return {"floor": self.floor, "open": self.open, "wall": self.wall}[role]


@cache
def worlds() -> dict[str, WorldEntry]:
    return resources.load("worlds.yaml", dict[str, WorldEntry])


@cache
def places() -> dict[str, PlaceEntry]:
    return resources.load("places.yaml", dict[str, PlaceEntry])


@cache
def surfaces() -> dict[str, SurfaceEntry]:
    return resources.load("surfaces.yaml", dict[str, SurfaceEntry])


def draw_environment(rng: np.random.Generator, reach: float) -> Environment:
    """A place, its ground, walls, light and words.

    Subjects and camera lie within ``reach`` metres of the origin: a room is larger than that,
    and its walls are high enough to fill a picture taken from there.
    """
    place = _draw_place(rng, reach)
    entry = places()[place]
    sky = entry.worlds[int(rng.integers(len(entry.worlds)))]
    world = worlds()[sky]
    strength = rng.uniform(*world.ambient) / world.irradiance
    rotation = float(rng.uniform(-np.pi, np.pi))
    light = world.words[int(rng.integers(len(world.words)))] if "{light}" in entry.phrase else ""

    outdoors = "{open}" in entry.phrase
    ground, ground_words = _draw_surface(rng, "open" if outdoors else "floor", reach)
    room: tuple[Room, ...] = ()
    wall_words = ""
    if "{wall}" in entry.phrase:
        walls, wall_words = _draw_surface(rng, "wall", reach)
        size = 2 * np.maximum(reach * rng.uniform(1.15, 1.7, 2), rng.uniform(1.2, 2.4, 2))
        height = max(2.4, 1.5 * reach)
        room = (Room((_rounded(size[0]), _rounded(size[1])), _rounded(height), walls),)
    if entry.lamp:
        key = _draw_lamp(rng, entry.lamp, reach, room)
    else:
        assert world.sun is not None, f"worlds.yaml: {sky} needs a sun to light {place}"
        key = _draw_sun(rng, world.sun, rotation)
    return Environment(
        place=place,
        phrase=entry.phrase.format(
            floor=ground_words, open=ground_words, wall=wall_words, light=light
        ),
        environment_map=EnvironmentMap(sky, _rounded(rotation), _rounded(strength)),
        lights=(key,),
        ground=ground,
        room=room,
    )


def draw_view_environment_map(rng: np.random.Generator) -> EnvironmentMap:
    """The light of an identity view: any map, any way round, at daylight's brightness."""
    name = list(worlds())[int(rng.integers(len(worlds())))]
    strength = rng.uniform(0.7, 1.1) / worlds()[name].radiance
    return EnvironmentMap(name, _rounded(rng.uniform(-np.pi, np.pi)), _rounded(strength))


def _draw_place(rng: np.random.Generator, reach: float) -> str:
    fitting = {
        name: entry.weight
        for name, entry in places().items()
        if entry.reach[0] <= reach <= entry.reach[1]
    }
    weights = np.array(list(fitting.values()))
    return list(fitting)[int(rng.choice(len(fitting), p=weights / weights.sum()))]


def _draw_surface(rng: np.random.Generator, role: str, reach: float) -> tuple[Surface, str]:
    """A surface that can be ``role``, and its words."""
    able = [name for name, entry in surfaces().items() if entry.words(role)]
    material = able[int(rng.integers(len(able)))]
    entry = surfaces()[material]
    color = list(entry.colors)[int(rng.integers(len(entry.colors)))]
    span = np.clip(_SPAN * reach * rng.uniform(0.7, 1.3), *entry.span)
    return Surface(material, color, _rounded(span)), entry.words(role).format(color=color)


def _draw_sun(rng: np.random.Generator, sun: Sun, rotation: float) -> Light:
    """Shines from where the map, turned by ``rotation``, is brightest."""
    azimuth = np.radians(sun.azimuth + rng.uniform(-5, 5)) - rotation
    elevation = np.radians(rng.uniform(*sun.elevation))
    toward = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    return Light(
        kind="sun",
        position=_vector(50 * toward),
        direction=_vector(-toward),
        strength=_rounded(np.pi * rng.uniform(*sun.strength)),
        size=_rounded(np.radians(sun.size)),
        color=sun.color,
    )


def _draw_lamp(rng: np.random.Generator, lamp: Lamp, reach: float, room: tuple[Room, ...]) -> Light:
    """An area light above the scene that faces its middle, too high to be in the picture."""
    height = 0.97 * room[0].height if room else 1.8 * max(reach, 0.6)
    away, around = 0.5 * reach * np.sqrt(rng.random()), rng.uniform(-np.pi, np.pi)
    position = np.array([away * np.cos(around), away * np.sin(around), height])
    distance = float(np.linalg.norm(position))
    # The ground sees the light under a slant: cos = height / distance.
    watts = _LAMP_WATTS * rng.uniform(*lamp.strength) * distance**3 / height
    return Light(
        kind="area",
        position=_vector(position),
        direction=_vector(-position / distance),
        strength=_rounded(watts),
        size=_rounded(rng.uniform(*lamp.size) * reach),
        color=lamp.color,
    )


def _vector(values: np.ndarray) -> Vec3:
    x, y, z = (_rounded(value) for value in values)
    return (x, y, z)


def _rounded(value: float) -> float:
    return round(float(value), 5)
