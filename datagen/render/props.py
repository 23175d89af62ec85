"""Meshes of props, built from simple solids."""

from __future__ import annotations

import numpy as np
import trimesh
from PIL import ImageColor
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from datagen.color import srgb_to_linear
from datagen.compose.props import prop_kinds
from datagen.geometry import pose_matrix
from datagen.scene import Prop

_BLADES = 28
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
                name=prop.kind,
                baseColorFactor=_linear(rgba),
                roughnessFactor=0.8,
                metallicFactor=0.0,
            )
        )
        meshes.append(solid)
    return meshes


def _linear(rgba: tuple[int, int, int, int]) -> list[float]:
    """An sRGB colour, 0 to 255, as glTF's colour factors: linear, 0 to 1."""
    return [*srgb_to_linear(np.array(rgba[:3]) / 255).tolist(), 1.0]


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
    """A ball with broken sides, a little of it in the ground."""
    rock = trimesh.creation.icosphere(3)
    # Planes cut pieces off, as breaks do; waves roughen what is left.
    for normal in trimesh.unitize(rng.normal(0, 1, (9, 3))):
        beyond = np.maximum(rock.vertices @ normal - rng.uniform(0.55, 0.8), 0)
        rock.vertices -= beyond[:, None] * normal
    waves, phases = rng.normal(0, 5, (8, 3)), rng.uniform(0, 2 * np.pi, 8)
    rock.vertices *= (1 + 0.05 * np.sin(rock.vertices @ waves.T + phases).mean(axis=1))[:, None]
    rock = _to_unit_cube(rock)
    rock.vertices[:, 2] = np.maximum(rock.vertices[:, 2] * 1.2 - 0.2, 0)
    return rock


def _tuft(rng: np.random.Generator) -> trimesh.Trimesh:
    blades = []
    for _ in range(_BLADES):
        blade = trimesh.creation.cone(0.018, 1.0, sections=3)
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
