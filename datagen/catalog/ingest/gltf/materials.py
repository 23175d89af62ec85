"""Materials of glTF files in the terms of ``Material``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from trimesh.visual.gloss import specular_to_pbr

from datagen.catalog.ingest.gltf import schema
from datagen.catalog.ingest.gltf.document import INVALID
from datagen.catalog.ingest.gltf.images import Images
from datagen.catalog.ingest.gltf.layers import Layer, read_layer
from datagen.catalog.ingest.materials import Material
from datagen.catalog.ingest.model_files import AssetRejected

# Roughness of a surface whose shading the file leaves out (KHR_materials_unlit).
_UNLIT_ROUGHNESS = 0.9


@dataclass(frozen=True, eq=False)
class Surface:
    """A material before its textures are brought to one set of texture coordinates. ``material``:
    without its images. ``alpha``: of the base colour factor. ``layers`` by name: "base",
    "roughness" (glTF's metallic-roughness texture), "normal", "emission", and, of a material that
    is given by specular colour and gloss, "gloss"."""

    material: Material
    source: schema.Material
    layers: dict[str, Layer]


def read_surface(source: schema.Material, document: schema.Document, images: Images) -> Surface:
    """Reads a material and its textures.

    Raises:
        AssetRejected: the file is wrong, or has a texture that we cannot read.
    """
    if source.alpha_mode not in ("OPAQUE", "MASK", "BLEND"):
        raise AssetRejected(INVALID, f"alphaMode {source.alpha_mode!r}"[:100])
    pbr, gloss = source.pbr_metallic_roughness, source.extensions.specular_glossiness
    infos: dict[str, schema.TextureInfo | None] = {"base": pbr.base_color_texture}
    factor, roughness, metallic = pbr.base_color_factor, pbr.roughness_factor, pbr.metallic_factor
    if source.extensions.unlit:
        roughness, metallic = _UNLIT_ROUGHNESS, 0.0
    else:
        if gloss is not None:
            infos = {"base": gloss.diffuse_texture, "gloss": gloss.specular_glossiness_texture}
            factor = gloss.diffuse_factor
        else:
            infos["roughness"] = pbr.metallic_roughness_texture
        infos["normal"] = source.normal_texture
        infos["emission"] = source.emissive_texture
    strength = source.extensions.strength.emissive_strength
    emission = np.maximum(source.emissive_factor, 0) * max(strength, 0.0)
    if not emission.any() or source.extensions.unlit:
        emission = np.zeros(3)
        infos.pop("emission", None)
    red, green, blue, alpha = np.clip(factor, 0, 1).tolist()
    material = Material(
        name=source.name or "material",
        image=None,
        factor=(red, green, blue),
        opacity=_opacity(source, alpha),
        roughness=float(np.clip(roughness, 0, 1)),
        metallic=float(np.clip(metallic, 0, 1)),
        emission_factor=(float(emission[0]), float(emission[1]), float(emission[2])),
    )
    layers = {
        name: read_layer(info, document, images) for name, info in infos.items() if info is not None
    }
    if "base" in layers and source.alpha_mode == "OPAQUE":
        base = layers["base"]
        layers["base"] = replace(base, image=base.image.convert("RGB"))
    for name in layers.keys() - {"base", "gloss"}:
        layers[name] = replace(layers[name], image=layers[name].image.convert("RGB"))
    if layers and "base" not in layers:
        # A canonical part that has texture coordinates has a base colour texture.
        other = next(iter(layers.values()))
        layers["base"] = replace(other, image=Image.new("RGB", (1, 1), (255, 255, 255)))
    return Surface(material, source, layers)


def _opacity(source: schema.Material, alpha: float) -> float:
    if source.alpha_mode == "OPAQUE":
        return 1.0
    if source.alpha_mode == "BLEND" or _base_texture(source) is not None:
        return alpha
    return 1.0 if alpha >= source.alpha_cutoff else 0.0


def _base_texture(source: schema.Material) -> schema.TextureInfo | None:
    gloss = source.extensions.specular_glossiness
    if gloss is not None and not source.extensions.unlit:
        return gloss.diffuse_texture
    return source.pbr_metallic_roughness.base_color_texture


def with_images(surface: Surface, images: Mapping[str, Image.Image]) -> Material:
    """The material with its images, which lie over one set of texture coordinates.

    Args:
        surface: the material.
        images: by the names of its layers.
    """
    source, material = surface.source, surface.material
    base, roughness = images.get("base"), images.get("roughness")
    gloss = source.extensions.specular_glossiness
    if gloss is not None and not source.extensions.unlit:
        material, base, roughness = _from_gloss(material, gloss, base, images.get("gloss"))
    if base is not None and base.mode == "RGBA" and source.alpha_mode == "MASK":
        alpha = np.asarray(base.getchannel("A")) / 255 * material.opacity
        base = base.copy()
        base.putalpha(Image.fromarray(np.where(alpha >= source.alpha_cutoff, 255, 0).astype("u1")))
        material = replace(material, opacity=1.0)
    elif base is not None and source.alpha_mode == "MASK":
        opaque = material.opacity >= source.alpha_cutoff
        material = replace(material, opacity=float(opaque))
    normal = images.get("normal")
    if normal is not None and source.normal_texture is not None:
        normal = _scaled(normal, source.normal_texture.scale)
    return replace(
        material,
        image=base,
        normal=normal,
        metallic_roughness=roughness,
        emission=images.get("emission"),
    )


def _from_gloss(
    material: Material,
    gloss: schema.SpecularGlossiness,
    diffuse: Image.Image | None,
    specular: Image.Image | None,
) -> tuple[Material, Image.Image | None, Image.Image | None]:
    """The material in terms of metallic and roughness, its base colour texture, and its
    metallic-roughness texture, from KHR_materials_pbrSpecularGlossiness."""
    result = specular_to_pbr(
        specularFactor=list(gloss.specular_factor),
        glossinessFactor=gloss.glossiness_factor,
        specularGlossinessTexture=specular,
        diffuseTexture=diffuse,
        diffuseFactor=[*material.factor, 1.0],
    )
    factor = result.get("baseColorFactor", (1.0, 1.0, 1.0))
    base = result.get("baseColorTexture")
    if base is not None and (diffuse is None or diffuse.mode == "RGB"):
        base = base.convert("RGB")
    converted = replace(
        material,
        factor=(float(factor[0]), float(factor[1]), float(factor[2])),
        roughness=_number(result.get("roughnessFactor", 1.0)),
        metallic=_number(result.get("metallicFactor", 1.0)),
    )
    return converted, base, result.get("metallicRoughnessTexture")


def _number(value: Any) -> float:
    """A number that trimesh returns as number or as array of one."""
    return float(np.clip(np.ravel(value)[0], 0, 1))


def _scaled(normal: Image.Image, scale: float) -> Image.Image:
    """A normal map with the x and y of its normals times ``scale``."""
    if scale == 1.0:
        return normal
    vectors = np.asarray(normal) / 127.5 - 1
    vectors = vectors * [scale, scale, 1.0]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1e-6)
    return Image.fromarray(np.round((vectors + 1) * 127.5).astype(np.uint8))
