"""Reads PLY files, the format of scanners (Turk, "The PLY Polygon File Format", 1994).

trimesh's reader is not used: it refuses binary files with polygons of several lengths, strips of
triangles, and line ends of one carriage return.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from datagen.catalog.ingest.materials import UNKNOWN_MATERIAL, Material
from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.ingest.ply_elements import Column, Element, read_elements
from datagen.catalog.ingest.polygons import triangulate
from datagen.catalog.ingest.resolver import Resolver
from datagen.catalog.ingest.textures import decode_texture

# Names that programs give to the same property.
_COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
_CORNERS = ("vertex_indices", "vertex_index")


@dataclass(frozen=True, eq=False)
class _Corners:
    """The corners of all faces: ``vertex`` (C,) their vertices, ``counts`` (F,) how many each face
    has; ``uv`` (C, 2) where faces have texture coordinates; ``colors`` (C, 3) where they have
    colours; ``texture`` (F,) the number of the face's texture."""

    vertex: np.ndarray
    counts: np.ndarray
    uv: np.ndarray | None
    colors: np.ndarray | None
    texture: np.ndarray


def read_ply(data: bytes, resolver: Resolver) -> list[MaterialMesh]:
    """Reads a PLY file, ASCII or binary: polygons and strips of triangles; normals, colours
    (sRGB) and texture coordinates of vertices or faces; textures that a comment names
    ("comment TextureFile NAME", as MeshLab writes it).

    Raises:
        AssetRejected: the file or its texture cannot be used.
        ValueError: the header is not PLY's.
    """
    elements, textures = read_elements(data)
    vertices = elements.get("vertex")
    corners = _corners(elements)
    if not vertices or corners is None:
        return []
    positions = _columns(vertices, [("x", "y", "z")])
    if positions is None:
        raise ValueError("vertices without x, y and z")
    if corners.vertex.min() < 0 or corners.vertex.max() >= len(positions):
        raise AssetRejected(
            "unreadable file", f"a face names a vertex that is none of {len(positions)}"
        )
    normals = _columns(vertices, [("nx", "ny", "nz")])
    uv = corners.uv
    if uv is None and (shared := _columns(vertices, _UVS)) is not None:
        uv = shared[corners.vertex]
    colors = corners.colors
    if colors is None and (of_vertices := _colors(vertices)) is not None:
        colors = of_vertices[corners.vertex]
    points = positions[corners.vertex]
    meshes = []
    ends = np.cumsum(corners.counts)
    for number in np.unique(corners.texture).tolist():
        chosen = corners.texture == number
        inside = np.repeat(chosen, corners.counts)
        material = _material(textures, number, resolver, has_uv=uv is not None)
        if material.image is None and colors is not None:
            material = replace(material, factor=(1.0, 1.0, 1.0), assumed=False)
        numbers = np.arange(ends[-1])[inside]
        meshes.append(
            MaterialMesh(
                vertices=points,
                faces=triangulate(points[inside], numbers, corners.counts[chosen]),
                normals=None if normals is None else normals[corners.vertex],
                uv=uv,
                colors=colors if material.image is None else None,
                material=material,
            )
        )
    return meshes


def _corners(elements: Mapping[str, Element]) -> _Corners | None:
    """The corners of the faces, or else of the strips; None where there is neither."""
    face = elements.get("face")
    polygons = _list(face, _CORNERS) if face else None
    if face and polygons and len(polygons.values):
        usable = polygons.counts >= 3
        inside = np.repeat(usable, polygons.counts)
        uv = _list(face, ("texcoord",))
        per_corner = None
        if uv is not None and np.array_equal(uv.counts, 2 * polygons.counts):
            per_corner = uv.values.reshape(-1, 2)[inside]
        colors, number = _colors(face), _columns(face, [("texnumber",)])
        counts = polygons.counts[usable]
        return _Corners(
            vertex=polygons.values[inside].astype(int),
            counts=counts,
            uv=per_corner,
            colors=None if colors is None else np.repeat(colors[usable], counts, axis=0),
            texture=np.zeros(len(counts), int) if number is None else number[usable, 0].astype(int),
        )
    strips = _list(elements["tristrips"], _CORNERS) if "tristrips" in elements else None
    if strips is None:
        return None
    triangles = _strip_triangles(strips)
    if not len(triangles):
        return None
    counts = np.full(len(triangles), 3)
    return _Corners(triangles.ravel(), counts, None, None, np.zeros(len(triangles), int))


def _strip_triangles(strips: Column) -> np.ndarray:
    """Triangles (T, 3) of strips; every second one is turned. -1 begins another strip."""
    index = strips.values.astype(int)
    starts = np.zeros(len(index) + 1, int)
    starts[np.cumsum(strips.counts) - strips.counts] = 1
    # Each corner's number in its strip; three corners make a triangle if none lies before a start.
    begins = np.flatnonzero((starts[:-1] == 1) | (np.append(0, index[:-1]) < 0))
    number = np.arange(len(index)) - np.repeat(begins, np.diff(np.append(begins, len(index))))
    valid = (number[2:] >= 2) & (index[2:] >= 0) & (index[1:-1] >= 0) & (index[:-2] >= 0)
    a, b, c = index[:-2][valid], index[1:-1][valid], index[2:][valid]
    turned = number[2:][valid] % 2 == 1
    return np.column_stack([np.where(turned, b, a), np.where(turned, a, b), c])


def _material(
    textures: Sequence[str], number: int, resolver: Resolver, *, has_uv: bool
) -> Material:
    """The material of the faces with this number of a texture."""
    if not has_uv or not 0 <= number < len(textures):
        return UNKNOWN_MATERIAL
    image = decode_texture(resolver.read(textures[number]), textures[number])
    return replace(
        UNKNOWN_MATERIAL, image=image.convert("RGB"), factor=(1.0, 1.0, 1.0), assumed=False
    )


def _columns(element: Element, names: Sequence[Sequence[str]]) -> np.ndarray | None:
    """The first of several groups of properties that an element has, as columns."""
    for group in names:
        if all(name in element for name in group):
            return np.column_stack([element[name].values.astype(float) for name in group])
    return None


def _list(element: Element, names: Sequence[str]) -> Column | None:
    """The first of several columns that an element has."""
    return next((element[name] for name in names if name in element), None)


def _colors(element: Element) -> np.ndarray | None:
    """sRGB colours (N, 3), 0 to 1, from integers of any size or from fractions."""
    colors = _columns(element, _COLORS)
    if colors is None:
        return None
    kind = next(element[group[0]].kind for group in _COLORS if group[0] in element)
    if kind.kind == "f":
        scale = 255.0 if colors.max(initial=0.0) > 1.0 else 1.0
    else:
        scale = float(np.iinfo(kind).max)
    return np.asarray(np.clip(colors / scale, 0, 1))
