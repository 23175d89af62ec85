"""Materials in the terms of glTF, and how trimesh's become such.

trimesh has several ways to describe the colour of a mesh. Here they become one: an sRGB texture
times a linear factor, with roughness and metallic. Everything is opaque in the end (masks and depth
come from a ray caster that ignores transparency); opacity is kept only to find what is see-through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.color import ColorVisuals
from trimesh.visual.material import SimpleMaterial
from trimesh.visual.texture import TextureVisuals

from datagen.catalog.ingest.model_files import AssetRejected
from datagen.color import srgb_to_linear


@dataclass(frozen=True, eq=False)
class Material:
    """``image``: the texture, RGB or RGBA in sRGB, with alpha only where the file uses it, or None.
    ``factor``: linear RGB. ``opacity``, ``roughness`` and ``metallic``: 0 to 1.

    ``emission_factor``: light that the surface sends out, linear RGB, above 1 for bright lamps.
    Three images, RGB, are there only beside ``image``: ``normal``, a tangent-space normal map;
    ``metallic_roughness``, by which roughness (green) and metallic (blue) are multiplied;
    ``emission`` in sRGB, by which ``emission_factor`` is multiplied.
    """

    name: str
    image: Image.Image | None
    factor: tuple[float, float, float]
    opacity: float
    roughness: float
    metallic: float
    emission_factor: tuple[float, float, float] = (0.0, 0.0, 0.0)
    normal: Image.Image | None = None
    metallic_roughness: Image.Image | None = None
    emission: Image.Image | None = None


@dataclass(frozen=True, eq=False)
class MaterialMesh:
    """Triangles of one material, in the file's own frame and unit.

    ``vertices`` (V, 3); ``faces`` (F, 3); ``normals`` (V, 3) or None; ``uv`` (V, 2) with v upward,
    or None; ``colors`` (V, 3) sRGB 0 to 1, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None
    uv: np.ndarray | None
    colors: np.ndarray | None
    material: Material


def read_material(mesh: trimesh.Trimesh) -> Material:
    """The material of a mesh as trimesh has read it. Raises ``AssetRejected``."""
    material = getattr(mesh.visual, "material", None)
    if isinstance(material, SimpleMaterial):
        return _from_phong(material)
    plain = float(srgb_to_linear(np.array(0.8)))
    color = 1.0 if read_vertex_colors(mesh) is not None else plain
    return Material("surface", None, (color, color, color), 1.0, 0.6, 0.0)


def read_vertex_colors(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """Vertex colours (V, 3), sRGB 0 to 1, of a mesh with V vertices; None where it has none."""
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
    return np.clip(scaled, 0, 1)


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
