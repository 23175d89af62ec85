"""Textures as glTF places them: by a set of texture coordinates, a transform and wrap modes.

A canonical mesh has one set of texture coordinates, over which every texture repeats. ``unify``
brings a primitive to that form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from datagen.catalog.ingest.atlas import TextureAtlas, make_atlas
from datagen.catalog.ingest.gltf.document import item
from datagen.catalog.ingest.gltf.images import Images
from datagen.catalog.ingest.gltf.schema import Document, Sampler, TextureInfo, TextureTransform
from datagen.catalog.ingest.gltf.triangles import Triangles
from datagen.catalog.provider import MAX_TEXTURE
from datagen.color import linear_to_srgb, srgb_to_linear

CLAMP, MIRROR, REPEAT = 33071, 33648, 10497
# Texture coordinates that lie outside 0 to 1 by less than this do so by rounding.
_EDGE = 1e-3
# A clamped texture is drawn out over at most this many times its size.
_FARTHEST = 64.0


@dataclass(frozen=True, eq=False)
class Layer:
    """``image``: RGB or RGBA. ``coordinates``: number of its set of texture coordinates.
    ``transform``: of the coordinates. ``wrap``: modes along u and v."""

    image: Image.Image
    coordinates: int
    transform: TextureTransform
    wrap: tuple[int, int]


@dataclass(frozen=True, eq=False)
class UnifiedLayers:
    """Triangles (their "POSITION" and "NORMAL" only), ``uv`` (V, 2) with v upward, and the images
    by name, which repeat over ``uv``."""

    triangles: Triangles
    uv: np.ndarray
    images: dict[str, Image.Image]


def read_layer(info: TextureInfo, document: Document, images: Images) -> Layer:
    """The layer that a material refers to. Raises ``AssetRejected``."""
    image = images.texture(info.index)
    sampler_index = item(document.textures, info.index, "textures").sampler
    sampler = Sampler()
    if sampler_index is not None:
        sampler = item(document.samplers, sampler_index, "samplers")
    transform = info.extensions.transform or TextureTransform()
    coordinates = info.tex_coord if transform.tex_coord is None else transform.tex_coord
    return Layer(image, coordinates, transform, (sampler.wrap_s, sampler.wrap_t))


def unify(
    layers: Mapping[str, Layer], triangles: Triangles, colors: np.ndarray | None, area: int
) -> UnifiedLayers:
    """The layers over one set of texture coordinates. Of a layer whose own are missing in the file,
    only the mean is used, and of a normal map nothing.

    Args:
        layers: by name; at least one. "normal" is a normal map, the others are colours or numbers.
        triangles: with the texture coordinates of the layers.
        colors: linear colours of the vertices (V, 3 or 4), by which "base" is multiplied, or None.
        area: most texels of an image that has to be drawn anew.
    """
    placed = {}
    for name, layer in layers.items():
        uv = triangles.attributes.get(f"TEXCOORD_{layer.coordinates}")
        if uv is not None and np.isfinite(uv).all():
            placed[name] = _unrolled(layer, _transformed(uv, layer.transform), triangles.faces)
        elif name != "normal":
            nowhere = np.zeros((len(triangles.attributes["POSITION"]), 2))
            placed[name] = (_mean(layer.image), nowhere)
    first = next(iter(placed.values()))[1]
    same = all(np.allclose(uv, first, atol=1e-6) for _, uv in placed.values())
    if same and colors is None:
        images = {name: image for name, (image, _) in placed.items()}
        return UnifiedLayers(triangles, _flipped(first), images)
    return _baked(placed, triangles, colors, area)


def _mean(image: Image.Image) -> Image.Image:
    """One pixel, the mean of all."""
    return _image((np.asarray(image) / 255.0).mean(axis=(0, 1))[None, None])


def _transformed(uv: np.ndarray, transform: TextureTransform) -> np.ndarray:
    """Texture coordinates (V, 2) after KHR_texture_transform."""
    sine, cosine = np.sin(transform.rotation), np.cos(transform.rotation)
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    return (uv * transform.scale) @ rotation.T + transform.offset


def _flipped(uv: np.ndarray) -> np.ndarray:
    """Between glTF's coordinates (v downward) and ours (v upward)."""
    return np.column_stack([uv[:, 0], 1 - uv[:, 1]])


def _unrolled(layer: Layer, uv: np.ndarray, faces: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """The image and texture coordinates of a layer, changed so that repeating the image gives what
    its wrap modes say."""
    low, high = np.zeros(2), np.ones(2)
    used = uv[np.unique(faces)]
    for axis, mode in enumerate(layer.wrap):
        least, most = used[:, axis].min(initial=0.0), used[:, axis].max(initial=1.0)
        if mode == REPEAT or (least >= -_EDGE and most <= 1 + _EDGE):
            continue
        if mode == MIRROR:
            high[axis] = 2.0
        elif mode == CLAMP:
            low[axis], high[axis] = max(least, -_FARTHEST), min(most, 1 + _FARTHEST)
            uv = uv.copy()
            uv[:, axis] = np.clip(uv[:, axis], low[axis], high[axis])
            # The outermost texels, between which a renderer interpolates across the border.
            margin = (high[axis] - low[axis]) / MAX_TEXTURE
            low[axis] -= margin
            high[axis] += margin
    span = high - low
    if np.array_equal(span, [1.0, 1.0]):
        return layer.image, uv
    size = np.clip(np.ceil(np.array(layer.image.size) * span), 1, MAX_TEXTURE).astype(int)
    u, v = [low[axis] + (np.arange(size[axis]) + 0.5) / size[axis] * span[axis] for axis in (0, 1)]
    grid = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    values = _sample(layer.image, grid, layer.wrap).reshape(size[1], size[0], -1)
    return _image(values), (uv - low) / span


def _sample(image: Image.Image, uv: np.ndarray, wrap: tuple[int, int]) -> np.ndarray:
    """Values (N, channels), 0 to 1, of an image at texture coordinates (N, 2) with v downward,
    interpolated between texels."""
    pixels = np.asarray(image) / 255.0
    size = np.array(image.size)
    position = uv * size - 0.5
    corner = np.floor(position)
    fraction = position - corner
    total = np.zeros((len(uv), pixels.shape[2]))
    for step in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = [
            _wrapped(corner[:, axis] + step[axis], int(size[axis]), wrap[axis]) for axis in (0, 1)
        ]
        weight = np.where(step, fraction, 1 - fraction).prod(axis=1)
        total += weight[:, None] * pixels[row, column]
    return total


def _wrapped(texel: np.ndarray, size: int, mode: int) -> np.ndarray:
    """Indices of texels, 0 to size - 1."""
    if mode == CLAMP:
        inside = np.clip(texel, 0, size - 1)
    elif mode == MIRROR:
        inside = np.mod(texel, 2 * size)
        inside = np.minimum(inside, 2 * size - 1 - inside)
    else:
        inside = np.mod(texel, size)
    return inside.astype(int)


def _image(values: np.ndarray) -> Image.Image:
    """An image from values (H, W, 3 or 4) between 0 and 1."""
    return Image.fromarray(np.round(np.clip(values, 0, 1) * 255).astype(np.uint8))


def _baked(
    placed: Mapping[str, tuple[Image.Image, np.ndarray]],
    triangles: Triangles,
    colors: np.ndarray | None,
    area: int,
) -> UnifiedLayers:
    """The layers, drawn anew into an atlas in which each triangle has texels of its own."""
    faces = triangles.faces
    texels = np.zeros(len(faces))
    for image, uv in placed.values():
        corners = uv[faces] * image.size
        edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
        texels = np.maximum(texels, edges.max(axis=1))
    atlas = make_atlas(texels, area)
    images = {}
    for name, (image, uv) in placed.items():
        values = _sample(image, atlas.interpolate(uv[faces]), (REPEAT, REPEAT))
        if name == "base" and colors is not None:
            values = _multiplied(values, np.clip(atlas.interpolate(colors[faces]), 0, 1))
        if name == "normal":
            turn = _turns(triangles, _flipped(uv)[faces], atlas)[atlas.faces]
            values[:, :2] = np.einsum("nij,nj->ni", turn, values[:, :2] * 2 - 1) / 2 + 0.5
        images[name] = _image(atlas.draw(values))
    corners_only = Triangles(
        np.arange(len(faces) * 3).reshape(-1, 3),
        {
            name: triangles.attributes[name][faces].reshape(-1, 3)
            for name in ("POSITION", "NORMAL")
            if name in triangles.attributes
        },
    )
    return UnifiedLayers(corners_only, atlas.uv.reshape(-1, 2), images)


def _multiplied(values: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """sRGB values (N, 3 or 4) times linear colours (N, 3 or 4); alpha with alpha."""
    product = linear_to_srgb(srgb_to_linear(values[:, :3]) * colors[:, :3])
    if values.shape[1] == 3:
        return product
    alpha = values[:, 3:] * colors[:, 3:] if colors.shape[1] == 4 else values[:, 3:]
    return np.column_stack([product, alpha])


def _turns(triangles: Triangles, uv: np.ndarray, atlas: TextureAtlas) -> np.ndarray:
    """Matrices (F, 2, 2) that turn the x and y of a normal map from the tangents of the texture
    coordinates ``uv`` (F, 3, 2) to those of the atlas."""
    corners = triangles.attributes["POSITION"][triangles.faces]
    old, new = _tangents(corners, uv), _tangents(corners, atlas.uv)
    return np.einsum("fia,fib->fab", new, old)


def _tangents(corners: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Orthonormal tangent and bitangent (F, 3, 2) of triangles: the directions in which u and v
    increase."""
    edges = corners[:, 1:] - corners[:, :1]
    (u1, v1), (u2, v2) = (uv[:, 1:] - uv[:, :1]).transpose(1, 2, 0)
    area = u1 * v2 - u2 * v1
    sign = np.where(area < 0, -1.0, 1.0)[:, None]
    tangent = sign * (edges[:, 0] * v2[:, None] - edges[:, 1] * v1[:, None])
    normal = np.cross(edges[:, 0], edges[:, 1])
    bitangent = sign * np.cross(normal, tangent)
    both = np.stack([tangent, bitangent], axis=2)
    return both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-30)
