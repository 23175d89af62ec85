"""What cannot be a subject: plates, scenes, hanging parts, sitters on nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import trimesh

from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.ingest.stands_alone import check_stands_alone

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Size and centre, y up."""


def boxes(*listed: Box) -> list[trimesh.Trimesh]:
    return [
        trimesh.creation.box(size, trimesh.transformations.translation_matrix(at))
        for size, at in listed
    ]


def check(meshes: Sequence[trimesh.Trimesh]) -> str:
    """The reason of the refusal, or ""."""
    mesh = trimesh.util.concatenate(meshes)
    triangles = np.asarray(mesh.triangles) - [0.0, mesh.bounds[0, 1], 0.0]
    try:
        check_stands_alone(triangles)
    except AssetRejected as rejection:
        return rejection.reason
    return ""


def sheet(corners: Sequence[tuple[float, float, float]]) -> trimesh.Trimesh:
    """A square without thickness."""
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)


def floor(size: float = 1.0) -> trimesh.Trimesh:
    half = size / 2
    return sheet([(-half, 0, -half), (half, 0, -half), (half, 0, half), (-half, 0, half)])


def house(x: float, z: float, size: float = 0.1) -> trimesh.Trimesh:
    return boxes(((size, size, size), (x, size / 2, z)))[0]


def cornell_box() -> list[trimesh.Trimesh]:
    low, high = -0.5, 0.5
    back = [(low, 0, low), (high, 0, low), (high, 1, low), (low, 1, low)]
    left = [(low, 0, low), (low, 0, high), (low, 1, high), (low, 1, low)]
    right = [(high, y, z) for _, y, z in left]
    top = [(low, 1, low), (high, 1, low), (high, 1, high), (low, 1, high)]
    inside = boxes(((0.3, 0.3, 0.3), (0.18, 0.15, 0.2)), ((0.3, 0.6, 0.3), (-0.18, 0.3, -0.15)))
    return [floor(), *map(sheet, (back, left, right, top)), *inside]


def sitter(*chair: Box) -> list[trimesh.Trimesh]:
    """Feet, shanks, thighs and body of someone who sits, with what is sat on."""
    feet, shanks = ((0.3, 0.06, 0.25), (0, 0.03, 0.6)), ((0.3, 0.45, 0.1), (0, 0.25, 0.52))
    thighs, body = ((0.35, 0.15, 0.5), (0, 0.5, 0.3)), ((0.4, 0.85, 0.25), (0, 0.85, 0.05))
    return boxes(feet, shanks, thighs, body, *chair)


TOWN = [house(x, z, 0.03) for x in np.linspace(-0.45, 0.45, 12) for z in (-0.4, -0.1, 0.2, 0.4)]
TABLE = [
    ((1.0, 0.04, 0.6), (0, 0.72, 0)),
    *(((0.05, 0.7, 0.05), (x, 0.35, z)) for x in (-0.45, 0.45) for z in (-0.25, 0.25)),
]
VANITY = [((0.8, 0.8, 0.5), (0, 0.4, 0)), ((0.7, 0.6, 0.02), (0, 1.5, -0.24))]


@pytest.mark.parametrize(
    ("meshes", "reason"),
    [
        # A plate that its file calls a palm tree.
        (boxes(((0.5, 0.006, 0.5), (0, 0.003, 0))), "flat on the ground"),
        # A ground plate with a house and a smaller house on it; with a town.
        ([floor(), house(-0.2, 0.1, 0.4), house(0.3, -0.2, 0.3)], "scene"),
        ([*boxes(((1, 0.02, 1), (0, -0.01, 0))), house(-0.2, 0, 0.4), house(0.3, 0, 0.3)], "scene"),
        ([floor(), *TOWN], "scene"),
        (TOWN, "scene"),
        (cornell_box(), "scene"),
        (boxes(*VANITY), "parts hang in the air"),
        (sitter(), "tips over"),
    ],
)
def test_what_cannot_be_a_subject_is_refused(meshes: list[trimesh.Trimesh], reason: str) -> None:
    assert check(meshes) == reason
    for scale in (0.001, 2000.0):  # whatever the size is said to be
        scaled = [mesh.copy().apply_scale(scale) for mesh in meshes]
        assert check(scaled) == reason


PLATE_UNDER_FIGURE = [((0.3, 0.02, 0.3), (0, 0.01, 0)), ((0.15, 0.5, 0.1), (0, 0.27, 0))]
BURNERS = [((0.15, 0.03, 0.15), (x, 0.035, z)) for x in (-0.2, 0.2) for z in (-0.12, 0.12)]
THINGS = {
    "table": TABLE,
    "crate": [((0.5, 0.5, 0.5), (0, 0.25, 0))],
    "book": [((0.15, 0.03, 0.2), (0, 0.015, 0))],
    "pair of shoes": [((0.1, 0.1, 0.3), (x, 0.05, 0)) for x in (-0.1, 0.1)],
    "figure on a base": PLATE_UNDER_FIGURE,
    "hob": [((0.6, 0.02, 0.5), (0, 0.01, 0)), *BURNERS],
    "vanity with its wall": [*VANITY, ((0.8, 1.9, 0.02), (0, 0.95, -0.26))],
    "cupboard without a floor": [
        ((0.02, 1.8, 0.5), (-0.5, 0.9, 0)),
        ((0.02, 1.8, 0.5), (0.5, 0.9, 0)),
        ((1.0, 1.8, 0.02), (0, 0.9, -0.25)),
        ((1.0, 0.02, 0.5), (0, 1.79, 0)),
    ],
}


@pytest.mark.parametrize("name", THINGS)
def test_things_are_not_refused(name: str) -> None:
    assert check(boxes(*THINGS[name])) == ""


def test_someone_on_a_stool_is_not_refused() -> None:
    assert check(sitter(((0.4, 0.42, 0.4), (0, 0.21, 0.1)))) == ""
