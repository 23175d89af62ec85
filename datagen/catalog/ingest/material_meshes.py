"""Model files to surfaces: triangles and how they look, one of each material.

trimesh parses; here its five ways of saying what a surface looks like become one, all in the
terms of glTF: sRGB texture times linear factor, roughness, metallic. Everything is opaque in
the end (masks and depth come from a ray caster that knows no transparency), so opacity is
kept only to tell what would have been seen through.
"""

from __future__ import annotations

import io
import json
import posixpath
import struct
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.color import ColorVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial
from trimesh.visual.texture import TextureVisuals

from datagen.catalog.ingest.model_files import AssetRejected, Library, locate
from datagen.catalog.ingest.polygons import cut_concave
from datagen.color import linear_to_srgb, srgb_to_linear

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tga", ".tif", ".tiff", ".gif", ".webp")
# glTF extensions that change geometry or base colour and that trimesh does not apply.
UNSUPPORTED = frozenset(
    {
        "EXT_meshopt_compression",
        "KHR_draco_mesh_compression",
        "KHR_mesh_quantization",
        "KHR_texture_basisu",
        "KHR_texture_transform",
    }
)


@dataclass(frozen=True, eq=False)
class Material:
    """``image``: RGB or RGBA sRGB; its alpha counts only where the file says so. ``factor``:
    linear RGB. ``opacity`` 0..1."""

    name: str
    image: Image.Image | None
    factor: tuple[float, float, float]
    opacity: float
    roughness: float
    metallic: float


@dataclass(frozen=True, eq=False)
class MaterialMesh:
    """``vertices`` (V, 3), ``faces`` (F, 3), ``normals`` (V, 3) or None, ``uv`` (V, 2) with v
    up or None, ``colors`` (V, 3) sRGB 0..1 or None, in the file's own frame and unit."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None
    uv: np.ndarray | None
    colors: np.ndarray | None
    look: Material


class Resolver(trimesh.resolvers.Resolver):
    """Serves trimesh the files that a model names, from its library only.

    trimesh swallows what a resolver raises and goes on without the file; ``problem`` keeps
    the first one. ``used``: every name asked for, also of files that are not there.
    """

    def __init__(self, library: Library, folder: str, limit: int) -> None:
        self._library = library
        self._folder = folder
        self._limit = limit
        self.problem: AssetRejected | None = None
        self.used: set[str] = set()

    def get(self, name: str) -> bytes:
        try:
            return self._get(name)
        except AssetRejected as problem:
            self.problem = self.problem or problem
            raise

    def _get(self, reference: str) -> bytes:
        name = locate(self._folder, urllib.parse.unquote(reference))
        stored = self._library.find(name)
        self.used.add(stored or name)
        is_image = name.lower().endswith(IMAGES)
        if stored is None:
            raise AssetRejected("missing texture" if is_image else "missing file", name)
        data = self._library.read(stored, self._limit)
        if is_image:
            _open_image(data, name)
        return data

    def keys(self) -> list[str]:
        return []

    def namespaced(self, namespace: str) -> Resolver:
        return self

    def write(self, name: str, data: str | bytes) -> None:
        raise NotImplementedError("a model library is read only")


def read_surfaces(
    library: Library, file: str, resolver: Resolver, *, max_faces: int, max_bytes: int
) -> list[MaterialMesh]:
    """The surfaces of a model file (glb, gltf, obj, ply or stl); files that it names come
    through ``resolver``. Raises ``AssetRejected``, and what a parser raises."""
    suffix = posixpath.splitext(file)[1][1:].lower()
    data = library.read(file, max_bytes)
    is_gltf = suffix in ("glb", "gltf")
    if is_gltf:
        _check_gltf(data)
    elif suffix == "obj":
        data = cut_concave(data)
    scene = trimesh.load_scene(io.BytesIO(data), file_type=suffix, resolver=resolver, process=False)
    if resolver.problem:
        raise resolver.problem
    meshes: list[tuple[np.ndarray, trimesh.Trimesh]] = []
    for node in sorted(scene.graph.nodes_geometry):
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
            meshes.append((np.asarray(transform), mesh))
    # Counted before they are copied: a node costs a few bytes and repeats a whole mesh.
    faces = sum(len(mesh.faces) for _, mesh in meshes)
    if faces == 0:
        raise AssetRejected("no faces", f"{len(scene.geometry)} geometries, none with a face")
    if faces > max_faces:
        raise AssetRejected("too many faces", f"{faces}, limit {max_faces}")
    return [_surface(mesh, transform, is_gltf=is_gltf) for transform, mesh in meshes]


def _surface(mesh: trimesh.Trimesh, transform: np.ndarray, *, is_gltf: bool) -> MaterialMesh:
    turn = transform[:3, :3]
    faces = np.asarray(mesh.faces)
    vertices = np.asarray(mesh.vertices) @ turn.T + transform[:3, 3]
    normals = None
    if "vertex_normals" in mesh._cache.cache:  # as read; trimesh would make them up otherwise
        normals = np.asarray(mesh.vertex_normals) @ np.linalg.pinv(turn)
    if np.linalg.det(turn) < 0:
        faces = faces[:, ::-1]
    uv = getattr(mesh.visual, "uv", None)
    if uv is not None and (len(uv) != len(vertices) or not np.isfinite(uv).all()):
        uv = None
    return MaterialMesh(
        vertices=vertices,
        faces=faces,
        normals=normals,
        uv=None if uv is None else np.asarray(uv, float)[:, :2],
        colors=_vertex_colors(mesh, is_gltf),
        look=_look(mesh),
    )


def _vertex_colors(mesh: trimesh.Trimesh, is_linear: bool) -> np.ndarray | None:
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


def _look(mesh: trimesh.Trimesh) -> Material:
    material = getattr(mesh.visual, "material", None)
    if isinstance(material, PBRMaterial):
        return _pbr(material)
    if isinstance(material, SimpleMaterial):
        return _phong(material)
    plain = float(srgb_to_linear(np.array(0.8)))
    color = 1.0 if _vertex_colors(mesh, False) is not None else plain
    return Material("surface", None, (color, color, color), 1.0, 0.6, 0.0)


def _pbr(material: PBRMaterial) -> Material:
    red, green, blue, alpha = (
        np.asarray(trimesh.visual.color.to_float(material.baseColorFactor)).tolist()
        if material.baseColorFactor is not None
        else (1.0, 1.0, 1.0, 1.0)
    )
    roughness = 1.0 if material.roughnessFactor is None else material.roughnessFactor
    metallic = 1.0 if material.metallicFactor is None else material.metallicFactor
    if material.metallicRoughnessTexture is not None:
        shine = np.asarray(material.metallicRoughnessTexture.convert("RGB"), float) / 255
        roughness *= float(shine[..., 1].mean())
        metallic *= float(shine[..., 2].mean())
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


def _phong(material: SimpleMaterial) -> Material:
    """An MTL material. Its colours are what was seen on screen, so sRGB. A texture replaces
    Kd, as in most programs: exporters leave anything there, black included. Roughness from
    the exponent as Blender's own importer has it."""
    facts: dict[str, Any] = {key.lower(): value for key, value in material.kwargs.items()}
    image = None if material.image is None else _with_alpha(material.image)
    if "map_d" in facts and (image is None or image.mode != "RGBA"):
        # Else it names the texture itself, for its alpha.
        raise AssetRejected("cut-out texture", f"{material.name}: map_d {' '.join(facts['map_d'])}")
    diffuse = np.asarray(material.diffuse, float)[:3] / 255
    factor = srgb_to_linear(diffuse) if image is None else np.ones(3)
    exponent = float(np.clip(np.nan_to_num(_number(material.glossiness, 0.0)), 0, 1000))
    shiny = exponent > 0 and np.any(np.asarray(material.specular, float)[:3] > 0)
    roughness = 1 - np.sqrt(exponent / 1000) if shiny else 1.0
    return Material(
        name=material.name or "material",
        image=image,
        factor=(float(factor[0]), float(factor[1]), float(factor[2])),
        opacity=float(np.clip(_number(facts.get("d"), 1.0), 0, 1)),
        roughness=float(np.clip(roughness, 0.15, 0.9)),
        metallic=0.0,
    )


def _number(value: Any, default: float) -> float:
    """The last of an MTL line's words ("d -halo 0.5"), or a number trimesh has read."""
    try:
        return float(value[-1] if isinstance(value, list) else value)
    except (TypeError, ValueError, IndexError):
        return default


def _with_alpha(image: Image.Image) -> Image.Image:
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def _open_image(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except Exception as error:  # PIL's plugins raise what they like at bytes they do not know
        raise AssetRejected("unreadable texture", f"{name}: {error}") from None


def _check_gltf(data: bytes) -> None:
    """Refuse what trimesh would read wrongly or in silence go without."""
    binary = 0
    if data[:4] == b"glTF":
        binary = 20 + struct.unpack_from("<I", data, 12)[0]
        header = json.loads(data[20:binary])
    else:
        header = json.loads(data)
    unsupported = UNSUPPORTED.intersection(header.get("extensionsUsed", ()))
    if unsupported:
        raise AssetRejected("unsupported extension", ", ".join(sorted(unsupported)))
    for view in _embedded_images(header):
        start = binary + 8 + view.get("byteOffset", 0)
        _open_image(data[start : start + view["byteLength"]], "embedded image")


def _embedded_images(header: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for image in header.get("images", ()):
        if "bufferView" in image:
            view = header["bufferViews"][image["bufferView"]]
            if "uri" not in header["buffers"][view["buffer"]]:
                yield view
