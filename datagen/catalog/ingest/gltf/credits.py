"""Author, licence and title that a glTF file states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datagen.catalog.ingest.gltf.document import read_asset_info
from datagen.catalog.ingest.licenses import find_license, spdx_license
from datagen.catalog.ingest.model_files import Library

_LONGEST = 200


@dataclass(frozen=True)
class Credits:
    """``author``, ``license`` (an SPDX identifier where there is one) and ``title``; each empty
    where the file does not say."""

    author: str = ""
    license: str = ""
    title: str = ""


def read_credits(library: Library, file: str, max_bytes: int) -> Credits:
    """The credits in a glTF file's ``asset.extras``, as Sketchfab writes them, and in its
    ``asset.copyright``; none of a file of another format.

    Args:
        library: the library that holds the file.
        file: its name in the library.
        max_bytes: largest size of the file.

    Raises:
        AssetRejected: the file cannot be read.
    """
    if not file.lower().endswith((".glb", ".gltf")):
        return Credits()
    info = read_asset_info(library.read(file, max_bytes))
    extras: dict[str, Any] = info.extras if isinstance(info.extras, dict) else {}
    copyright = _line(info.copyright)
    return Credits(
        author=_line(extras.get("author")) or copyright,
        license=spdx_license(_line(extras.get("license"))) or find_license(copyright),
        title=_line(extras.get("title")),
    )


def _line(value: object) -> str:
    """A text of the file as one printable line; empty where it is no text."""
    if not isinstance(value, str):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in value[: 4 * _LONGEST])
    return " ".join(printable.split())[:_LONGEST]
