"""Families of procedural shapes: their parameters, and the functions that build them.

To add a family: 1. In assets/families.yaml, its noun, category, the range of each shape parameter
(lengths in metres) and the finishes of its parts. 2. In a module of this package, a function from
the parameters to ``Parts``; every part is closed and stands on or above z = 0. 3. The function in
``_BUILDERS``. 4. Parts that captions may mention, in assets/prompts.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from datagen import resources
from datagen.catalog.shapes.families import figures, furniture, garden, tableware, vehicles
from datagen.catalog.shapes.part_meshes import Parts

# Part of every procedural asset's digest and of the cache's path: to be raised when a builder makes
# another shape, or when what is measured of shapes changes.
VERSION = 2


@dataclass(frozen=True)
class Family:
    """One entry of assets/families.yaml. ``parameters``: range (low, high) of each shape parameter;
    ``parts``: for each part, the finishes it may have, keys of assets/finishes.yaml."""

    noun: str
    category: str
    parameters: dict[str, tuple[int | float, int | float]]
    parts: dict[str, tuple[str, ...]]


@cache
def families() -> dict[str, Family]:
    """Every family by name, in the order of assets/families.yaml."""
    return resources.load("families.yaml", dict[str, Family])


def sample_parameters(family: Family, rng: np.random.Generator) -> dict[str, int | float]:
    """Samples one value per parameter; lengths to a tenth of a millimetre."""
    values: dict[str, int | float] = {}
    for name, (low, high) in family.parameters.items():
        if isinstance(low, int) and isinstance(high, int):
            values[name] = int(rng.integers(low, high + 1))
        else:
            values[name] = round(float(rng.uniform(low, high)), 4)
    return values


def build(name: str, parameters: Mapping[str, int | float]) -> Parts:
    """Builds the solids of one asset of the family ``name``, by part, in the asset frame."""
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
