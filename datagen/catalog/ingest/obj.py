"""Reads Wavefront OBJ files.

trimesh's reader is not used: it drops the vertex colours of a mesh that has texture coordinates,
resolves relative indices against the end of the file, reads the first of several material libraries
only, and triangulates concave polygons as fans.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from datagen.catalog.ingest.materials import UNKNOWN_MATERIAL
from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.ingest.mtl import MtlMaterial, read_mtl
from datagen.catalog.ingest.polygons import triangulate
from datagen.catalog.ingest.resolver import Resolver


@dataclass
class _Group:
    """The faces of one material: for each corner the number of its vertex in ``table``, which has
    the corners as the file writes them ("7/2/5")."""

    table: dict[str, int] = field(default_factory=dict)
    corners: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


@dataclass
class _Content:
    """The lines of a file, by kind; ``groups`` by name of the material, "" where none is used."""

    positions: list[list[str]] = field(default_factory=list)
    uvs: list[list[str]] = field(default_factory=list)
    normals: list[list[str]] = field(default_factory=list)
    groups: dict[str, _Group] = field(default_factory=dict)
    libraries: list[str] = field(default_factory=list)


def read_obj(data: bytes, resolver: Resolver, *, srgb_materials: bool) -> list[MaterialMesh]:
    """Reads an OBJ file.

    A vertex may have a colour after its position, sRGB 0 to 1 or 0 to 255, as MeshLab, ZBrush and
    Blender write them. It counts where the material has no texture. A material that is in no
    material library, or a library that is absent, gives a gray that is marked as assumed.

    Args:
        data: the content of the file.
        resolver: reads material libraries and textures.
        srgb_materials: as in ``ModelSource``.

    Raises:
        AssetRejected: the file, a material or a texture cannot be used.
        ValueError: a line is not what OBJ has there.
    """
    content = _parse(data.decode("utf-8", "replace"), complete=data.endswith((b"\n", b"\r")))
    materials: dict[str, MtlMaterial] = {}
    for library in content.libraries:
        text = resolver.find(library)
        if text is not None:
            folder = posixpath.dirname(library.replace("\\", "/"))
            materials |= read_mtl(text, resolver, folder, srgb=srgb_materials)
    positions = _table(content.positions, 3)
    colors = _colors(content.positions)
    uvs, normals = _table(content.uvs, 2), _table(content.normals, 3)
    return [
        _mesh(group, materials.get(name), positions, colors, uvs, normals)
        for name, group in content.groups.items()
        if group.counts
    ]


def _parse(text: str, *, complete: bool) -> _Content:
    content = _Content()
    group = content.groups.setdefault("", _Group())
    lines = text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines()
    for number, line in enumerate(lines, 1):
        key, _, rest = line.strip().replace("\t", " ").partition(" ")
        if key == "v":
            content.positions.append(rest.split())
        elif key == "vt":
            content.uvs.append(rest.split())
        elif key == "vn":
            content.normals.append(rest.split())
        elif key == "f":
            corners = rest.partition("#")[0].split()
            if len(corners) < 3 and number == len(lines) and not complete:
                raise AssetRejected(
                    "cut file", f"the last line is {line[:60]!r}; download it again"
                )
            if "-" in rest:
                corners = [_absolute(corner, content) for corner in corners]
            if len(corners) >= 3:
                table = group.table
                group.corners.extend([table.setdefault(one, len(table)) for one in corners])
                group.counts.append(len(corners))
        elif key == "usemtl":
            group = content.groups.setdefault(rest.strip(), _Group())
        elif key == "mtllib":
            content.libraries.extend(_library_names(rest))
    return content


def _library_names(rest: str) -> list[str]:
    """The files that a line "mtllib a.mtl b.mtl" names; names may have spaces, and quotes."""
    rest = rest.strip()
    names = re.findall(r'"[^"]+"|\S.*?\.mtl(?!\S)', rest, re.IGNORECASE)
    return [name.strip('"') for name in names] or [rest]


def _absolute(corner: str, content: _Content) -> str:
    """A corner with relative indices ("-1/-1/-1" is the latest of each kind) in absolute ones."""
    ends = (len(content.positions), len(content.uvs), len(content.normals))
    steps = [
        str(end + 1 + int(step)) if step.startswith("-") else step
        for step, end in zip(corner.split("/"), ends, strict=False)
    ]
    return "/".join(steps)


def _table(rows: Sequence[Sequence[str]], columns: int) -> np.ndarray:
    """The first ``columns`` numbers of each row (N, columns); what is missing is 0."""
    table = np.array([[*row[:columns], *["0"] * (columns - len(row))] for row in rows], float)
    return table.reshape(-1, columns)


def _colors(rows: Sequence[Sequence[str]]) -> np.ndarray | None:
    """Colours (V, 3) of the vertices, white where a vertex has none; None where no vertex has."""
    if not any(len(row) >= 6 for row in rows):
        return None
    colors = np.array([row[3:6] if len(row) >= 6 else ["nan"] * 3 for row in rows], float)
    scale = 255.0 if np.nanmax(colors, initial=0.0) > 1.0 else 1.0
    return np.asarray(np.clip(np.nan_to_num(colors / scale, nan=1.0), 0, 1))


def _mesh(
    group: _Group,
    mtl: MtlMaterial | None,
    positions: np.ndarray,
    colors: np.ndarray | None,
    uvs: np.ndarray,
    normals: np.ndarray,
) -> MaterialMesh:
    """The triangles of one material."""
    steps = [corner.split("/") for corner in group.table]
    vertex = _indices([step[0] for step in steps], len(positions), "vertex")
    uv = _attribute([step[1] if len(step) > 1 else "" for step in steps], uvs, "vt")
    normal = _attribute([step[2] if len(step) > 2 else "" for step in steps], normals, "vn")
    corners, counts = np.array(group.corners), np.array(group.counts)
    mesh = MaterialMesh(
        vertices=positions[vertex],
        faces=triangulate(positions[vertex][corners], corners, counts),
        normals=normal,
        uv=uv,
        colors=None if colors is None else colors[vertex],
        material=mtl.material if mtl else UNKNOWN_MATERIAL,
    )
    if mtl and mesh.material.image is not None:
        return mtl.placed_texture(replace(mesh, colors=None))
    if mesh.colors is not None:
        # Colours of vertices replace Kd, as a texture does.
        material = replace(mesh.material, factor=(1.0, 1.0, 1.0), assumed=False)
        return replace(mesh, material=material)
    return mesh


def _indices(words: Sequence[str], length: int, kind: str) -> np.ndarray:
    """Indices (N,) counted from 0. Raises ``AssetRejected`` where one is out of range."""
    index = np.array(words, int) - 1
    wrong = index[(index < 0) | (index >= length)]
    if len(wrong):
        raise AssetRejected(
            "unreadable file", f"a face names {kind} {wrong[0] + 1}, and the file has {length}"
        )
    return index


def _attribute(words: Sequence[str], values: np.ndarray, kind: str) -> np.ndarray | None:
    """A value per vertex, or None where some vertex has none."""
    if not len(values) or not all(words):
        return None
    found = values[_indices(words, len(values), kind)]
    return found if np.isfinite(found).all() else None
