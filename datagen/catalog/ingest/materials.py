"""Materials of trimesh's meshes in the terms of glTF.

trimesh has five ways to describe the colour of a mesh. Here they become one: an sRGB texture times
a linear factor, with roughness and metallic. Everything is opaque in the end (masks and depth come
from a ray caster that ignores transparency); opacity is kept only to find what is see-through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.color import ColorVisuals
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from datagen.color import linear_to_srgb, srgb_to_linear


@dataclass(frozen=True, eq=False)
class Material:
    """``image``: the texture, RGB or RGBA in sRGB, with alpha only where the file uses it, or None.
    ``factor``: linear RGB. ``opacity``, ``roughness`` and ``metallic``: 0 to 1. ``assumed``: the
    file does not state the colour."""

    name: str
    image: Image.Image | None
    factor: tuple[float, float, float]
    opacity: float
    roughness: float
    metallic: float
    assumed: bool = False


PLAIN_FACTOR = float(srgb_to_linear(np.array(0.8)))
"""The gray of a surface whose file does not state its colour."""

UNKNOWN_MATERIAL = Material(
    "surface", None, (PLAIN_FACTOR, PLAIN_FACTOR, PLAIN_FACTOR), 1.0, 0.6, 0.0, assumed=True
)


def read_material(mesh: trimesh.Trimesh) -> Material:
    """The material of a mesh as trimesh has read it. Raises ``AssetRejected``."""
    material = getattr(mesh.visual, "material", None)
    if isinstance(material, PBRMaterial):
        return _from_pbr(material)
    if read_vertex_colors(mesh, is_linear=False) is None:
        return UNKNOWN_MATERIAL
    return replace(UNKNOWN_MATERIAL, factor=(1.0, 1.0, 1.0), assumed=False)


def read_vertex_colors(mesh: trimesh.Trimesh, *, is_linear: bool) -> np.ndarray | None:
    """Vertex colours (V, 3), sRGB 0 to 1, of a mesh with V vertices; None where it has none.
    ``is_linear``: the file has linear colours."""
    visual, colors = mesh.visual, None
    if isinstance(visual, ColorVisuals) and visual.defined:
        colors = visual.vertex_colors
    elif isinstance(visual, TextureVisuals):
        colors = visual.vertex_attributes.get("color")
    if colors is None or len(colors) != len(mesh.vertices):
        return None
    scaled = np.asarray(colors)[:, :3].astype(float)
    if np.asarray(colors).dtype.kind != "f":
        scaled /= np.iinfo(np.asarray(colors).dtype).max
    return linear_to_srgb(scaled) if is_linear else np.clip(scaled, 0, 1)


def _from_pbr(material: PBRMaterial) -> Material:
    red, green, blue, alpha = (
        np.asarray(trimesh.visual.color.to_float(material.baseColorFactor)).tolist()
        if material.baseColorFactor is not None
        else (1.0, 1.0, 1.0, 1.0)
    )
    roughness = 1.0 if material.roughnessFactor is None else material.roughnessFactor
    metallic = 1.0 if material.metallicFactor is None else material.metallicFactor
    if material.metallicRoughnessTexture is not None:
        texture = np.asarray(material.metallicRoughnessTexture.convert("RGB"), float) / 255
        roughness *= float(texture[..., 1].mean())
        metallic *= float(texture[..., 2].mean())
    image = material.baseColorTexture
    opaque = material.alphaMode in (None, "OPAQUE")
    if image is not None:
        image = image.convert("RGB" if opaque else "RGBA")
    return Material(
        name=material.name or "material",
        image=image,
        factor=(red, green, blue),
        opacity=1.0 if opaque else alpha,
        roughness=float(np.clip(roughness, 0, 1)),
        metallic=float(np.clip(metallic, 0, 1)),
    )
