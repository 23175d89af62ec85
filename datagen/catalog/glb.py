"""Loads and encodes canonical GLB files; ``datagen.catalog.provider`` defines canonical."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import trimesh


def load_scene(path: Path) -> trimesh.Scene:
    """Loads a canonical GLB with its materials, in glTF's frame (y up, front +z), in metres."""
    return trimesh.load_scene(path, file_type="glb", process=False)


def load_mesh(path: Path) -> trimesh.Trimesh:
    """Loads the geometry of a canonical GLB as one mesh without materials.

    Returns:
        The mesh in the asset frame (x right, y back, z up), in metres. Vertices are merged by
        position, so that closed parts are watertight.
    """
    scene = trimesh.load_scene(path, file_type="glb", skip_materials=True, process=False)
    mesh = scene.to_mesh()
    x, y, z = np.asarray(mesh.vertices).T
    return trimesh.Trimesh(np.column_stack([x, -z, y]), mesh.faces, process=True)


def encode_glb(meshes: Mapping[str, trimesh.Trimesh]) -> bytes:
    """Encodes meshes, given by name in glTF's frame, as a GLB. Equal meshes give equal bytes."""
    scene = trimesh.Scene()
    for name, mesh in meshes.items():
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    data = scene.export(file_type="glb", include_normals=True)
    assert isinstance(data, bytes)
    return data
