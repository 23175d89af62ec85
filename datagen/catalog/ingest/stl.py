"""Reads STL files, with the colours that some programs put into binary ones."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
from trimesh.exchange.stl import load_stl

from datagen.catalog.ingest.materials import UNKNOWN_MATERIAL
from datagen.catalog.ingest.meshes import MaterialMesh, split_corners
from datagen.color import srgb_to_linear


def read_stl(data: bytes) -> list[MaterialMesh]:
    """Reads an STL file, binary or ASCII. The normals in it are not used: many programs write none.

    Raises:
        ValueError, or trimesh's HeaderError: the file is not STL.
    """
    loaded = load_stl(io.BytesIO(data))
    solids = loaded["geometry"].values() if "geometry" in loaded else [loaded]
    return [_mesh(solid, data[:80]) for solid in solids if len(solid["faces"])]


def _mesh(solid: dict[str, Any], header: bytes) -> MaterialMesh:
    """One solid; ``header``: the first 80 bytes of the file."""
    vertices, faces = np.asarray(solid["vertices"], float), np.asarray(solid["faces"])
    attributes = solid.get("face_attributes", {}).get("stl")
    colors = None if attributes is None else _face_colors(attributes, header)
    if colors is None:
        return MaterialMesh(vertices, faces, None, None, None, UNKNOWN_MATERIAL)
    if (colors == colors[0]).all():
        red, green, blue = srgb_to_linear(colors[0]).tolist()
        material = replace(UNKNOWN_MATERIAL, factor=(red, green, blue), assumed=False)
        return MaterialMesh(vertices, faces, None, None, None, material)
    material = replace(UNKNOWN_MATERIAL, factor=(1.0, 1.0, 1.0), assumed=False)
    return split_corners(vertices, faces, colors, material)


def _face_colors(attributes: np.ndarray, header: bytes) -> np.ndarray | None:
    """Colours (F, 3), sRGB 0 to 1, or None where the file has none.

    Two conventions use the 16 bits after each face for 5 bits per channel
    (https://en.wikipedia.org/wiki/STL_(file_format)#Binary): VisCAM and SolidView, red in the
    highest, where bit 15 marks a face that has a colour; and Materialise Magics, red in the lowest,
    where bit 15 marks a face without, which has the colour of the object, "COLOR=RGBA" in the
    header.
    """
    channels = np.column_stack([(attributes >> shift) & 31 for shift in (10, 5, 0)]) / 31
    marked = (attributes & 0x8000) != 0
    at = header.find(b"COLOR=")
    if 0 <= at <= len(header) - 9:
        whole = np.frombuffer(header, np.uint8, 3, at + 6) / 255
        return np.where(marked[:, None], whole, channels[:, ::-1])
    if not marked.any():
        return None
    return np.where(marked[:, None], channels, 0.8)
