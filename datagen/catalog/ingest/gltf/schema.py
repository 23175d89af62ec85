"""The JSON of a glTF 2.0 file, as far as it decides geometry, materials and credits.

Names and defaults are those of the specification (Khronos, glTF 2.0, section 5) in snake case.
Properties that are not listed here are not decoded.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

Index = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Vec2 = tuple[float, float]
Vec3 = tuple[float, float, float]
Vec4 = tuple[float, float, float, float]


class _Object(msgspec.Struct, frozen=True, rename="camel"):
    """An object of the file."""


class AssetInfo(_Object, frozen=True):
    """``asset``: version and credits. ``extras`` may be anything."""

    version: str
    min_version: str = ""
    copyright: Any = None
    extras: Any = None


class Buffer(_Object, frozen=True):
    byte_length: Count
    uri: str | None = None


class _Meshopt(_Object, frozen=True):
    pass


class _BufferViewExtensions(msgspec.Struct, frozen=True):
    ext_meshopt: _Meshopt | None = field(default=None, name="EXT_meshopt_compression")
    khr_meshopt: _Meshopt | None = field(default=None, name="KHR_meshopt_compression")


class BufferView(_Object, frozen=True):
    buffer: Index
    byte_length: Count
    byte_offset: Index = 0
    byte_stride: Annotated[int, Meta(ge=4, le=252)] | None = None
    extensions: _BufferViewExtensions = _BufferViewExtensions()


class _SparseArray(_Object, frozen=True):
    buffer_view: Index
    byte_offset: Index = 0


class SparseIndices(_SparseArray, frozen=True, kw_only=True):
    component_type: int


class Sparse(_Object, frozen=True):
    count: Count
    indices: SparseIndices
    values: _SparseArray


class Accessor(_Object, frozen=True):
    component_type: int
    count: Count
    type: str
    buffer_view: Index | None = None
    byte_offset: Index = 0
    normalized: bool = False
    sparse: Sparse | None = None


class _Draco(_Object, frozen=True):
    pass


class _PrimitiveExtensions(msgspec.Struct, frozen=True):
    draco: _Draco | None = field(default=None, name="KHR_draco_mesh_compression")


class Primitive(_Object, frozen=True):
    attributes: dict[str, Index]
    indices: Index | None = None
    material: Index | None = None
    mode: Annotated[int, Meta(ge=0, le=6)] = 4
    targets: tuple[dict[str, Index], ...] = ()
    extensions: _PrimitiveExtensions = _PrimitiveExtensions()


class Mesh(_Object, frozen=True):
    primitives: tuple[Primitive, ...]
    weights: tuple[float, ...] = ()


class Instancing(_Object, frozen=True):
    attributes: dict[str, Index]


class Visibility(_Object, frozen=True):
    visible: bool = True


class NodeExtensions(msgspec.Struct, frozen=True):
    instancing: Instancing | None = field(default=None, name="EXT_mesh_gpu_instancing")
    visibility: Visibility = field(default=Visibility(), name="KHR_node_visibility")


class Node(_Object, frozen=True):
    children: tuple[Index, ...] = ()
    mesh: Index | None = None
    skin: Index | None = None
    matrix: Annotated[tuple[float, ...], Meta(min_length=16, max_length=16)] | None = None
    translation: Vec3 = (0.0, 0.0, 0.0)
    rotation: Vec4 = (0.0, 0.0, 0.0, 1.0)
    scale: Vec3 = (1.0, 1.0, 1.0)
    weights: tuple[float, ...] = ()
    extensions: NodeExtensions = NodeExtensions()


class Scene(_Object, frozen=True):
    nodes: tuple[Index, ...] = ()


class Skin(_Object, frozen=True):
    joints: Annotated[tuple[Index, ...], Meta(min_length=1)]
    inverse_bind_matrices: Index | None = None


class Image(_Object, frozen=True):
    uri: str | None = None
    buffer_view: Index | None = None


class Sampler(_Object, frozen=True):
    wrap_s: int = 10497
    wrap_t: int = 10497


class _Source(_Object, frozen=True):
    source: Index


class _TextureExtensions(msgspec.Struct, frozen=True):
    webp: _Source | None = field(default=None, name="EXT_texture_webp")
    avif: _Source | None = field(default=None, name="EXT_texture_avif")
    dds: _Source | None = field(default=None, name="MSFT_texture_dds")
    basisu: _Source | None = field(default=None, name="KHR_texture_basisu")


class Texture(_Object, frozen=True):
    source: Index | None = None
    sampler: Index | None = None
    extensions: _TextureExtensions = _TextureExtensions()


class TextureTransform(_Object, frozen=True):
    """KHR_texture_transform. ``rotation`` in radians."""

    offset: Vec2 = (0.0, 0.0)
    rotation: float = 0.0
    scale: Vec2 = (1.0, 1.0)
    tex_coord: Index | None = None


class _TextureInfoExtensions(msgspec.Struct, frozen=True):
    transform: TextureTransform | None = field(default=None, name="KHR_texture_transform")


class TextureInfo(_Object, frozen=True):
    """A reference to a texture. ``scale``: of a normal map only."""

    index: Index
    tex_coord: Index = 0
    scale: float = 1.0
    extensions: _TextureInfoExtensions = _TextureInfoExtensions()


class MetallicRoughness(_Object, frozen=True):
    base_color_factor: Vec4 = (1.0, 1.0, 1.0, 1.0)
    base_color_texture: TextureInfo | None = None
    metallic_factor: float = 1.0
    roughness_factor: float = 1.0
    metallic_roughness_texture: TextureInfo | None = None


class SpecularGlossiness(_Object, frozen=True):
    """KHR_materials_pbrSpecularGlossiness."""

    diffuse_factor: Vec4 = (1.0, 1.0, 1.0, 1.0)
    diffuse_texture: TextureInfo | None = None
    specular_factor: Vec3 = (1.0, 1.0, 1.0)
    glossiness_factor: float = 1.0
    specular_glossiness_texture: TextureInfo | None = None


class _Unlit(_Object, frozen=True):
    pass


class _EmissiveStrength(_Object, frozen=True):
    emissive_strength: float = 1.0


class _MaterialExtensions(msgspec.Struct, frozen=True):
    unlit: _Unlit | None = field(default=None, name="KHR_materials_unlit")
    strength: _EmissiveStrength = field(
        default=_EmissiveStrength(), name="KHR_materials_emissive_strength"
    )
    specular_glossiness: SpecularGlossiness | None = field(
        default=None, name="KHR_materials_pbrSpecularGlossiness"
    )


class Material(_Object, frozen=True):
    name: str = ""
    pbr_metallic_roughness: MetallicRoughness = MetallicRoughness()
    normal_texture: TextureInfo | None = None
    emissive_texture: TextureInfo | None = None
    emissive_factor: Vec3 = (0.0, 0.0, 0.0)
    alpha_mode: str = "OPAQUE"
    alpha_cutoff: float = 0.5
    extensions: _MaterialExtensions = _MaterialExtensions()


class Document(_Object, frozen=True):
    """The whole file."""

    asset: AssetInfo
    extensions_required: tuple[str, ...] = ()
    buffers: tuple[Buffer, ...] = ()
    buffer_views: tuple[BufferView, ...] = ()
    accessors: tuple[Accessor, ...] = ()
    meshes: tuple[Mesh, ...] = ()
    nodes: tuple[Node, ...] = ()
    scenes: tuple[Scene, ...] = ()
    scene: Index | None = None
    skins: tuple[Skin, ...] = ()
    images: tuple[Image, ...] = ()
    samplers: tuple[Sampler, ...] = ()
    textures: tuple[Texture, ...] = ()
    materials: tuple[Material, ...] = ()
