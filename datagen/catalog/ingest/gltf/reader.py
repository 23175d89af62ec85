"""Reads a glTF file into meshes of one material each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from datagen.catalog.ingest.gltf import schema
from datagen.catalog.ingest.gltf.accessors import Arrays
from datagen.catalog.ingest.gltf.document import Container, item
from datagen.catalog.ingest.gltf.images import Images
from datagen.catalog.ingest.gltf.layers import unify
from datagen.catalog.ingest.gltf.materials import Surface, read_surface, with_images
from datagen.catalog.ingest.gltf.nodes import MeshNode, visible_meshes
from datagen.catalog.ingest.gltf.triangles import Triangles, count_faces, place, read_triangles
from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.ingest.resolver import Resolver
from datagen.catalog.provider import MAX_TEXTURE
from datagen.color import linear_to_srgb

_DRAWN_TEXELS = 8 * MAX_TEXTURE**2
"""Most texels, over all parts of a model, of images that are drawn anew: some seconds of work."""


def read_gltf(container: Container, resolver: Resolver, max_faces: int) -> list[MaterialMesh]:
    """Reads the meshes of a glTF file in its rest pose, each where and as often as the file shows
    it.

    Args:
        container: the file.
        resolver: reads the files that it names.
        max_faces: largest number of triangles.

    Raises:
        AssetRejected: the file cannot be used.
    """
    document = container.document
    arrays = Arrays(container, resolver)
    images = Images(document, arrays)
    nodes = visible_meshes(document, arrays)
    parts = [
        (node, primitive, count_faces(primitive, document))
        for node in nodes
        for primitive in item(document.meshes, node.mesh, "meshes").primitives
    ]
    # Counted before they are copied: a node of a few bytes may repeat a whole mesh.
    faces = sum(count * node.copies for node, _, count in parts)
    if faces == 0:
        raise AssetRejected("no faces", f"{len(document.meshes)} meshes, none with a visible face")
    if faces > max_faces:
        raise AssetRejected("too many faces", f"{faces}, limit {max_faces}")
    area = min(MAX_TEXTURE**2, _DRAWN_TEXELS // len(parts))
    surfaces: dict[int | None, Surface] = {}
    result = []
    for node, primitive, count in parts:
        if count == 0:
            continue
        if primitive.material not in surfaces:
            material = schema.Material()
            if primitive.material is not None:
                material = item(document.materials, primitive.material, "materials")
            surfaces[primitive.material] = read_surface(material, document, images)
        triangles = place(read_triangles(primitive, arrays, _weights(node, document)), node)
        result.append(_material_mesh(triangles, surfaces[primitive.material], area))
    return result


def _weights(node: MeshNode, document: schema.Document) -> tuple[float, ...]:
    return node.weights or document.meshes[node.mesh].weights


def _material_mesh(triangles: Triangles, surface: Surface, area: int) -> MaterialMesh:
    surface, colors = _vertex_colors(triangles, surface)
    uv: np.ndarray | None = None
    images: dict[str, Image.Image] = {}
    if surface.layers:
        unified = unify(surface.layers, triangles, colors, area)
        triangles, uv, images, colors = unified.triangles, unified.uv, unified.images, None
    return MaterialMesh(
        vertices=triangles.attributes["POSITION"],
        faces=triangles.faces,
        normals=triangles.attributes.get("NORMAL"),
        uv=uv,
        colors=None if colors is None else linear_to_srgb(np.clip(colors[:, :3], 0, 1)),
        material=with_images(surface, images),
    )


def _vertex_colors(triangles: Triangles, surface: Surface) -> tuple[Surface, np.ndarray | None]:
    """The surface, and its vertex colours, linear (V, 3 or 4). Colours that are all equal, as many
    exporters write them, become part of the factor instead."""
    colors = triangles.attributes.get("COLOR_0")
    if colors is None or not np.isfinite(colors).all():
        return surface, None
    if np.ptp(colors, axis=0).max() > 1e-4:
        return surface, colors
    color, material = np.clip(colors[0], 0, 1), surface.material
    red, green, blue = (np.array(material.factor) * color[:3]).tolist()
    opacity = material.opacity
    if len(color) == 4 and surface.source.alpha_mode != "OPAQUE":
        opacity *= float(color[3])
    return replace(
        surface, material=replace(material, factor=(red, green, blue), opacity=opacity)
    ), None
