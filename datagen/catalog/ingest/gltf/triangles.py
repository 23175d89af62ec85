"""The triangles of a glTF primitive, in the pose of its node."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from datagen.catalog.ingest.gltf.accessors import Arrays
from datagen.catalog.ingest.gltf.document import INVALID, item
from datagen.catalog.ingest.gltf.nodes import MeshNode
from datagen.catalog.ingest.gltf.schema import Document, Primitive
from datagen.catalog.ingest.model_files import AssetRejected

TRIANGLES, STRIP, FAN = 4, 5, 6
_TYPES = {
    "POSITION": ("VEC3",),
    "NORMAL": ("VEC3",),
    "TEXCOORD": ("VEC2",),
    "COLOR": ("VEC3", "VEC4"),
    "JOINTS": ("VEC4",),
    "WEIGHTS": ("VEC4",),
}


@dataclass(frozen=True, eq=False)
class Triangles:
    """Triangles with their vertices. ``attributes``: (V, n) by name, as in the file, for the
    attributes that are read; "POSITION" is always there."""

    faces: np.ndarray
    attributes: dict[str, np.ndarray]


def count_faces(primitive: Primitive, document: Document) -> int:
    """Number of triangles of a primitive, without reading it. Raises ``AssetRejected``."""
    if primitive.mode < TRIANGLES:  # points and lines
        return 0
    index = primitive.attributes.get("POSITION") if primitive.indices is None else primitive.indices
    if index is None:
        return 0
    count = item(document.accessors, index, "accessors").count
    return count // 3 if primitive.mode == TRIANGLES else max(count - 2, 0)


def read_triangles(primitive: Primitive, arrays: Arrays, weights: tuple[float, ...]) -> Triangles:
    """Reads a primitive in its mesh's own frame.

    Args:
        primitive: has triangles (``count_faces`` is above 0).
        arrays: of its file.
        weights: of the morph targets.

    Raises:
        AssetRejected: the file is wrong, or the primitive is compressed.
    """
    if primitive.extensions.draco:
        raise AssetRejected("unsupported extension", "KHR_draco_mesh_compression")
    count = len(arrays.read(primitive.attributes["POSITION"], "VEC3"))
    if primitive.indices is None:
        order = np.arange(count)
    else:
        order = arrays.read(primitive.indices, "SCALAR")[:, 0]
        if order.dtype.kind != "u" or order.max() >= count:
            raise AssetRejected(INVALID, f"index {order.max()} of {count} vertices")
    # Several primitives may share one long array, of which each uses a part.
    used, order = np.unique(order, return_inverse=True)
    attributes = {}
    for name, index in primitive.attributes.items():
        types = _TYPES.get(name.split("_")[0])
        if types is None:
            continue
        values = arrays.read(index, *types)
        if len(values) != count:
            raise AssetRejected(INVALID, f"{name}: {len(values)} elements, {count} vertices")
        values = values[used]
        attributes[name] = values if name.startswith("JOINTS") else _real(name, values)
    for weight, target in zip(weights, primitive.targets, strict=False):
        for name in target.keys() & attributes.keys():
            offset = arrays.read(target[name], *_TYPES.get(name.split("_")[0], ()))
            if len(offset) != count or offset.shape[1] != attributes[name].shape[1]:
                raise AssetRejected(INVALID, f"morph target {name}: shape {offset.shape}")
            attributes[name] = attributes[name] + weight * offset[used]
    return Triangles(_faces(order, primitive.mode), attributes)


def _real(name: str, values: np.ndarray) -> np.ndarray:
    """The values as float. Colours are between 0 and 1 whether or not the file says normalised,
    which some exporters forget."""
    if name.startswith("COLOR") and values.dtype.kind != "f":
        return values / np.iinfo(values.dtype).max
    return values.astype(float)


def _faces(order: np.ndarray, mode: int) -> np.ndarray:
    """Corners (F, 3) of the triangles of a list, strip or fan of vertices (section 3.7.2.1 of the
    specification)."""
    if mode == TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    i = np.arange(len(order) - 2)
    if mode == STRIP:
        return np.column_stack([order[i], order[i + 1 + i % 2], order[i + 2 - i % 2]])
    return np.column_stack([order[i + 1], order[i + 2], np.full(len(i), order[0])])


def place(triangles: Triangles, node: MeshNode) -> Triangles:
    """The triangles in the scene's frame, once per instance, in the pose of the skin.

    Raises:
        AssetRejected: the skin's weights are wrong.
    """
    if node.joints is not None:
        if "JOINTS_0" not in triangles.attributes:
            raise AssetRejected(INVALID, "a mesh with a skin has no JOINTS_0")
        return _transformed(triangles, _skin_matrices(triangles.attributes, node.joints))
    size = len(triangles.attributes["POSITION"])
    copies = [
        _transformed(triangles, np.broadcast_to(matrix, (size, 4, 4))) for matrix in node.transforms
    ]
    if len(copies) == 1:
        return copies[0]
    return Triangles(
        np.concatenate([copy.faces + i * size for i, copy in enumerate(copies)]),
        {
            name: np.concatenate([copy.attributes[name] for copy in copies])
            for name in triangles.attributes
        },
    )


def _skin_matrices(attributes: dict[str, np.ndarray], joints: np.ndarray) -> np.ndarray:
    """Transforms (V, 4, 4) of vertices to the scene."""
    sets = [name[7:] for name in sorted(attributes) if name.startswith("JOINTS_")]
    if any(f"WEIGHTS_{number}" not in attributes for number in sets):
        raise AssetRejected(INVALID, "a skin has JOINTS without WEIGHTS")
    indices = np.column_stack([attributes[f"JOINTS_{number}"] for number in sets])
    weights = np.column_stack([attributes[f"WEIGHTS_{number}"] for number in sets])
    if indices.dtype.kind != "u" or indices.max() >= len(joints):
        raise AssetRejected(INVALID, f"joint {indices.max()} of {len(joints)}")
    weights = np.nan_to_num(weights)
    total = weights.sum(axis=1, keepdims=True)
    unbound = np.eye(1, weights.shape[1])
    weights = np.where(total > 1e-9, weights / np.where(total > 1e-9, total, 1), unbound)
    matrices = np.zeros((len(indices), 4, 4))
    for column in range(indices.shape[1]):
        matrices += weights[:, column, None, None] * joints[indices[:, column]]
    return matrices


def _transformed(triangles: Triangles, matrices: np.ndarray) -> Triangles:
    """The triangles with a transform (4, 4) per vertex applied to positions and normals."""
    attributes, faces = dict(triangles.attributes), triangles.faces
    linear = matrices[:, :3, :3]
    positions = attributes["POSITION"]
    attributes["POSITION"] = np.einsum("vij,vj->vi", linear, positions) + matrices[:, :3, 3]
    if "NORMAL" in attributes:
        attributes["NORMAL"] = np.einsum("vij,vj->vi", _cofactors(linear), attributes["NORMAL"])
    mirrored = np.linalg.det(linear)[faces[:, 0]] < 0
    return replace(
        triangles,
        faces=np.where(mirrored[:, None], faces[:, ::-1], faces),
        attributes=attributes,
    )


def _cofactors(matrices: np.ndarray) -> np.ndarray:
    """The matrices (V, 3, 3) that transform normals, up to a positive factor. Unlike the inverse
    they exist where a scale is 0."""
    a, b, c = matrices.transpose(1, 0, 2)
    rows = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    return rows * np.where(np.linalg.det(matrices) < 0, -1.0, 1.0)[:, None, None]
