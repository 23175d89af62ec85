"""Objaverse's annotations of its objects, as rows of a metadata table.

Objaverse's downloader writes files named by uid (``hf-objaverse-v1/glbs/000-023/UID.glb``) and
annotations keyed by uid, as JSON or gzipped JSON. They are searched for at the root of the folder
and in ``hf-objaverse-v1``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from datagen.catalog.ingest.licenses import spdx_license
from datagen.catalog.providers import nouns
from datagen.catalog.providers.metadata import MetadataRow, read_json
from datagen.errors import UserError


def read_annotations(root: Path, uids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Reads the annotations of the objects ``uids``.

    Returns:
        Objaverse's annotation by uid, where there is one, with the key "lvis" added where the
        object has one of the 1,156 LVIS categories.

    Raises:
        UserError: a file is not an annotation file.
    """
    found: dict[str, dict[str, Any]] = {}
    categories: dict[str, str] = {}
    for base in (root, root / "hf-objaverse-v1"):
        for path in sorted(base.glob("lvis-annotations.json*")):
            for name, members in _mapping(root, path).items():
                categories.update((uid, name) for uid in members if uid in uids)
        tables = ["object-annotations.json*", "annotations.json*", "metadata/*.json.gz"]
        for path in sorted(path for pattern in tables for path in base.glob(pattern)):
            for uid, annotation in _mapping(root, path).items():
                if uid in uids and isinstance(annotation, dict):
                    found[uid] = annotation
    for uid, name in categories.items():
        found.setdefault(uid, {})["lvis"] = name
    return found


def _mapping(root: Path, path: Path) -> Mapping[str, Any]:
    """A JSON file that holds one object. Raises ``UserError``."""
    table = read_json(root, path)
    if not isinstance(table, dict):
        raise UserError(f"{path}: expected an object keyed by uid or by category")
    return table


def annotation_row(file: str, annotation: Mapping[str, Any]) -> MetadataRow:
    """An annotation as a row for ``file``. A title is free text ("Low poly chair - game ready!"):
    it is used only if it looks like a noun and names a thing; otherwise the noun is "object"."""
    lvis = str(annotation.get("lvis", ""))
    title = str(annotation.get("name", ""))
    is_noun = re.fullmatch(r"[A-Za-z]+(?:[ _-][A-Za-z]+)?(?:[ _-]?\d+)?", title)
    user = annotation.get("user") or {}
    return MetadataRow(
        path=file,
        id=PurePosixPath(file).stem,
        noun=nouns.noun(lvis) or nouns.noun_of_file(title if is_noun else "") or "object",
        license=spdx_license(str(annotation.get("license", "unknown"))),
        author=str(user.get("displayName") or user.get("username") or "unknown"),
        title=title,
        source="Objaverse",
    )
