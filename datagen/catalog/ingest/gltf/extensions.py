"""What is known of glTF's extensions.

A file that requires an extension which is in neither table is refused: the specification demands
it, because such a file may look quite different without the extension. Extensions that a file uses
without requiring them may be ignored by definition.
"""

from __future__ import annotations

from collections.abc import Iterable

from datagen.catalog.ingest.model_files import AssetRejected

APPLIED = frozenset(
    {
        "EXT_mesh_gpu_instancing",
        "EXT_texture_avif",
        "EXT_texture_webp",
        "KHR_materials_emissive_strength",
        "KHR_materials_pbrSpecularGlossiness",
        "KHR_materials_unlit",
        "KHR_mesh_quantization",
        "KHR_node_visibility",
        "KHR_texture_transform",
        "MSFT_texture_dds",
    }
)

_GLOSS = "changes highlights and reflections, neither shape nor base colour"
_CLEAR = "we render every surface opaque, with its base colour"
_DATA = "adds data that is not drawn"
_BEHAVIOUR = "says what happens when time passes or a user acts; we take the state in the file"
_LIGHT = "the scene brings its own light"
_PACKED = "the core's own textures stay beside the packed ones"
IGNORED = {
    "ADOBE_materials_clearcoat_specular": _GLOSS,
    "ADOBE_materials_clearcoat_tint": _GLOSS,
    "ADOBE_materials_thin_transparency": _CLEAR,
    "AGI_articulations": _BEHAVIOUR,
    "AGI_stk_metadata": _DATA,
    "CESIUM_primitive_outline": "adds lines along edges",
    "EXT_lights_ies": _LIGHT,
    "EXT_lights_image_based": _LIGHT,
    "EXT_mesh_features": _DATA,
    "EXT_mesh_manifold": "describes the same triangles a second time",
    "EXT_structural_metadata": _DATA,
    "FB_geometry_metadata": _DATA,
    "KHR_animation_pointer": _BEHAVIOUR,
    "KHR_audio_emitter": _BEHAVIOUR,
    "KHR_implicit_shapes": "shapes for physics, not drawn",
    "KHR_interactivity": _BEHAVIOUR,
    "KHR_lights_punctual": _LIGHT,
    "KHR_materials_anisotropy": _GLOSS,
    "KHR_materials_clearcoat": _GLOSS,
    "KHR_materials_diffuse_transmission": _CLEAR,
    "KHR_materials_dispersion": _CLEAR,
    "KHR_materials_ior": _GLOSS,
    "KHR_materials_iridescence": _GLOSS,
    "KHR_materials_sheen": _GLOSS,
    "KHR_materials_specular": _GLOSS,
    "KHR_materials_transmission": _CLEAR,
    "KHR_materials_variants": "the default variant is the core's own material",
    "KHR_materials_volume": _CLEAR,
    "KHR_node_hoverability": _BEHAVIOUR,
    "KHR_node_selectability": _BEHAVIOUR,
    "KHR_physics_rigid_bodies": _BEHAVIOUR,
    "KHR_xmp": _DATA,
    "KHR_xmp_json_ld": _DATA,
    "MSFT_lod": "the node itself is the finest level",
    "MSFT_packing_normalRoughnessMetallic": _PACKED,
    "MSFT_packing_occlusionRoughnessMetallic": _PACKED,
}
"""Extensions that are not applied although a file may require them, and why the result is right
without them."""


def check_required(required: Iterable[str]) -> None:
    """Checks the extensions that a file requires.

    Raises:
        AssetRejected: one of them is not known.
    """
    unknown = sorted(set(required) - APPLIED - IGNORED.keys())
    if unknown:
        raise AssetRejected("unsupported extension", ", ".join(unknown))
