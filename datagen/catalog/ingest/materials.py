"""Materials of trimesh's meshes in the terms of glTF.

trimesh has five ways to describe the colour of a mesh. Here they become one: an sRGB texture times
a linear factor, with roughness and metallic. Everything is opaque in the end (masks and depth come
from a ray caster that ignores transparency); opacity is kept only to find what is see-through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.color import ColorVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial
from trimesh.visual.texture import TextureVisuals

from datagen.catalog.ingest.model_files import AssetRejected
from datagen.color import linear_to_srgb, srgb_to_linear


@dataclass(frozen=True, eq=False)
class Material:
    """``image``: the texture, RGB or RGBA in sRGB, with alpha only where the file uses it, or None.
    ``factor``: linear RGB. ``opacity``, ``roughness`` and ``metallic``: 0 to 1."""

    name: str
    image: Image.Image | None
    factor: tuple[float, float, float]
    opacity: float
    roughness: float
    metallic: float


def read_material(mesh: trimesh.Trimesh) -> Material:
    """The material of a mesh as trimesh has read it. Raises ``AssetRejected``."""
    material = getattr(mesh.visual, "material", None)
    if isinstance(material, PBRMaterial):
        return _from_pbr(material)
    if isinstance(material, SimpleMaterial):
        return _from_phong(material)
    plain = float(srgb_to_linear(np.array(0.8)))
    color = 1.0 if read_vertex_colors(mesh, is_linear=False) is not None else plain
    return Material("surface", None, (color, color, color), 1.0, 0.6, 0.0)


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


def _from_phong(material: SimpleMaterial) -> Material:
    """A material of an MTL file. Its colours are sRGB, as shown on screen. A texture replaces Kd,
    as in most programs: exporters write anything as Kd of a textured material, black included. The
    roughness follows from the exponent as in Blender's importer."""
    values: dict[str, Any] = {key.lower(): value for key, value in material.kwargs.items()}
    image = None if material.image is None else _with_alpha(material.image)
    if "map_d" in values and (image is None or image.mode != "RGBA"):
        # Otherwise map_d names the texture itself, for its alpha.
        detail = f"{material.name}: map_d {' '.join(values['map_d'])}"
        raise AssetRejected("cut-out texture", detail)
    diffuse = np.asarray(material.diffuse, float)[:3] / 255
    factor = srgb_to_linear(diffuse) if image is None else np.ones(3)
    exponent = float(np.clip(np.nan_to_num(_number(material.glossiness, 0.0)), 0, 1000))
    shiny = exponent > 0 and np.any(np.asarray(material.specular, float)[:3] > 0)
    roughness = 1 - np.sqrt(exponent / 1000) if shiny else 1.0
    return Material(
        name=material.name or "material",
        image=image,
        factor=(float(factor[0]), float(factor[1]), float(factor[2])),
        opacity=float(np.clip(_number(values.get("d"), 1.0), 0, 1)),
        roughness=float(np.clip(roughness, 0.15, 0.9)),
        metallic=0.0,
    )


def _number(value: Any, default: float) -> float:
    """The last word of an MTL line ("d -halo 0.5") as a number, or a number trimesh has read."""
    try:
        return float(value[-1] if isinstance(value, list) else value)
    except (TypeError, ValueError, IndexError):
        return default


def _with_alpha(image: Image.Image) -> Image.Image:
    """The image as RGBA if it has transparent pixels in any form, else as RGB."""
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")
