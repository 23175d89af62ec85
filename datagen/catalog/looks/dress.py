"""Puts an appearance on a canonical mesh: named colours, patterns and scale."""

from __future__ import annotations

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial

from datagen.catalog.looks import colors
from datagen.catalog.looks.patterns import patterns, texture
from datagen.catalog.mesh_sampling import look_up, points_in
from datagen.catalog.provider import UV_REPEATS
from datagen.color import linear_to_srgb, srgb_to_linear
from datagen.scene import Appearance, Finish

# Names the cache of dressed meshes: raise it when the same appearance comes out otherwise.
DRESS_VERSION = 2

# Standard deviation of lightness that a recoloured texture may keep and still be of one colour.
_DETAIL = 0.045


def dress(scene: trimesh.Scene, appearance: Appearance) -> dict[str, trimesh.Trimesh]:
    """The meshes of a canonical scene with the appearance's finishes and scale on them, by
    part. Raises ValueError for a finish of a part that is not there."""
    finishes = {finish.part: finish for finish in appearance.finishes}
    unit = float(scene.extents.max()) / UV_REPEATS
    dressed: dict[str, trimesh.Trimesh] = {}
    for node in sorted(scene.graph.nodes_geometry):
        transform, geometry = scene.graph[node]
        mesh = scene.geometry[geometry]
        part = mesh.visual.material.name
        finish = finishes.get(part)
        if finish is not None:
            mesh = _finished(mesh, finish, unit)
        normals = np.asarray(mesh.vertex_normals) @ transform[:3, :3].T
        dressed[part] = trimesh.Trimesh(
            trimesh.transform_points(mesh.vertices, transform) * appearance.scale,
            mesh.faces,
            vertex_normals=normals,
            visual=mesh.visual,
            process=False,
        )
    if missing := finishes.keys() - dressed.keys():
        raise ValueError(f"no part {sorted(missing)[0]!r}; there are {', '.join(sorted(dressed))}")
    return dressed


def surface_colors(mesh: trimesh.Trimesh, samples: int = 4096) -> np.ndarray:
    """(samples, 3) sRGB of points spread evenly over a mesh's surface."""
    material = mesh.visual.material
    factor = np.ones(3) if material.baseColorFactor is None else material.baseColorFactor[:3] / 255
    if material.baseColorTexture is None:
        return np.tile(linear_to_srgb(factor), (samples, 1))
    area = np.cumsum(mesh.area_faces)
    face = np.searchsorted(area, (np.arange(samples) + 0.5) / samples * area[-1])
    texels = look_up(material.baseColorTexture, points_in(mesh.visual.uv[mesh.faces[face]]))
    return linear_to_srgb(srgb_to_linear(texels[:, :3]) * factor)


def _finished(mesh: trimesh.Trimesh, finish: Finish, unit: float) -> trimesh.Trimesh:
    old = mesh.visual.material
    alpha = 255 if old.baseColorFactor is None else int(old.baseColorFactor[3])
    material = PBRMaterial(
        name=finish.part,
        roughnessFactor=float(finish.roughness),
        metallicFactor=float(finish.metallic),
        alphaMode=old.alphaMode,
        alphaCutoff=old.alphaCutoff,
        doubleSided=old.doubleSided,
        baseColorFactor=[255, 255, 255, alpha],
    )
    uv = mesh.visual.uv
    if finish.pattern != "plain":
        if uv is None or old.baseColorTexture is not None:
            mesh, uv = _projected(mesh, unit)
        uv = uv * patterns()[finish.pattern].repeats
        material.baseColorTexture = texture(finish.pattern, finish.color, finish.accent)
    elif old.baseColorTexture is not None:
        material.baseColorTexture = _recolored(mesh, finish.color)
    else:
        light = srgb_to_linear(np.array(colors.color_rgb(finish.color)))
        material.baseColorFactor = [*np.round(light * 255).astype(int), alpha]
    return trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=mesh.vertex_normals,
        visual=trimesh.visual.TextureVisuals(uv=uv, material=material),
        process=False,
    )


def _recolored(mesh: trimesh.Trimesh, name: str) -> Image.Image:
    """The mesh's texture in a named colour: its shades of light and dark stay, softened as far
    as needed, and the mean over the surface becomes the colour in Oklab."""
    image = mesh.visual.material.baseColorTexture
    target = colors.lab(np.array(colors.color_rgb(name)))
    seen = colors.lab(surface_colors(mesh))[:, 0]
    contrast = min(1.0, _DETAIL / max(float(seen.std()), 1e-6))
    factor = mesh.visual.material.baseColorFactor
    light = srgb_to_linear(np.asarray(image.convert("RGB")) / 255.0)
    if factor is not None:
        light = light * (factor[:3] / 255.0)
    shade = colors.lab(linear_to_srgb(light))[..., :1] - seen.mean()
    toned = target + shade * [contrast, 0.0, 0.0]
    recolored = Image.fromarray(np.round(colors.srgb(toned) * 255).astype("u1"))
    if "A" in image.getbands():
        recolored.putalpha(image.getchannel("A"))
    else:
        # The GLB's writer goes by this: as a PNG, a photograph takes a megabyte an identity.
        recolored.format = "JPEG"
    return recolored


def _projected(mesh: trimesh.Trimesh, unit: float) -> tuple[trimesh.Trimesh, np.ndarray]:
    """The mesh with texture coordinates along the nearest axis of each face, in ``unit``
    metres; vertices where two axes meet are split."""
    along = np.abs(mesh.face_normals).argmax(axis=1)
    corners = mesh.vertices[mesh.faces] / unit
    # glTF's axes: y is up.
    flat = np.stack([corners[:, :, [2, 1]], corners[:, :, [0, 2]], corners[:, :, [0, 1]]])
    uv = flat[along, np.arange(len(along))].reshape(-1, 2)
    rows = np.column_stack([mesh.faces.reshape(-1), np.repeat(along, 3)])
    _, first, corner = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    vertex = mesh.faces.reshape(-1)[first]
    split = trimesh.Trimesh(
        mesh.vertices[vertex],
        corner.reshape(-1, 3),
        vertex_normals=mesh.vertex_normals[vertex],
        process=False,
    )
    return split, uv[first]
