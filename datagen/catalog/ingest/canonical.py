"""Surfaces to a canonical GLB (the convention is in base.py), and what was measured of it."""

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
from datagen.catalog.ingest.material_meshes import Material, MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.mesh_sampling import corner_normals, look_up, points_in
from datagen.catalog.provider import MAX_TEXTURE
from datagen.catalog.visible_area import visible_area
from datagen.color import linear_to_srgb, srgb_to_linear
from datagen.scene import Mat3, Part, Vec3

# Metres. Outside of these a thing cannot share a picture with others.
SMALLEST, LARGEST = 0.03, 6.0
THINNEST = 0.001
# Largest extent of a model whose unit is plainly not the metre.
DEFAULT_EXTENT = 0.5
# Below this opacity a surface is a helper that nobody was meant to see.
INVISIBLE = 0.05
# Share of an asset's area that may lie where a texture is see-through.
CUT_OUT = 0.03
SAMPLES = 4096


@dataclass(frozen=True)
class Canonical:
    """``size``, ``silhouette``, ``parts`` and ``digest`` as ``Asset`` has them."""

    glb: bytes
    size: Vec3
    silhouette: float
    parts: tuple[Part, ...]
    digest: str


@dataclass(frozen=True, eq=False)
class _Mesh:
    """One part to be: triangles with a normal a vertex, all in canonical place."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    uv: np.ndarray | None
    look: Material


def canonicalize(
    surfaces: Sequence[MaterialMesh], rotation: Mat3, extent: Vec3 | float | None
) -> Canonical:
    """``rotation`` takes the file's frame to glTF's (y up, front +z). ``extent``: what the
    model measures in metres, along glTF's x, y, z, or the largest of them; None: the file's
    unit is the metre, or unknown. Raises ``AssetRejected``."""
    placed = _place(surfaces, np.array(rotation), extent)
    meshes = _group([_shade(surface) for surface in placed])
    areas = np.array([_areas(mesh).sum() for mesh in meshes])
    if not areas.sum() > 0:
        raise AssetRejected("no faces", "all faces have no area")
    order = np.argsort(-areas, kind="stable")
    meshes, areas = [meshes[i] for i in order], areas[order] / areas.sum()

    colors = [_sample(mesh) for mesh in meshes]
    holes = float(sum(a * (c[:, 3] < 0.5).mean() for a, c in zip(areas, colors, strict=True)))
    if holes > CUT_OUT:
        raise AssetRejected("cut-out texture", f"{holes:.0%} of the surface is see-through")

    seen = visible_area([(mesh.vertices, mesh.faces) for mesh in meshes])
    parts = tuple(
        Part(name, round(float(share), 5), _rounded(rgba[:, :3].mean(axis=0)), _spread(rgba))
        for name, share, rgba in zip(_names(meshes), seen.shares, colors, strict=True)
    )
    corners = np.concatenate([mesh.vertices for mesh in meshes])
    right, up, front = np.ptp(corners, axis=0)
    named = zip(parts, meshes, strict=True)
    return Canonical(
        glb=encode_glb({part.name: _export(part.name, mesh) for part, mesh in named}),
        size=_rounded(np.array([right, front, up])),
        silhouette=round(seen.silhouette, 6),
        parts=parts,
        digest=_digest(meshes),
    )


def _place(
    surfaces: Sequence[MaterialMesh], rotation: np.ndarray, extent: Vec3 | float | None
) -> list[MaterialMesh]:
    """Turned, scaled to metres, rid of what nobody can see, stood on the origin."""
    # Vertices that no face uses count not. Faces that nobody sees (shadows painted on the
    # floor) do: the library's measures are of the whole file.
    corners = _corners(surfaces) @ rotation.T
    if not np.isfinite(corners).all():
        raise AssetRejected(
            "NaN vertices", f"{int((~np.isfinite(corners)).any(axis=1).sum())} corners"
        )
    scale = _scale(np.ptp(corners, axis=0), extent)
    turned = [
        replace(
            surface,
            vertices=surface.vertices @ rotation.T * scale,
            faces=surface.faces[_visible(surface)],
            normals=None if surface.normals is None else surface.normals @ rotation.T / scale,
        )
        for surface in surfaces
    ]
    seen = _once([surface for surface in turned if len(surface.faces)])
    if not seen:
        raise AssetRejected("no faces", "every face is transparent or has no area")
    corners = _corners(seen)
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = high - low
    measures = " x ".join(f"{edge:.4g}" for edge in size) + " m"
    if size.max() < SMALLEST:
        raise AssetRejected("too small", measures)
    if size.max() > LARGEST:
        raise AssetRejected("too large", measures)
    if size.min() < THINNEST:
        raise AssetRejected("flat", measures)
    foot = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return [replace(surface, vertices=surface.vertices - foot) for surface in seen]


def _once(surfaces: Sequence[MaterialMesh]) -> list[MaterialMesh]:
    """Without the faces that lie on another one, as where each side has a face of its own:
    a ray tracer flickers between the two."""
    if not surfaces:
        return []
    _, ids = np.unique(np.round(_corners(surfaces), 5), axis=0, return_inverse=True)
    _, first = np.unique(np.sort(ids.reshape(-1, 3), axis=1), axis=0, return_index=True)
    kept = np.zeros(len(ids.ravel()) // 3, bool)
    kept[first] = True
    parts = np.split(kept, np.cumsum([len(surface.faces) for surface in surfaces])[:-1])
    each = [replace(s, faces=s.faces[part]) for s, part in zip(surfaces, parts, strict=True)]
    return [surface for surface in each if len(surface.faces)]


def _corners(surfaces: Sequence[MaterialMesh]) -> np.ndarray:
    """Where the faces' corners are, (N, 3)."""
    return np.concatenate([s.vertices[s.faces].reshape(-1, 3) for s in surfaces])


def _visible(surface: MaterialMesh) -> np.ndarray:
    """(F,) bool: faces that have an area and somewhere let less than half of the light through."""
    a, b, c = surface.vertices[surface.faces].transpose(1, 0, 2)
    edges = np.linalg.norm(b - a, axis=1) * np.linalg.norm(c - a, axis=1)
    visible = np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-9 * np.maximum(edges, 1e-300)
    image = surface.look.image
    if surface.look.opacity < INVISIBLE:
        visible[:] = False
    elif image is not None and image.mode == "RGBA" and surface.uv is not None:
        count = 32
        face = np.repeat(np.arange(len(surface.faces)), count)
        alpha = look_up(image, points_in(surface.uv[surface.faces[face]]))[:, 3]
        visible = visible & (alpha.reshape(-1, count).max(axis=1) >= 0.5)
    return np.asarray(visible)


def _scale(raw: np.ndarray, extent: Vec3 | float | None) -> np.ndarray:
    if isinstance(extent, tuple):
        if raw.min() <= 1e-9 * raw.max():
            raise AssetRejected("flat", " x ".join(f"{edge:.4g}" for edge in raw))
        return np.asarray(np.array(extent) / raw)
    largest = float(raw.max())
    if largest <= 0:
        raise AssetRejected("flat", "all vertices coincide")
    if extent is None:
        extent = largest if SMALLEST <= largest <= LARGEST else DEFAULT_EXTENT
    return np.full(3, extent / largest)


def _shade(surface: MaterialMesh) -> _Mesh:
    """Normals everywhere, vertex colours baked into a texture."""
    faces = surface.faces
    corners = surface.vertices[faces]
    uv = surface.uv[faces].reshape(-1, 2) if surface.uv is not None else None
    look = surface.look
    if surface.colors is not None and look.image is None:
        look, uv = _bake(surface.colors[faces].mean(axis=1), look)
    elif look.image is not None and uv is None:
        # A texture with nowhere to go: its mean colour is what is left of it.
        mean = Image.new("RGB", (1, 1), look.image.convert("RGB").resize((1, 1)).getpixel((0, 0)))
        look, uv = replace(look, image=mean), np.zeros((len(faces) * 3, 2))
    elif look.image is None:
        uv = None
    normals = corner_normals(corners, None if surface.normals is None else surface.normals[faces])
    # Where the two disagree, a renderer that turns normals to the viewer turns them inside.
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flipped = np.einsum("fi,fi->f", flat, normals.sum(axis=1)) < 0
    order = np.where(flipped[:, None], [0, 2, 1], [0, 1, 2]) + 3 * np.arange(len(faces))[:, None]
    return _weld(corners.reshape(-1, 3), order, normals.reshape(-1, 3), uv, look)


def _bake(colors: np.ndarray, look: Material) -> tuple[Material, np.ndarray]:
    """One pixel a face: (F, 3) sRGB colours to a texture and the (3F, 2) UVs into it."""
    side = int(np.ceil(np.sqrt(max(len(colors), 1))))
    pixels = np.zeros((side * side, 3), np.uint8)
    pixels[: len(colors)] = np.round(255 * _tint(colors, look))
    row, column = np.divmod(np.arange(len(colors)), side)
    uv = np.column_stack([(column + 0.5) / side, 1 - (row + 0.5) / side])
    image = Image.fromarray(pixels.reshape(side, side, 3))
    return replace(look, image=image, factor=(1.0, 1.0, 1.0)), np.repeat(uv, 3, axis=0)


def _weld(
    vertices: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    uv: np.ndarray | None,
    look: Material,
) -> _Mesh:
    """Corners that are alike in everything become one vertex."""
    columns = [vertices, normals] if uv is None else [vertices, normals, uv]
    rows = np.round(np.column_stack(columns), 6) + 0.0
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    return _Mesh(
        vertices=unique[:, :3],
        faces=inverse.ravel()[faces],
        normals=unique[:, 3:6],
        uv=None if uv is None else unique[:, 6:],
        look=look,
    )


def _group(meshes: Sequence[_Mesh]) -> list[_Mesh]:
    """One mesh for each way to look."""
    groups: dict[tuple[object, ...], list[_Mesh]] = {}
    for mesh in meshes:
        look = mesh.look
        texture = None if look.image is None else (look.image.size, _pixels_digest(look.image))
        key = (texture, look.factor, look.roughness, look.metallic)
        groups.setdefault(key, []).append(mesh)
    return [_join(group) for group in groups.values() if any(len(mesh.faces) for mesh in group)]


def _join(group: Sequence[_Mesh]) -> _Mesh:
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in group])
    uvs = [mesh.uv for mesh in group if mesh.uv is not None]
    return _Mesh(
        vertices=np.concatenate([mesh.vertices for mesh in group]),
        faces=np.concatenate([m.faces + start for m, start in zip(group, starts, strict=False)]),
        normals=np.concatenate([mesh.normals for mesh in group]),
        uv=np.concatenate(uvs) if uvs else None,
        look=replace(group[0].look, image=_shrink(group[0].look.image)),
    )


def _shrink(image: Image.Image | None) -> Image.Image | None:
    if image is None or max(image.size) <= MAX_TEXTURE:
        return image
    small = image.copy()
    small.thumbnail((MAX_TEXTURE, MAX_TEXTURE), Image.Resampling.LANCZOS)
    return small


def _areas(mesh: _Mesh) -> np.ndarray:
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


def _sample(mesh: _Mesh) -> np.ndarray:
    """Colours (SAMPLES, 4), sRGB and alpha, evenly spread over the surface; no randomness."""
    if mesh.look.image is None:
        return np.append(linear_to_srgb(np.array(mesh.look.factor)), 1.0)[None]
    assert mesh.uv is not None
    cumulative = np.cumsum(_areas(mesh))
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    face = np.searchsorted(cumulative, steps * cumulative[-1])
    rgba = look_up(mesh.look.image, points_in(mesh.uv[mesh.faces[face]]))
    return np.column_stack([_tint(rgba[:, :3], mesh.look), rgba[:, 3]])


def _tint(colors: np.ndarray, look: Material) -> np.ndarray:
    """sRGB colours (N, 3) times the look's linear factor, sRGB."""
    return linear_to_srgb(srgb_to_linear(colors) * np.array(look.factor))


def _names(meshes: Sequence[_Mesh]) -> list[str]:
    """Material names, made unique and short enough for Blender (63 bytes)."""
    names: list[str] = []
    for mesh in meshes:
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", mesh.look.name)[:40] or "material"
        name, number = stem, 2
        while name in names:
            name, number = f"{stem}-{number}", number + 1
        names.append(name)
    return names


def _export(name: str, mesh: _Mesh) -> trimesh.Trimesh:
    look = mesh.look
    image = None if look.image is None else look.image.convert("RGB")
    material = PBRMaterial(
        name=name,
        baseColorFactor=np.append(np.round(np.array(look.factor) * 255), 255).astype(np.uint8),
        baseColorTexture=image,
        roughnessFactor=look.roughness,
        metallicFactor=look.metallic,
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


def _digest(meshes: Sequence[_Mesh]) -> str:
    """Of the content, not of its encoding: another release of a library must not rename it."""
    digest = hashlib.sha256()
    for mesh in meshes:
        look = mesh.look
        digest.update(np.round(mesh.vertices[mesh.faces], 5).astype(np.float32).tobytes())
        if mesh.uv is not None:
            digest.update(np.round(mesh.uv[mesh.faces], 4).astype(np.float32).tobytes())
        digest.update(repr((look.factor, look.roughness, look.metallic)).encode())
        if look.image is not None:
            digest.update(_pixels_digest(look.image))
    return digest.hexdigest()[:32]


def _pixels_digest(image: Image.Image) -> bytes:
    return hashlib.sha256(image.mode.encode() + image.tobytes()).digest()


def _spread(colors: np.ndarray) -> float:
    return round(float(np.sqrt(colors[:, :3].var(axis=0).mean())), 5)


def _rounded(vector: np.ndarray) -> Vec3:
    x, y, z = np.round(vector, 5).tolist()
    return (x, y, z)
