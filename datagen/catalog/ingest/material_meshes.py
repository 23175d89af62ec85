"""Reads a model file into meshes of one material each."""

from __future__ import annotations

import posixpath

from datagen.catalog.ingest.file_checks import check_complete, check_content
from datagen.catalog.ingest.gltf.document import read_container
from datagen.catalog.ingest.gltf.reader import read_gltf
from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected, Library
from datagen.catalog.ingest.obj import read_obj
from datagen.catalog.ingest.ply import read_ply
from datagen.catalog.ingest.resolver import Resolver
from datagen.catalog.ingest.stl import read_stl


def read_material_meshes(
    library: Library,
    file: str,
    resolver: Resolver,
    *,
    srgb_materials: bool,
    max_faces: int,
    max_bytes: int,
) -> list[MaterialMesh]:
    """Reads a model file (glb, gltf, obj, ply or stl).

    Args:
        library: the library that holds the file.
        file: its name in the library.
        resolver: reads the files that the model file names.
        srgb_materials: as in ``ModelSource``.
        max_faces: largest number of triangles.
        max_bytes: largest size of the file.

    Raises:
        AssetRejected: the file cannot be used.
        Exception: whatever a parser raises on a broken file.
    """
    suffix = posixpath.splitext(file)[1][1:].lower()
    data = library.read(file, max_bytes)
    check_content(file, data)
    check_complete(file, suffix, data)
    if suffix in ("glb", "gltf"):
        return read_gltf(read_container(data), resolver, max_faces)
    if suffix == "obj":
        meshes = read_obj(data, resolver, srgb_materials=srgb_materials)
    elif suffix == "ply":
        meshes = read_ply(data, resolver)
    else:
        meshes = read_stl(data)
    faces = sum(len(mesh.faces) for mesh in meshes)
    if faces == 0:
        raise AssetRejected("no faces", "points or lines only")
    if faces > max_faces:
        raise AssetRejected("too many faces", f"{faces}, limit {max_faces}")
    return meshes
