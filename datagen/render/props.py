"""Meshes of props, built from simple solids."""

from __future__ import annotations

import numpy as np
import trimesh
from PIL import ImageColor
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from datagen.compose.props import prop_kinds
from datagen.geometry import pose_matrix
from datagen.scene import Prop

_BLADES = 16
_FRAME = (60, 52, 46, 255)


def prop_meshes(prop: Prop, rng: np.random.Generator) -> list[trimesh.Trimesh]:
    """The meshes of a prop in the world, one per colour. ``rng``: randomness of its shape."""
    color = (*ImageColor.getrgb(prop.color)[:3], 255)
    solids = {
        "box": lambda: [(_box(), color)],
        "picture": lambda: _picture(rng, color),
        "rock": lambda: [(_rock(rng), color)],
        "rod": lambda: [(_rod(), color)],
        "tuft": lambda: [(_tuft(rng), color)],
    }[prop_kinds()[prop.kind].form]()
    # Every solid fills the unit cube that stands on the origin.
    fit = pose_matrix(prop.pose) @ np.diag([*prop.size, 1.0])
    meshes = []
    for solid, rgba in solids:
        solid.apply_transform(fit)
        solid.visual = TextureVisuals(
            material=PBRMaterial(
                name=prop.kind, baseColorFactor=rgba, roughnessFactor=0.8, metallicFactor=0.0
            )
        )
        meshes.append(solid)
    return meshes


def _box(
    low: tuple[float, float, float] = (-0.5, -0.5, 0.0),
    high: tuple[float, float, float] = (0.5, 0.5, 1.0),
) -> trimesh.Trimesh:
    box = trimesh.creation.box(bounds=[low, high])
    box.unmerge_vertices()
    return box


def _rod() -> trimesh.Trimesh:
    rod = trimesh.creation.cylinder(0.5, 1.0, sections=6)
    rod.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [0, 1, 0]))
    return _to_unit_cube(rod)


def _rock(rng: np.random.Generator) -> trimesh.Trimesh:
    """A ball with dents, a little of it in the ground."""
    rock = trimesh.creation.icosphere(2)
    waves = rng.normal(0, 1.6, (6, 3))
    phases = rng.uniform(0, 2 * np.pi, 6)
    dents = np.sin(rock.vertices @ waves.T + phases).mean(axis=1)
    rock.vertices *= (1 + 0.35 * dents)[:, None]
    rock = _to_unit_cube(rock)
    rock.vertices[:, 2] = np.maximum(rock.vertices[:, 2] * 1.2 - 0.2, 0)
    return rock


def _tuft(rng: np.random.Generator) -> trimesh.Trimesh:
    blades = []
    for _ in range(_BLADES):
        blade = trimesh.creation.cone(0.04, 1.0, sections=4)
        lean, turn = rng.uniform(0.1, 0.6), rng.uniform(-np.pi, np.pi)
        blade.vertices *= [1, 1, rng.uniform(0.6, 1.0)]
        blade.apply_transform(trimesh.transformations.rotation_matrix(lean, [1, 0, 0]))
        blade.apply_transform(trimesh.transformations.rotation_matrix(turn, [0, 0, 1]))
        blade.apply_translation([*rng.uniform(-0.15, 0.15, 2), 0])
        blades.append(blade)
    tuft = trimesh.util.concatenate(blades)
    tuft.unmerge_vertices()
    return _to_unit_cube(tuft)


def _picture(
    rng: np.random.Generator, color: tuple[int, int, int, int]
) -> list[tuple[trimesh.Trimesh, tuple[int, int, int, int]]]:
    """A framed picture of two fields of colour; the front is at -y."""
    horizon = rng.uniform(0.3, 0.7)
    red, green, blue, _ = color
    dark = (red * 2 // 3, green * 2 // 3, blue * 2 // 3, 255)
    return [
        (_box((-0.5, -0.4, 0.0)), _FRAME),
        (_box((-0.46, -0.5, horizon), (0.46, 0.0, 0.96)), color),
        (_box((-0.46, -0.5, 0.04), (0.46, 0.0, horizon)), dark),
    ]


def _to_unit_cube(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    low, high = mesh.bounds
    mesh.vertices = (mesh.vertices - low) / (high - low) - [0.5, 0.5, 0.0]
    return mesh
