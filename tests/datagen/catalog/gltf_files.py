"""Builds glTF files for tests, with whatever the specification allows; what tests see in a mesh."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.mesh_sampling import look_up
from datagen.color import linear_to_srgb, srgb_to_linear

_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], "f4")
UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], "f4")
"""A unit square that faces +z, its texture upright."""
INDICES = np.array([0, 1, 2, 0, 2, 3], "u2")


class GltfFile:
    """A glTF file in the making. ``tree``: its JSON, to be changed freely."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {"asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}]}
        self.binary = b""

    def append(self, key: str, value: Any) -> int:
        """Adds to one of the file's lists; returns the index."""
        self.tree.setdefault(key, []).append(value)
        return len(self.tree[key]) - 1

    def view(self, data: bytes, **facts: Any) -> int:
        start = len(self.binary)
        self.binary += data + bytes(-len(data) % 4)
        facts |= {"buffer": 0, "byteOffset": start, "byteLength": len(data)}
        return self.append("bufferViews", facts)

    def accessor(self, values: np.ndarray, **facts: Any) -> int:
        """Adds an array (N,) or (N, width)."""
        rows = values.reshape(len(values), -1)
        facts |= {
            "bufferView": self.view(np.ascontiguousarray(rows).tobytes()),
            "componentType": _COMPONENTS[rows.dtype.str[1:]],
            "count": len(rows),
            "type": _TYPES[rows.shape[1]],
        }
        return self.append("accessors", facts)

    def texture(self, image: Image.Image | bytes, **sampler: int) -> int:
        """Adds an image, or the bytes of an image file, and its texture."""
        if isinstance(image, Image.Image):
            image = encoded(image, "PNG")
        source = self.append("images", {"bufferView": self.view(image), "mimeType": "image/png"})
        return self.append(
            "textures", {"source": source, "sampler": self.append("samplers", sampler)}
        )

    def square(self, material: dict[str, Any] | None = None, **attributes: np.ndarray) -> int:
        """Adds a mesh of one unit square with a material; attributes replace its own."""
        given = {"POSITION": CORNERS, "TEXCOORD_0": UV, **attributes}
        primitive: dict[str, Any] = {
            "attributes": {name: self.accessor(value) for name, value in given.items()},
            "indices": self.accessor(INDICES),
        }
        if material is not None:
            primitive["material"] = self.append("materials", material)
        return self.append("meshes", {"primitives": [primitive]})

    def normalize(self, name: str, mesh: int = 0) -> None:
        """Marks an attribute as normalised."""
        index = self.tree["meshes"][mesh]["primitives"][0]["attributes"][name]
        self.tree["accessors"][index]["normalized"] = True

    def glb(self) -> bytes:
        tree = dict(self.tree)
        tree.setdefault("nodes", [{"mesh": 0}])
        if self.binary:
            tree["buffers"] = [{"byteLength": len(self.binary)}]
        return container(json.dumps(tree).encode(), self.binary)


def container(header: bytes, binary: bytes = b"") -> bytes:
    """A GLB of a JSON chunk and a binary chunk."""
    header += b" " * (-len(header) % 4)
    chunks = struct.pack("<I4s", len(header), b"JSON") + header
    if binary:
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def encoded(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def halves(left: tuple[int, ...], right: tuple[int, ...], size: int = 32) -> Image.Image:
    """An image of two colours."""
    image = Image.new("RGBA" if len(left) == 4 else "RGB", (size, size), left)
    image.paste(right, (size // 2, 0, size, size))
    return image


Read = Callable[[GltfFile], list[MaterialMesh]]
"""What the fixture ``read`` is."""


def textured(texture: int, **info: Any) -> dict[str, Any]:
    return {
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": texture, **info},
            "metallicFactor": 0.0,
        }
    }


def color_at(mesh: MaterialMesh, x: float, y: float, layer: str = "image") -> np.ndarray:
    """sRGB colour (3,) of a mesh in the plane z = 0 at a point, times its factor."""
    a, b, c = mesh.vertices[mesh.faces][:, :, :2].transpose(1, 0, 2)
    edges = np.stack([b - a, c - a], axis=2)
    weights = np.linalg.solve(edges, (np.array([x, y]) - a)[:, :, None])[:, :, 0]
    inside = (weights >= -1e-6).all(axis=1) & (weights.sum(axis=1) <= 1 + 1e-6)
    face = int(np.flatnonzero(inside)[0])
    v, w = weights[face]
    uv = np.array([1 - v - w, v, w]) @ mesh.uv[mesh.faces[face]]
    texel = look_up(getattr(mesh.material, layer), uv[None])[0, :3]
    factor = mesh.material.factor if layer == "image" else (1.0, 1.0, 1.0)
    return linear_to_srgb(srgb_to_linear(texel) * np.array(factor))


def refusal(file: GltfFile, read: Read) -> AssetRejected:
    with pytest.raises(AssetRejected) as caught:
        read(file)
    return caught.value
