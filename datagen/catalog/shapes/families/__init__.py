"""Procedural families: what each is called, how it varies and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from datagen import resources
from datagen.catalog.shapes.families import figures, furniture, garden, tableware, vehicles
from datagen.catalog.shapes.skin import Parts

# Part of every procedural asset's digest: raise it when a builder changes shape, or what is
# measured of shapes.
VERSION = 2


@dataclass(frozen=True)
class Family:
    """One entry of assets/families.yaml. ``parameters``: name -> (low, high); ``parts``: part ->
    the finishes that suit it, keys of assets/finishes.yaml."""

    noun: str
    category: str
    parameters: dict[str, tuple[int | float, int | float]]
    parts: dict[str, tuple[str, ...]]


@cache
def families() -> dict[str, Family]:
    """Every family by name, in the order of assets/families.yaml."""
    return resources.load("families.yaml", dict[str, Family])


def draw_parameters(family: Family, rng: np.random.Generator) -> dict[str, int | float]:
    """One value a parameter, lengths to a tenth of a millimetre."""
    drawn: dict[str, int | float] = {}
    for name, (low, high) in family.parameters.items():
        if isinstance(low, int) and isinstance(high, int):
            drawn[name] = int(rng.integers(low, high + 1))
        else:
            drawn[name] = round(float(rng.uniform(low, high)), 4)
    return drawn


def build(name: str, parameters: Mapping[str, int | float]) -> Parts:
    """The solids of one asset, by part, in the asset frame."""
    return _BUILDERS[name](**parameters)


_BUILDERS: dict[str, Callable[..., Parts]] = {
    "armchair": furniture.armchair,
    "bear": figures.bear,
    "birdhouse": garden.birdhouse,
    "bottle": tableware.bottle,
    "cabinet": furniture.cabinet,
    "cactus": garden.cactus,
    "car": vehicles.car,
    "chair": furniture.chair,
    "duck": figures.duck,
    "lamp": furniture.lamp,
    "mug": tableware.mug,
    "mushroom": garden.mushroom,
    "robot": figures.robot,
    "rocket": vehicles.rocket,
    "snowman": figures.snowman,
    "stool": furniture.stool,
    "table": furniture.table,
    "teapot": tableware.teapot,
    "vase": tableware.vase,
    "watering_can": garden.watering_can,
}
