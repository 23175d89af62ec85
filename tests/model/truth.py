"""Twelve rendered scenes of the ``mini`` preset with 2 to 4 subjects, in truth.npz.

Image and instances at 64 px, of each subject the first re-posed view (column 1) at 48 px. Made
from a packed set with ``PIL.Image.resize(..., BOX)``; instances by taking central pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from model.evaluation.features import EfficientNetLite0
from model.evaluation.metrics import Identities, describe
from model.evaluation.segmentation import SegmenterExample


@dataclass(frozen=True, eq=False)
class Scene:
    key: str
    image: np.ndarray
    masks: np.ndarray
    references: np.ndarray


@cache
def network() -> EfficientNetLite0:
    return EfficientNetLite0()


@cache
def scenes() -> tuple[Scene, ...]:
    with np.load(Path(__file__).with_name("truth.npz")) as stored:
        found = []
        for key in sorted({name.split(".")[0] for name in stored.files}):
            references = stored[f"{key}.references"]
            masks = stored[f"{key}.instances"] == np.arange(1, len(references) + 1)[:, None, None]
            found.append(Scene(key, stored[f"{key}.image"], masks, references))
        return tuple(found)


@cache
def identities(key: str) -> Identities:
    return describe(next(s for s in scenes() if s.key == key).references, network())


def example(scene: Scene) -> SegmenterExample:
    return SegmenterExample(scene.image, scene.masks, identities(scene.key).palette)


def noise(scene: Scene) -> np.ndarray:
    rng = np.random.default_rng(int(scene.key))
    return rng.integers(0, 256, scene.image.shape, dtype=np.uint8)


def flat(scene: Scene) -> np.ndarray:
    color = scene.image.mean(axis=(0, 1)).astype(np.uint8)
    return np.broadcast_to(color, scene.image.shape).copy()


def next_scene(scene: Scene) -> np.ndarray:
    keys = [other.key for other in scenes()]
    return scenes()[(keys.index(scene.key) + 1) % len(keys)].image


NULLS = {"noise": noise, "flat": flat, "another scene": next_scene}
