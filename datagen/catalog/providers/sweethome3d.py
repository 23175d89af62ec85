"""Sweet Home 3D's furniture libraries (.sh3f): what pieces they hold.

A library is a zip archive of OBJ models and a Java properties file, with keys like
``width#12``; its format is documented with Sweet Home 3D's Furniture Library Editor. Models
are y up and face +z; ``modelRotation`` turns those that were not drawn so; then each axis is
stretched to ``width``, ``height`` and ``depth``, in centimetres.
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
    """Every piece of every library in the folder ``path``; those that cannot stand alone on a
    floor carry the reason. Raises ``UserError`` when there is no library or one is broken."""
    libraries = sorted(path.glob("*.sh3f"))
    if not libraries:
        raise UserError(
            f"{path}: holds no .sh3f library; install Debian's sweethome3d-furniture "
            f"(make assets), or name another folder in catalog.path"
        )
    return tuple(source for library in libraries for source in _pieces(library))


def _pieces(library: Path) -> list[ModelSource]:
    try:
        with zipfile.ZipFile(library) as archive:
            if archive.getinfo(PROPERTIES).file_size > MAX_PROPERTIES_BYTES:
                raise UserError(
                    f"{library}: {PROPERTIES} is larger than 16 MiB; remove the library"
                )
            properties = parse_properties(archive.read(PROPERTIES).decode("latin-1"))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise UserError(
            f"{library}: not a Sweet Home 3D furniture library, a zip archive with "
            f"{PROPERTIES} ({error}); remove it or fetch it again"
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
    """One piece. ``header``: the keys of the library as a whole."""
    original = piece.get("id", f"{library.stem}#{number}")
    noun = _noun(original, piece["name"])
    reason, detail = _refusal(original, noun, piece)
    rotation, extent = UPRIGHT, None
    try:
        rotation, extent = _rotation(piece.get("modelRotation", "")), _extent(piece)
    except (KeyError, ValueError) as error:
        reason, detail = "bad catalogue entry", f"{PROPERTIES}, piece {number}: {error}"
    kind = _vocabulary().categories.get(noun) or (nouns.category(noun) if noun else "")
    return ModelSource(
        id=_identifier(original),
        library=str(library.resolve()),
        file=piece.get("model", "").lstrip("/"),
        category=kind,
        noun=noun,
        license=_license(header.get("license", "")),
        author=piece.get("creator") or "unknown",
        source=header.get("name") or library.stem,
        recolorable=_recolorable({noun, kind}, piece),
        rotation=rotation,
        extent=extent,
        reason=reason,
        detail=detail,
    )


def parse_properties(text: str) -> dict[str, str]:
    """A Java properties file (java.util.Properties.load): comments, continued lines, escapes."""
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
    """ "Blend Swap CC-0#armchair" -> "blend-swap-cc-0/armchair"."""
    library, _, piece = original.partition("#")
    steps = [re.sub(r"[^a-z0-9._]+", "-", step.lower()).strip("-") for step in (library, piece)]
    return "/".join(filter(None, steps))


def _noun(original: str, name: str) -> str:
    known = _vocabulary().nouns
    for key in (original, name.lower(), re.sub(r"[\s\d]+$", "", name.lower())):
        if key in known:
            return known[key]
    return nouns.noun(name)


def _refusal(original: str, noun: str, piece: Mapping[str, str]) -> tuple[str, str]:
    """Why a piece is refused unseen, and what was found; two empty strings if it is not."""
    refused, name = _vocabulary().refused, piece["name"]
    reason = refused.get(original) or refused.get(name.lower())
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
    if not numbers:
        return UPRIGHT
    values = [float(number) for number in numbers.split()]
    if len(values) != 9:
        raise ValueError(f"modelRotation has {len(values)} numbers, not 9")
    a, b, c, d, e, f, g, h, i = values
    return ((a, b, c), (d, e, f), (g, h, i))


def _extent(piece: Mapping[str, str]) -> Vec3:
    """Metres along glTF's x, y, z."""
    width, height, depth = (float(piece[key]) / 100 for key in ("width", "height", "depth"))
    if not (min(width, height, depth) > 0 and max(width, height, depth) < math.inf):
        raise ValueError("width, height and depth must be positive")
    return (width, height, depth)


def _license(text: str) -> str:
    known = _vocabulary().licenses
    return next((spdx for start, spdx in known.items() if text.startswith(start)), "unknown")


def _recolorable(kinds: set[str], piece: Mapping[str, str]) -> bool:
    vocabulary = _vocabulary()
    tags = {tag.strip() for tag in piece.get("tags", "").split(",")}
    return (
        not tags & vocabulary.fixed_tags
        and piece.get("category") not in vocabulary.fixed_categories
        and not kinds & vocabulary.fixed_kinds
    )
