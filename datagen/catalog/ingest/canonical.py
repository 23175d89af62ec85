"""Converts the meshes of a model to a canonical GLB and measures the result.

``datagen.catalog.provider`` defines what canonical means.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial

from datagen.catalog.glb import encode_glb
from datagen.catalog.ingest.decimate import decimate, face_count
from datagen.catalog.ingest.materials import Material
from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.ingest.placement import to_canonical_frame
from datagen.catalog.ingest.stands_alone import check_stands_alone
from datagen.catalog.mesh_sampling import corner_normals, look_up, points_in
from datagen.catalog.provider import MAX_TEXTURE
from datagen.catalog.shape_descriptor import shape_descriptor
from datagen.catalog.visible_area import rounded_shares, visible_area
from datagen.color import linear_to_srgb, srgb_to_linear
from datagen.scene import Mat3, Part, Vec3

# Share of an asset's area that may be see-through because of its textures.
MAX_CUT_OUT = 0.03
# Points per part at which its colour is measured.
SAMPLES = 4096


@dataclass(frozen=True)
class Canonical:
    """A canonical GLB, with the other fields as in ``Asset``, but ``shape``, the descriptor of its
    shape."""

    glb: bytes
    size: Vec3
    silhouette: float
    parts: tuple[Part, ...]
    digest: str
    color_assumed: bool
    decimated_from: int
    shape: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _PartMesh:
    """The triangles of one part in the canonical frame: ``vertices`` (V, 3), ``faces`` (F, 3),
    ``normals`` (V, 3), ``uv`` (V, 2) or None."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    uv: np.ndarray | None
    material: Material


def canonicalize(
    meshes: Sequence[MaterialMesh],
    rotation: Mat3,
    extent: Vec3 | float | None,
    units: Sequence[float],
    max_faces: int,
) -> Canonical:
    """Makes a model canonical.

    Args:
        meshes: of the model file, one material each.
        rotation: from the file's frame to glTF's (y up, front +z).
        extent: size of the model in metres along glTF's x, y, z, or its largest extent; None where
            ``units`` decide.
        units: as in ``ModelSource``.
        max_faces: a model with more triangles is decimated to this many.

    Raises:
        AssetRejected: the model cannot be used.
    """
    placed = to_canonical_frame(meshes, np.array(rotation), extent, units)
    color_assumed = any(mesh.material.assumed for mesh in placed)
    decimated_from = face_count(placed) if face_count(placed) > max_faces else 0
    placed = decimate(placed, max_faces)
    parts = _merge_equal_materials([_part_mesh(mesh) for mesh in placed])
    areas = np.array([_areas(part).sum() for part in parts])
    if not areas.sum() > 0:
        raise AssetRejected("no faces", "all faces have no area")
    order = np.argsort(-areas, kind="stable")
    parts, areas = [parts[i] for i in order], areas[order] / areas.sum()

    colors = [_sample_colors(part) for part in parts]
    cut_out = float(sum(a * (c[:, 3] < 0.5).mean() for a, c in zip(areas, colors, strict=True)))
    if cut_out > MAX_CUT_OUT:
        raise AssetRejected("cut-out texture", f"{cut_out:.0%} of the surface is see-through")
    triangles = np.concatenate([part.vertices[part.faces] for part in parts])
    check_stands_alone(triangles)

    visible = visible_area([(part.vertices, part.faces) for part in parts])
    measured = tuple(
        Part(
            name=name,
            area=round(float(visible.shares[i]), 5),
            rgb=_rounded(colors[i][:, :3].mean(axis=0)),
            spread=_spread(colors[i]),
            azimuth_areas=rounded_shares(visible.azimuth_shares[i]),
            textured=parts[i].material.image is not None,
        )
        for i, name in enumerate(_part_names(parts))
    )
    corners = np.concatenate([part.vertices for part in parts])
    right, up, front = np.ptp(corners, axis=0)
    named = zip(measured, parts, strict=True)
    return Canonical(
        glb=encode_glb({part.name: _export(part.name, mesh) for part, mesh in named}),
        size=_rounded(np.array([right, front, up])),
        silhouette=round(visible.silhouette, 6),
        parts=measured,
        digest=_digest(parts),
        color_assumed=color_assumed,
        decimated_from=decimated_from,
        shape=shape_descriptor(triangles),
    )


def _part_mesh(mesh: MaterialMesh) -> _PartMesh:
    """The mesh with normals at all vertices and its vertex colours baked into a texture."""
    faces, material = mesh.faces, mesh.material
    corners = mesh.vertices[faces]
    uv = mesh.uv[faces].reshape(-1, 2) if mesh.uv is not None else None
    if mesh.colors is not None and material.image is None:
        material, uv = _bake(mesh.colors[faces], material)
    elif material.image is not None and uv is None:
        # A texture without texture coordinates: only its mean colour can be used.
        pixel = material.image.convert("RGB").resize((1, 1)).getpixel((0, 0))
        material = replace(material, image=Image.new("RGB", (1, 1), pixel))
        uv = np.zeros((len(faces) * 3, 2))
    elif material.image is None:
        uv = None
    normals = corner_normals(corners, None if mesh.normals is None else mesh.normals[faces])
    # Faces are wound as their normals say: a renderer that turns normals towards the viewer would
    # otherwise turn them inside.
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flipped = np.einsum("fi,fi->f", face_normals, normals.sum(axis=1)) < 0
    order = np.where(flipped[:, None], [0, 2, 1], [0, 1, 2]) + 3 * np.arange(len(faces))[:, None]
    return _weld(corners.reshape(-1, 3), order, normals.reshape(-1, 3), uv, material)


def _bake(colors: np.ndarray, material: Material) -> tuple[Material, np.ndarray | None]:
    """Colours of vertices as a texture.

    Args:
        colors: (F, 3, 3), sRGB, of the three corners of each face.
        material: of the faces; its factor applies.

    Returns:
        The material with the texture, and the UVs (3F, 2) into it. Each face has 2 x 2 texels: its
        corners' colours and, so that linear interpolation between the texels is linear in the face,
        b + c - a. Where a texture of ``MAX_TEXTURE`` cannot hold them, a face has one texel, the
        mean of its corners. Of a single colour, the material's factor, and no UVs.
    """
    tinted = _tint(colors.reshape(-1, 3), material).reshape(-1, 3, 3)
    if not len(tinted) or np.ptp(tinted.reshape(-1, 3), axis=0).max() < 0.5 / 255:
        single = tinted.reshape(-1, 3)[:1] if len(tinted) else np.ones((1, 3))
        red, green, blue = srgb_to_linear(single[0]).tolist()
        return replace(material, factor=(red, green, blue)), None
    side = int(np.ceil(np.sqrt(len(tinted))))
    block = 2 if 2 * side <= MAX_TEXTURE else 1
    a, b, c = tinted.transpose(1, 0, 2)
    texels = np.zeros((side * side, block, block, 3))
    if block == 2:
        texels[: len(a)] = np.stack([np.stack([a, b], 1), np.stack([c, b + c - a], 1)], 1)
        steps = np.array([[0, 0], [0, 1], [1, 0]])  # row and column of the texels of a, b, c
    else:
        texels[: len(a), 0, 0] = tinted.mean(axis=1)
        steps = np.zeros((3, 2), int)
    pixels = texels.reshape(side, side, block, block, 3).swapaxes(1, 2)
    pixels = pixels.reshape(side * block, side * block, 3)
    image = Image.fromarray(np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8))
    corner = np.column_stack(np.divmod(np.arange(len(a)), side))[:, None] * block + steps + 0.5
    row, column = corner.reshape(-1, 2).T / (side * block)
    return replace(material, image=image, factor=(1.0, 1.0, 1.0)), np.column_stack(
        [column, 1 - row]
    )


def _weld(
    vertices: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    uv: np.ndarray | None,
    material: Material,
) -> _PartMesh:
    """Merges corners that have the same position, normal and texture coordinates."""
    columns = [vertices, normals] if uv is None else [vertices, normals, uv]
    rows = np.round(np.column_stack(columns), 6) + 0.0
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    return _PartMesh(
        vertices=unique[:, :3],
        faces=inverse.ravel()[faces],
        normals=unique[:, 3:6],
        uv=None if uv is None else unique[:, 6:],
        material=material,
    )


def _merge_equal_materials(meshes: Sequence[_PartMesh]) -> list[_PartMesh]:
    """One mesh per distinct material, whatever its name."""
    groups: dict[tuple[object, ...], list[_PartMesh]] = {}
    for mesh in meshes:
        material = mesh.material
        key = (
            tuple(image and (image.size, _pixels_digest(image)) for image in _images(material)),
            material.factor,
            material.roughness,
            material.metallic,
            material.emission_factor,
        )
        groups.setdefault(key, []).append(mesh)
    return [_join(group) for group in groups.values() if any(len(mesh.faces) for mesh in group)]


def _join(group: Sequence[_PartMesh]) -> _PartMesh:
    """Several meshes of one material as one, its texture no larger than ``MAX_TEXTURE``."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in group])
    uvs = [mesh.uv for mesh in group if mesh.uv is not None]
    material = group[0].material
    return _PartMesh(
        vertices=np.concatenate([mesh.vertices for mesh in group]),
        faces=np.concatenate([m.faces + start for m, start in zip(group, starts, strict=False)]),
        normals=np.concatenate([mesh.normals for mesh in group]),
        uv=np.concatenate(uvs) if uvs else None,
        material=replace(
            material,
            image=_shrink(material.image),
            normal=_shrink(material.normal),
            metallic_roughness=_shrink(material.metallic_roughness),
            emission=_shrink(material.emission),
        ),
    )


def _images(material: Material) -> tuple[Image.Image | None, ...]:
    return (material.image, material.normal, material.metallic_roughness, material.emission)


def _shrink(image: Image.Image | None) -> Image.Image | None:
    if image is None or max(image.size) <= MAX_TEXTURE:
        return image
    small = image.copy()
    small.thumbnail((MAX_TEXTURE, MAX_TEXTURE), Image.Resampling.LANCZOS)
    return small


def _areas(mesh: _PartMesh) -> np.ndarray:
    """Areas (F,) of the faces in square metres."""
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


def _sample_colors(mesh: _PartMesh) -> np.ndarray:
    """Colours (SAMPLES, 4), sRGB and alpha, evenly spread over the surface, without randomness; one
    row where the mesh has no texture. With the light that the surface sends out."""
    material = mesh.material
    emission = np.array(material.emission_factor)
    if material.image is None:
        return np.append(linear_to_srgb(np.clip(material.factor + emission, 0, 1)), 1.0)[None]
    assert mesh.uv is not None
    cumulative = np.cumsum(_areas(mesh))
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    face = np.searchsorted(cumulative, steps * cumulative[-1])
    points = points_in(mesh.uv[mesh.faces[face]])
    rgba = look_up(material.image, points)
    light = srgb_to_linear(rgba[:, :3]) * np.array(material.factor)
    if material.emission is not None:
        emission = emission * srgb_to_linear(look_up(material.emission, points)[:, :3])
    return np.column_stack([linear_to_srgb(np.clip(light + emission, 0, 1)), rgba[:, 3]])


def _tint(colors: np.ndarray, material: Material) -> np.ndarray:
    """sRGB colours (N, 3) times the material's linear factor, in sRGB."""
    return linear_to_srgb(srgb_to_linear(colors) * np.array(material.factor))


def _part_names(meshes: Sequence[_PartMesh]) -> list[str]:
    """The names of the materials, made unique and short enough for Blender (63 bytes)."""
    names: list[str] = []
    for mesh in meshes:
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", mesh.material.name)[:40] or "material"
        name, number = stem, 2
        while name in names:
            name, number = f"{stem}-{number}", number + 1
        names.append(name)
    return names


def _export(name: str, mesh: _PartMesh) -> trimesh.Trimesh:
    """The mesh as trimesh writes it, with a PBR material of this name."""
    image = None if mesh.material.image is None else mesh.material.image.convert("RGB")
    factor = np.append(np.round(np.array(mesh.material.factor) * 255), 255).astype(np.uint8)
    # A factor above 1, of a bright lamp, is beyond glTF's core; Blender takes it as it is.
    emission = mesh.material.emission_factor if any(mesh.material.emission_factor) else None
    material = PBRMaterial(
        name=name,
        baseColorFactor=factor,
        baseColorTexture=image,
        roughnessFactor=mesh.material.roughness,
        metallicFactor=mesh.material.metallic,
        metallicRoughnessTexture=mesh.material.metallic_roughness,
        normalTexture=mesh.material.normal,
        emissiveFactor=emission,
        emissiveTexture=mesh.material.emission,
        doubleSided=True,
    )
    visual = trimesh.visual.TextureVisuals(uv=mesh.uv, material=material)
    return trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=mesh.normals,
        visual=visual,
        process=False,
    )


def _digest(meshes: Sequence[_PartMesh]) -> str:
    """Identifies the content, not its encoding: another release of an encoder must not change the
    digest."""
    digest = hashlib.sha256()
    for mesh in meshes:
        material = mesh.material
        digest.update(np.round(mesh.vertices[mesh.faces], 5).astype(np.float32).tobytes())
        if mesh.uv is not None:
            digest.update(np.round(mesh.uv[mesh.faces], 4).astype(np.float32).tobytes())
        digest.update(repr((material.factor, material.roughness, material.metallic)).encode())
        if any(material.emission_factor):
            digest.update(repr(material.emission_factor).encode())
        for image in _images(material):
            if image is not None:
                digest.update(_pixels_digest(image))
    return digest.hexdigest()[:32]


def _pixels_digest(image: Image.Image) -> bytes:
    return hashlib.sha256(image.mode.encode() + image.tobytes()).digest()


def _spread(colors: np.ndarray) -> float:
    """Standard deviation of sRGB colours (N, 3 or more)."""
    return round(float(np.sqrt(colors[:, :3].var(axis=0).mean())), 5)


def _rounded(vector: np.ndarray) -> Vec3:
    x, y, z = np.round(vector, 5).tolist()
    return (x, y, z)
