"""Applies an appearance (named colours, patterns and scale) to a canonical mesh."""

from __future__ import annotations

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial

from datagen.catalog.looks.colors import color_rgb, tinted
from datagen.catalog.looks.patterns import patterns, texture
from datagen.catalog.mesh_sampling import look_up, points_in
from datagen.catalog.provider import UV_REPEATS
from datagen.color import linear_to_srgb, srgb_to_linear
from datagen.scene import Appearance, Finish, Tint

# Part of the path of cached identity meshes: to be raised when the same asset and appearance would
# give another mesh.
IDENTITY_MESH_VERSION = 3


def apply_appearance(scene: trimesh.Scene, appearance: Appearance) -> dict[str, trimesh.Trimesh]:
    """Applies the finishes, the tint and the scale of an appearance.

    Args:
        scene: a canonical model, in glTF's frame.
        appearance: what to apply. A finish replaces the material of its part, and so its texture.

    Returns:
        The meshes by part, in glTF's frame.

    Raises:
        ValueError: a finish names a part that the model does not have.
    """
    finishes = {finish.part: finish for finish in appearance.finishes}
    unit = float(scene.extents.max()) / UV_REPEATS
    meshes: dict[str, trimesh.Trimesh] = {}
    for node in sorted(scene.graph.nodes_geometry):
        transform, geometry = scene.graph[node]
        mesh = scene.geometry[geometry]
        part = mesh.visual.material.name
        finish = finishes.get(part)
        if finish is not None:
            mesh = _apply_finish(mesh, finish, unit)
        elif appearance.tint and mesh.visual.material.baseColorTexture is not None:
            mesh = _apply_tint(mesh, appearance.tint[0])
        normals = np.asarray(mesh.vertex_normals) @ transform[:3, :3].T
        meshes[part] = trimesh.Trimesh(
            trimesh.transform_points(mesh.vertices, transform) * appearance.scale,
            mesh.faces,
            vertex_normals=normals,
            visual=mesh.visual,
            process=False,
        )
    if missing := finishes.keys() - meshes.keys():
        raise ValueError(f"no part {sorted(missing)[0]!r}; there are {', '.join(sorted(meshes))}")
    return meshes


def surface_colors(mesh: trimesh.Trimesh, samples: int = 4096) -> np.ndarray:
    """sRGB colours (samples, 3) of points spread evenly over a mesh's surface."""
    material = mesh.visual.material
    factor = np.ones(3) if material.baseColorFactor is None else material.baseColorFactor[:3] / 255
    if material.baseColorTexture is None:
        return np.tile(linear_to_srgb(factor), (samples, 1))
    area = np.cumsum(mesh.area_faces)
    face = np.searchsorted(area, (np.arange(samples) + 0.5) / samples * area[-1])
    texels = look_up(material.baseColorTexture, points_in(mesh.visual.uv[mesh.faces[face]]))
    return linear_to_srgb(srgb_to_linear(texels[:, :3]) * factor)


def _apply_finish(mesh: trimesh.Trimesh, finish: Finish, unit: float) -> trimesh.Trimesh:
    """The mesh with another material. ``unit``: metres that one repeat of a pattern covers."""
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
            mesh, uv = _project_texture(mesh, unit)
        uv = uv * patterns()[finish.pattern].repeats
        material.baseColorTexture = texture(finish.pattern, finish.color, finish.accent)
    else:
        light = srgb_to_linear(np.array(color_rgb(finish.color)))
        material.baseColorFactor = [*np.round(light * 255).astype(int), alpha]
    return _with_material(mesh, uv, material)


def _apply_tint(mesh: trimesh.Trimesh, tint: Tint) -> trimesh.Trimesh:
    """The mesh with its texture in other colours; all else of its material stays."""
    material = mesh.visual.material.copy()
    image, factor = material.baseColorTexture, material.baseColorFactor
    light = srgb_to_linear(np.asarray(image.convert("RGB")) / 255.0)
    if factor is not None:
        light = light * (factor[:3] / 255.0)
        material.baseColorFactor = [255, 255, 255, int(factor[3])]
    recolored = Image.fromarray(np.round(tinted(linear_to_srgb(light), tint) * 255).astype("u1"))
    if "A" in image.getbands():
        recolored.putalpha(image.getchannel("A"))
    else:
        # trimesh encodes the texture in this format: a photograph as PNG takes a megabyte per
        # identity.
        recolored.format = "JPEG"
    material.baseColorTexture = recolored
    return _with_material(mesh, mesh.visual.uv, material)


def _with_material(
    mesh: trimesh.Trimesh, uv: np.ndarray | None, material: PBRMaterial
) -> trimesh.Trimesh:
    return trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=mesh.vertex_normals,
        visual=trimesh.visual.TextureVisuals(uv=uv, material=material),
        process=False,
    )


def _project_texture(mesh: trimesh.Trimesh, unit: float) -> tuple[trimesh.Trimesh, np.ndarray]:
    """The mesh, and texture coordinates (V, 2) in units of ``unit`` metres, projected along the
    axis nearest to each face's normal. Vertices shared by faces of different axes are split."""
    axis = np.abs(mesh.face_normals).argmax(axis=1)
    corners = mesh.vertices[mesh.faces] / unit
    # In glTF's frame, where y is up.
    projections = np.stack([corners[:, :, [2, 1]], corners[:, :, [0, 2]], corners[:, :, [0, 1]]])
    uv = projections[axis, np.arange(len(axis))].reshape(-1, 2)
    rows = np.column_stack([mesh.faces.reshape(-1), np.repeat(axis, 3)])
    _, first, corner = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    vertex = mesh.faces.reshape(-1)[first]
    split = trimesh.Trimesh(
        mesh.vertices[vertex],
        corner.reshape(-1, 3),
        vertex_normals=mesh.vertex_normals[vertex],
        process=False,
    )
    return split, uv[first]
