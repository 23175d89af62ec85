"""Builds glTF files for tests, binary, with whatever the specification allows."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
from PIL import Image

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
