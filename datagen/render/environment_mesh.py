"""Builds the mesh of a scene's environment, from ground and walls to props, as a GLB."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import trimesh
from PIL import Image, ImageColor
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from datagen.atomic import write_file
from datagen.catalog.glb import encode_glb
from datagen.color import srgb_to_linear
from datagen.compose.environment import surfaces
from datagen.render.noise import SIZE
from datagen.render.props import prop_meshes
from datagen.render.textures import normals, surface_maps
from datagen.scene import Environment, Room, Surface, Table, Vec3

# Outdoors the ground is a disc, radius in metres. From a camera 20 m away its far edge is still
# nearer than 65 m, the range of the depth image.
_GROUND_RADIUS = 45.0
_GROUND_SIDES = 96

_SKIRTING_HEIGHT, _SKIRTING_DEPTH = 0.09, 0.015
_BOARD, _LEG = 0.03, 0.06
_SKIRTING_COLOR = (228, 226, 220, 255)

_TO_GLTF = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])


def write_environment_mesh(environment: Environment, path: Path, pixels: int) -> None:
    """Writes the environment's ground, table, walls and props as a GLB.

    Equal arguments give equal bytes. The ground is at z = 0, walls face inward. The GLB is in
    glTF's frame, in metres: the world's (x, y, z) is at (x, z, -y).

    Args:
        environment: the environment.
        path: of the GLB.
        pixels: longer edge of the image to be rendered. Textures are reduced to it: Cycles does not
            filter textures, so that finer ones only cost time.
    """
    rng = np.random.default_rng(_seed(environment))
    shrink = max(SIZE // (2 * pixels), 1)
    meshes = {"ground": _textured(_ground(environment), environment.ground, shrink, rng)}
    below = 0.0
    for table in environment.table:
        below = -table.height
        meshes["table"] = _table(table, meshes["ground"])
        meshes["floor"] = _textured(_floor(environment), table.floor, shrink, rng)
        meshes["floor"].apply_translation([0, 0, below])
    for room in environment.room:
        for name, mesh in (
            ("walls", _textured(_walls(room), room.walls, shrink, rng)),
            ("skirting", _skirting(room)),
        ):
            meshes[name] = mesh
            mesh.apply_translation([0, 0, below])
    for number, prop in enumerate(environment.props):
        for part, mesh in enumerate(prop_meshes(prop, rng)):
            meshes[f"prop {number}.{part}"] = mesh
    for mesh in meshes.values():
        mesh.apply_transform(_TO_GLTF)
    write_file(path, encode_glb(meshes))


def _ground(environment: Environment) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the subjects stand on: vertices (V, 3), faces (F, 3), and the position (V, 2) of each
    vertex on the texture in metres."""
    for table in environment.table:
        return _rectangle(table.size)
    return _floor(environment)


def _floor(environment: Environment) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The floor of the room, or a disc outdoors; the result is as of ``_ground``."""
    for room in environment.room:
        return _rectangle(room.size)
    angle = np.arange(_GROUND_SIDES) / _GROUND_SIDES * 2 * np.pi
    return _fan(_GROUND_RADIUS * np.column_stack([np.cos(angle), np.sin(angle)]))


def _rectangle(size: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A level rectangle around the origin; the result is as of ``_ground``."""
    return _fan(np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size / 2)


def _fan(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A level polygon with the corners ``flat`` (V, 2); the result is as of ``_ground``."""
    rim = np.arange(1, len(flat) + 1)
    faces = np.column_stack([np.zeros_like(rim), rim, np.roll(rim, -1)])
    flat = np.vstack([[0.0, 0.0], flat])
    return np.column_stack([flat, np.zeros(len(flat))]), faces, flat


def _walls(room: Room) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four inward rectangles; the result is as of ``_ground``."""
    vertices, faces, positions = [], [], []
    up = np.array([0.0, 0.0, 1.0])
    for inward in ([1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]):
        normal = np.array(inward, float)
        along = np.cross(up, normal)
        half = np.array([*room.size, 0.0]) / 2
        center, half_length = -normal * half, np.abs(along) @ half
        for side, height in (
            (-half_length, 0.0),
            (half_length, 0.0),
            (half_length, room.height),
            (-half_length, room.height),
        ):
            vertices.append(center + side * along + height * up)
            positions.append([side, height])
        first = len(vertices) - 4
        faces += [[first, first + 1, first + 2], [first, first + 2, first + 3]]
    return np.array(vertices), np.array(faces), np.array(positions)


def _table(table: Table, top: trimesh.Trimesh) -> trimesh.Trimesh:
    """The sides of the table's board, and its legs, in the mean colour of its ``top``."""
    length, width = table.size
    leg, depth = _LEG, _BOARD
    parts = [((length, width, depth), (0.0, 0.0, -depth / 2 - 0.001))]
    for x in (-1, 1):
        for y in (-1, 1):
            center = (x * (length / 2 - leg), y * (width / 2 - leg), -(table.height + depth) / 2)
            parts.append(((leg, leg, table.height - depth), center))
    srgb = np.asarray(top.visual.material.baseColorTexture).reshape(-1, 3).mean(axis=0) / 255
    return _boxes("table", parts, (*np.round(255 * srgb_to_linear(srgb)).astype(int).tolist(), 255))


def _skirting(room: Room) -> trimesh.Trimesh:
    """Skirting boards along all four walls."""
    length, width = room.size
    depth, height = _SKIRTING_DEPTH, _SKIRTING_HEIGHT
    parts = []
    for sign in (-1, 1):
        parts += [
            ((length, depth, height), (0.0, sign * (width - depth) / 2, height / 2)),
            ((depth, width, height), (sign * (length - depth) / 2, 0.0, height / 2)),
        ]
    return _boxes("skirting", parts, _SKIRTING_COLOR)


def _boxes(
    name: str, parts: Sequence[tuple[Vec3, Vec3]], color: tuple[int, ...]
) -> trimesh.Trimesh:
    """Boxes of one colour; each part is extent and centre."""
    mesh = trimesh.util.concatenate(
        [
            trimesh.creation.box(extent, trimesh.transformations.translation_matrix(center))
            for extent, center in parts
        ]
    )
    mesh.unmerge_vertices()
    mesh.visual = TextureVisuals(
        material=PBRMaterial(
            name=name, baseColorFactor=color, roughnessFactor=0.4, metallicFactor=0.0
        )
    )
    return mesh


def _seed(environment: Environment) -> list[int]:
    """A digest of the environment. It names the environment map as the first datasets did: other
    words would give the same scenes other grounds. Table and props came later and are left out."""
    names = {"environment_map": "world", "name": "map"}
    facts = {names.get(key, key): value for key, value in msgspec.to_builtins(environment).items()}
    del facts["table"], facts["props"]
    facts["world"] = {names.get(key, key): value for key, value in facts["world"].items()}
    return list(hashlib.sha256(msgspec.json.encode(facts)).digest())


def _textured(
    shape: tuple[np.ndarray, np.ndarray, np.ndarray],
    surface: Surface,
    shrink: int,
    rng: np.random.Generator,
) -> trimesh.Trimesh:
    """A mesh with the textures of ``surface``. ``shape``: as returned by ``_ground``."""
    vertices, faces, positions = shape
    entry = surfaces()[surface.material]
    red, green, blue = (value / 255 for value in ImageColor.getrgb(entry.colors[surface.color])[:3])
    maps = surface_maps(entry.texture, (red, green, blue), rng)
    # glTF keeps roughness in green and metalness in blue.
    roughness = np.zeros(maps.color.shape)
    roughness[..., 1] = maps.roughness
    material = PBRMaterial(
        name=surface.material,
        baseColorTexture=_image(maps.color, shrink),
        metallicRoughnessTexture=_image(roughness, shrink),
        normalTexture=_image(normals(maps.height), shrink),
        roughnessFactor=1.0,
        metallicFactor=0.0,
    )
    uv = positions / surface.span + rng.random(2)
    return trimesh.Trimesh(
        vertices, faces, visual=TextureVisuals(uv=uv, material=material), process=False
    )


def _image(values: np.ndarray, shrink: int) -> Image.Image:
    """Values (N, N, 3), 0 to 1, as an image with N / ``shrink`` pixels per side."""
    return Image.fromarray(np.round(values * 255).astype(np.uint8)).reduce(shrink)
