"""Provider of Sweet Home 3D's furniture libraries (.sh3f).

A library is a zip archive of OBJ models and a Java properties file, with keys like ``width#12``;
its format is documented with Sweet Home 3D's Furniture Library Editor. Models are y up with the
front along +z, after ``modelRotation`` where that is given. Then each axis is scaled to ``width``,
``height`` and ``depth``, in centimetres.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count, takewhile
from pathlib import Path

from datagen import resources
from datagen.catalog.ingest.ingest import UPRIGHT, ModelSource
from datagen.catalog.providers import nouns
from datagen.errors import UserError
from datagen.scene import Mat3, Vec3

PROPERTIES = "PluginFurnitureCatalog.properties"
MAX_PROPERTIES_BYTES = 16 << 20


@dataclass(frozen=True)
class _Vocabulary:
    """The content of assets/sweethome3d.yaml."""

    licenses: dict[str, str]
    fixed_tags: frozenset[str]
    fixed_categories: frozenset[str]
    fixed_kinds: frozenset[str]
    refused: dict[str, str]
    nouns: dict[str, str]
    categories: dict[str, str]


@cache
def _vocabulary() -> _Vocabulary:
    return resources.load("sweethome3d.yaml", _Vocabulary)


def model_sources(path: Path) -> tuple[ModelSource, ...]:
    """Lists every piece of every library in the folder ``path``. Pieces that cannot stand alone on
    a floor are listed as rejected.

    Raises:
        UserError: there is no library, or one is broken.
    """
    libraries = sorted(path.glob("*.sh3f"))
    if not libraries:
        raise UserError(
            f"{path}: holds no .sh3f library; install Debian's sweethome3d-furniture "
            f"(make assets), or set catalog.path to another folder"
        )
    return tuple(source for library in libraries for source in _pieces(library))


def _pieces(library: Path) -> list[ModelSource]:
    """The pieces of one library. Raises ``UserError``."""
    try:
        with zipfile.ZipFile(library) as archive:
            if archive.getinfo(PROPERTIES).file_size > MAX_PROPERTIES_BYTES:
                raise UserError(
                    f"{library}: {PROPERTIES} is larger than 16 MiB; remove this library"
                )
            properties = parse_properties(archive.read(PROPERTIES).decode("latin-1"))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise UserError(
            f"{library}: not a Sweet Home 3D furniture library, a zip archive with "
            f"{PROPERTIES} ({error}); remove it or install it again"
        ) from None
    pieces = []
    for number in takewhile(lambda n: f"name#{n}" in properties, count(1)):
        suffix = f"#{number}"
        piece = {
            key.removesuffix(suffix): value
            for key, value in properties.items()
            if key.endswith(suffix)
        }
        pieces.append(_source(library, properties, piece, number))
    return pieces


def _source(
    library: Path, header: Mapping[str, str], piece: Mapping[str, str], number: int
) -> ModelSource:
    """Piece ``number`` of a library. ``header``: the properties of the library as a whole."""
    original = piece.get("id", f"{library.stem}#{number}")
    noun = _noun(original, piece["name"])
    reason, detail = _rejection(original, noun, piece)
    rotation, extent = UPRIGHT, None
    try:
        rotation, extent = _rotation(piece.get("modelRotation", "")), _extent(piece)
    except (KeyError, ValueError) as error:
        reason, detail = "bad catalogue entry", f"{PROPERTIES}, piece {number}: {error}"
    category = _vocabulary().categories.get(noun) or (nouns.category(noun) if noun else "")
    return ModelSource(
        id=_identifier(original),
        library=str(library.resolve()),
        file=piece.get("model", "").lstrip("/"),
        category=category,
        noun=noun,
        license=_license(header.get("license", "")),
        author=piece.get("creator") or "unknown",
        source=header.get("name") or library.stem,
        recolorable=_recolorable({noun, category}, piece),
        rotation=rotation,
        extent=extent,
        # Sweet Home 3D shows Kd as sRGB, and its libraries are made to look right in it.
        srgb_materials=True,
        reason=reason,
        detail=detail,
    )


def parse_properties(text: str) -> dict[str, str]:
    """Parses a Java properties file (java.util.Properties.load): comments, continued lines,
    escapes."""
    joined = re.sub(r"(?<!\\)((?:\\\\)*)\\\r?\n[ \t]*", r"\1", text)
    properties = {}
    for line in joined.splitlines():
        match = re.match(r"\s*((?:\\.|[^\\\s=:#!])(?:\\.|[^\\\s=:])*)\s*[=:]?\s*(.*)", line)
        if match:
            properties[_unescape(match[1])] = _unescape(match[2]).strip()
    return properties


def _unescape(text: str) -> str:
    plain = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}

    def character(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else plain.get(match[2], match[2])

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", character, text)


def _identifier(original: str) -> str:
    """The asset's id: "Blend Swap CC-0#armchair" -> "blend-swap-cc-0/armchair"."""
    library, _, piece = original.partition("#")
    steps = [re.sub(r"[^a-z0-9._]+", "-", step.lower()).strip("-") for step in (library, piece)]
    return "/".join(filter(None, steps))


def _noun(original: str, name: str) -> str:
    """The noun of a piece by its id or name; empty where the name contains none."""
    known = _vocabulary().nouns
    for key in (original, name.lower(), re.sub(r"[\s\d]+$", "", name.lower())):
        if key in known:
            return known[key]
    return nouns.noun(name)


def _rejection(original: str, noun: str, piece: Mapping[str, str]) -> tuple[str, str]:
    """Reason and detail why a piece is rejected without being read; both empty if it is not."""
    rejected, name = _vocabulary().refused, piece["name"]
    reason = rejected.get(original) or rejected.get(name.lower())
    if reason:
        return reason, name
    if piece.get("doorOrWindow") == "true":
        return "door or window", name
    if "staircaseCutOutShape" in piece:
        return "staircase", name
    elevation = piece.get("elevation", "0")
    if _positive(elevation):
        return "hangs above the ground", f"{name}: elevation {elevation} cm"
    if not noun:
        return "name says nothing", name
    return "", ""


def _positive(number: str) -> bool:
    try:
        return float(number) > 0
    except ValueError:
        return False


def _rotation(numbers: str) -> Mat3:
    """A rotation of nine numbers, row by row; none is the identity. Raises ``ValueError``."""
    if not numbers:
        return UPRIGHT
    values = [float(number) for number in numbers.split()]
    if len(values) != 9:
        raise ValueError(f"modelRotation has {len(values)} numbers, expected 9")
    a, b, c, d, e, f, g, h, i = values
    return ((a, b, c), (d, e, f), (g, h, i))


def _extent(piece: Mapping[str, str]) -> Vec3:
    """Size in metres along glTF's x, y, z. Raises ``KeyError`` or ``ValueError``."""
    width, height, depth = (float(piece[key]) / 100 for key in ("width", "height", "depth"))
    if not (min(width, height, depth) > 0 and max(width, height, depth) < math.inf):
        raise ValueError("width, height and depth must be positive")
    return (width, height, depth)


def _license(text: str) -> str:
    """SPDX identifier of a library's licence text."""
    known = _vocabulary().licenses
    return next((spdx for start, spdx in known.items() if text.startswith(start)), "unknown")


def _recolorable(names: set[str], piece: Mapping[str, str]) -> bool:
    """Whether other colours are plausible. ``names``: the piece's noun and category."""
    vocabulary = _vocabulary()
    tags = {tag.strip() for tag in piece.get("tags", "").split(",")}
    return (
        not tags & vocabulary.fixed_tags
        and piece.get("category") not in vocabulary.fixed_categories
        and not names & vocabulary.fixed_kinds
    )
