"""Reads MTL files, the material libraries of OBJ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from datagen.catalog.ingest.materials import PLAIN_FACTOR, Material
from datagen.catalog.ingest.meshes import MaterialMesh
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.ingest.resolver import Resolver
from datagen.catalog.ingest.textures import decode_texture
from datagen.color import srgb_to_linear

# Options of a texture and their largest number of values. The names are those of the format's
# specification (Wavefront, "Advanced Visualizer", appendix B2).
_OPTIONS = {
    **dict.fromkeys(("-blendu", "-blendv", "-cc", "-clamp", "-imfchan", "-type"), 1),
    **dict.fromkeys(("-bm", "-boost", "-texres"), 1),
    "-mm": 2,
    **dict.fromkeys(("-o", "-s", "-t"), 3),
}
# A clamped texture is enlarged to cover the texture coordinates, to at most this many of itself.
_MAX_COVER = 4.0


@dataclass(frozen=True, eq=False)
class MtlMaterial:
    """A material, and how its texture lies on the surface: texture coordinates (u, v) show the
    texture at (u, v) * ``scale`` + ``offset``, which repeats unless ``clamp``."""

    material: Material
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamp: bool = False

    def placed_texture(self, mesh: MaterialMesh) -> MaterialMesh:
        """``mesh``, which has this material, with texture coordinates that need no option."""
        image = mesh.material.image
        if mesh.uv is None or image is None:
            return mesh
        uv = mesh.uv * self.scale + self.offset
        if not self.clamp:
            return replace(mesh, uv=uv)
        # Outside of 0 to 1, a clamped texture shows its edge. The glTF that we write repeats, so
        # the edge becomes part of the texture.
        low = np.floor(np.clip(uv.min(axis=0, initial=0.0), -_MAX_COVER / 2, 0))
        high = np.ceil(np.clip(uv.max(axis=0, initial=1.0), 1, _MAX_COVER / 2 + 1))
        size = np.array(image.size)
        left, bottom = np.round(-low * size).astype(int).tolist()
        right, top = np.round((high - 1) * size).astype(int).tolist()
        pixels = np.pad(np.asarray(image), [(top, bottom), (left, right), (0, 0)], mode="edge")
        covered = np.clip((uv - low) / (high - low), 1e-4, 1 - 1e-4)
        return replace(
            mesh, uv=covered, material=replace(mesh.material, image=Image.fromarray(pixels))
        )


@dataclass
class _Entry:
    """The lines of one material: what stands after each key, keys in lower case."""

    name: str
    lines: dict[str, str] = field(default_factory=dict)


def read_mtl(data: bytes, resolver: Resolver, folder: str, *, srgb: bool) -> dict[str, MtlMaterial]:
    """Reads a material library.

    ``Kd`` is linear in libraries that Blender 2.5 or later has written, which say so in their first
    line, and else sRGB, as shown on screen: the format does not say. A texture replaces ``Kd``, as
    in most programs: exporters write anything as ``Kd`` of a textured material, black included.

    Args:
        data: the content of the file.
        resolver: reads the textures.
        folder: the library's folder, relative to that of the OBJ file. Textures are looked for in
            it, then beside the OBJ file.
        srgb: ``Kd`` is sRGB, whatever program has written it.

    Returns:
        The materials by name.

    Raises:
        AssetRejected: a texture is missing, or cannot be used.
    """
    text = data.decode("utf-8", "replace")
    entries: list[_Entry] = []
    for line in text.splitlines():
        key, _, rest = line.strip().replace("\t", " ").partition(" ")
        if key.lower() == "newmtl":
            entries.append(_Entry(rest.strip()))
        elif entries and rest and not key.startswith("#"):
            entries[-1].lines[key.lower()] = rest.strip()
    is_linear = not srgb and re.match(r"\s*#\s*Blender\b.*MTL File", text) is not None
    opacity = _opacities(entries)
    return {
        entry.name: _material(entry, opacity[i], resolver, folder, is_linear=is_linear)
        for i, entry in enumerate(entries)
    }


def _opacities(entries: Sequence[_Entry]) -> list[float]:
    """The opacity of each material: ``d``, or else from ``Tr``.

    ``Tr`` is transparency, 1 - d, by most programs, but some write opacity under this name. Nobody
    writes a library that is mostly invisible: where most of the materials with ``Tr`` alone would
    be, ``Tr`` is the opacity.
    """
    alone = [
        _number(entry.lines["tr"], 0.0)
        for entry in entries
        if "tr" in entry.lines and "d" not in entry.lines
    ]
    is_opacity = sum(value > 0.95 for value in alone) > len(alone) / 2
    opacities = []
    for entry in entries:
        tr = _number(entry.lines.get("tr"), 1.0 if is_opacity else 0.0)
        value = _number(entry.lines.get("d"), tr if is_opacity else 1.0 - tr)
        opacities.append(float(np.clip(value, 0, 1)))
    return opacities


def _material(
    entry: _Entry, opacity: float, resolver: Resolver, folder: str, *, is_linear: bool
) -> MtlMaterial:
    """One material. The roughness follows from the exponent as in Blender's importer, unless the
    library states it (``Pr``)."""
    lines = entry.lines
    image, options = None, dict[str, list[str]]()
    if "map_kd" in lines:
        options, file = _texture_line(lines["map_kd"])
        _check_options(entry.name, options)
        image = decode_texture(resolver.read(file, folder), file)
    if "map_d" in lines and (image is None or image.mode != "RGBA"):
        # Otherwise map_d names the texture itself, for its alpha.
        raise AssetRejected("cut-out texture", f"{entry.name}: map_d {lines['map_d']}")
    diffuse = _color(lines.get("kd"))
    stated = image is not None or diffuse is not None
    if image is not None:
        factor = np.ones(3)
    elif diffuse is not None:
        factor = np.clip(diffuse if is_linear else srgb_to_linear(np.clip(diffuse, 0, 1)), 0, 1)
    else:
        factor = np.full(3, PLAIN_FACTOR)
    exponent = float(np.clip(_number(lines.get("ns"), 0.0), 0, 1000))
    specular = _color(lines.get("ks"))
    shiny = exponent > 0 and specular is not None and bool((specular > 0).any())
    roughness = _number(lines.get("pr"), 1 - np.sqrt(exponent / 1000) if shiny else 1.0)
    red, green, blue = factor.tolist()
    material = Material(
        name=entry.name or "material",
        image=image,
        factor=(red, green, blue),
        opacity=opacity,
        roughness=float(np.clip(roughness, 0.15, 0.9)),
        metallic=float(np.clip(_number(lines.get("pm"), 0.0), 0, 1)),
        assumed=not stated,
    )
    scale, offset = _pair(options.get("-s"), 1.0), _pair(options.get("-o"), 0.0)
    return MtlMaterial(material, scale, offset, clamp=options.get("-clamp") == ["on"])


def _texture_line(line: str) -> tuple[dict[str, list[str]], str]:
    """The options of a texture, and the name of its file, which may have spaces."""
    options: dict[str, list[str]] = {}
    words = line.split()
    rest = list(words)
    while len(rest) > 1 and rest[0].lower() in _OPTIONS:
        option = rest.pop(0).lower()
        values = options.setdefault(option, [])
        # -o, -s and -t take one to three numbers; the last word is the file.
        while len(values) < _OPTIONS[option] and len(rest) > 1:
            if values and not _is_number(rest[0]):
                break
            values.append(rest.pop(0).lower())
    # Split again, to keep several spaces in a row.
    return options, line.split(maxsplit=len(words) - len(rest))[-1].strip('"')


def _check_options(name: str, options: dict[str, list[str]]) -> None:
    """Raises ``AssetRejected`` for an option that changes colours and that we do not apply."""
    for option, values in options.items():
        numbers = [float(value) for value in values if _is_number(value)]
        changes_colors = option == "-mm" and numbers != [0.0, 1.0]
        moves_texels = option == "-t" and any(numbers)
        if changes_colors or moves_texels:
            raise AssetRejected(
                "unsupported texture option", f"{name}: {option} {' '.join(values)}"
            )


def _color(line: str | None) -> np.ndarray | None:
    """A colour (3,): three numbers, or one for all; None where it is neither (a spectral file)."""
    words = (line or "").split()
    numbers = [float(word) for word in words if _is_number(word)]
    if not numbers or len(numbers) != len(words):
        return None
    return np.array(numbers[:3] if len(numbers) >= 3 else numbers[:1] * 3)


def _number(line: str | None, default: float) -> float:
    """The last word of a line ("d -halo 0.5") as a number."""
    words = (line or "").split()
    return float(words[-1]) if words and _is_number(words[-1]) else default


def _pair(words: Sequence[str] | None, default: float) -> tuple[float, float]:
    """The numbers of an option for u and v; what is not given has its default."""
    numbers = [float(word) for word in words or () if _is_number(word)][:2]
    u, v = [*numbers, *[default] * (2 - len(numbers))]
    return (u, v)


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False
