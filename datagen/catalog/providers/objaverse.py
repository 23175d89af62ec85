"""What Objaverse's annotations say of its objects.

Its downloader leaves files named by uid (``hf-objaverse-v1/glbs/000-023/UID.glb``) and
annotations keyed by it, as JSON or gzipped JSON; they are looked for at the root of the tree
and in ``hf-objaverse-v1``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from datagen import resources
from datagen.catalog.providers import nouns
from datagen.catalog.providers.metadata import Row, read_json
from datagen.errors import UserError


def read_annotations(root: Path, uids: Collection[str]) -> dict[str, dict[str, Any]]:
    """By uid, of those that are here: Objaverse's annotation, with "lvis" added where the
    object has one of the 1,156 LVIS categories."""
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
    table = read_json(root, path)
    if not isinstance(table, dict):
        raise UserError(f"{path}: expected an object keyed by uid or by category")
    return table


def annotated(file: str, annotation: Mapping[str, Any]) -> Row:
    """What an annotation says, as a row. Titles are free text ("Low poly chair - game ready!"):
    only one that is plainly a noun is trusted; else the thing is called an object."""
    lvis = str(annotation.get("lvis", ""))
    title = str(annotation.get("name", ""))
    plain = re.fullmatch(r"[A-Za-z]+(?:[ _-][A-Za-z]+)?(?:[ _-]?\d+)?", title)
    user = annotation.get("user") or {}
    license = str(annotation.get("license", "unknown")).lower()
    return Row(
        path=file,
        id=PurePosixPath(file).stem,
        noun=nouns.noun(lvis or (title if plain else "")) or "object",
        license=_licenses().get(license, license),
        author=str(user.get("displayName") or user.get("username") or "unknown"),
        source="Objaverse",
    )


@cache
def _licenses() -> dict[str, str]:
    """Objaverse's names for licences -> SPDX identifiers."""
    return resources.load("objaverse.yaml", dict[str, str])
