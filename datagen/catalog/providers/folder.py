"""A tree of model files: glb, gltf, obj, ply, stl, as one keeps them or as Objaverse's
downloader leaves them.

What is known of a file comes from the metadata table (metadata.py), else from Objaverse's
annotations (objaverse.py), else from its name; the licence is then unknown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from datagen.catalog.ingest.ingest import ModelSource
from datagen.catalog.providers import nouns
from datagen.catalog.providers.metadata import Axis, Row, read_table
from datagen.catalog.providers.objaverse import annotated, read_annotations
from datagen.errors import UserError
from datagen.scene import Mat3

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")


def model_sources(path: Path) -> tuple[ModelSource, ...]:
    """Every model file under ``path``, by name. Links that lead outside it are listed with
    that reason. Raises ``UserError`` when there is no model file, or a table is wrong."""
    root = path.resolve()
    files = sorted(map(_printable, _model_files(root)))
    if not files:
        raise UserError(f"{path}: holds no model file ({', '.join(SUFFIXES)}); see catalog.path")
    rows = read_table(root, set(files))
    known = read_annotations(root, {PurePosixPath(file).stem for file in files})
    listed = []
    for file in files:
        annotation = known.get(PurePosixPath(file).stem)
        row = annotated(file, annotation) if annotation else Row(path=file)
        listed.append(_source(root, rows.get(file, row)))
    return tuple(listed)


def model_source(path: Path) -> ModelSource:
    """One model file by itself, in the frame that its format has by custom. Raises
    ``UserError``."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise UserError(f"{path}: expected a model file ({', '.join(SUFFIXES)})")
    file = path.resolve()
    return _source(file.parent, Row(path=file.name))


def _model_files(root: Path) -> Iterator[str]:
    """Names of the model files, relative to the root; links to folders are not followed."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(folder, name).relative_to(root).as_posix()


def _source(root: Path, row: Row) -> ModelSource:
    suffix = PurePosixPath(row.path).suffix.lower()
    # As each format has it: glTF by its specification, the others by custom.
    up: Axis = "z" if suffix in (".ply", ".stl") else "y"
    front: Axis = "-y" if up == "z" else "z"
    noun = row.noun or nouns.noun(_spoken(row.path)) or "object"
    reason, detail = _refusal(root, row.path)
    return ModelSource(
        id=row.id or row.path,
        library=str(root),
        file=row.path,
        category=row.category or nouns.category(noun),
        noun=noun,
        license=row.license,
        author=row.author,
        source=row.source or root.name,
        recolorable=row.recolorable,
        rotation=_rotation(row.up or up, row.front or front),
        extent=row.size,
        reason=reason,
        detail=detail,
    )


def _printable(file: str) -> str:
    """The name with what cannot be printed escaped; the file is then not found under it."""
    name = os.fsencode(file).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _refusal(root: Path, file: str) -> tuple[str, str]:
    """Why a file cannot be read, and what was found; two empty strings if it can."""
    try:
        if (root / file).resolve(strict=True).is_relative_to(root):
            return "", ""
    except (OSError, RuntimeError):
        return "missing file", f"{file}: a link to nowhere, or a name that cannot be printed"
    return "file outside the library", f"{file} is a link"


def _spoken(path: str) -> str:
    """The words of a file's name, or, where it has none of its own, of its folder's:
    "chairs/officeChair-02.glb" -> "office Chair 02", "mug/model.obj" -> "mug"."""
    steps = [PurePosixPath(path).stem, *(step.name for step in PurePosixPath(path).parents)]
    for step in steps:
        # A name with digits amid its letters is some machine's.
        words = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|[-.]", " ", step)
        if nouns.noun(words) and not re.search(r"\d[A-Za-z]", step):
            return words
    return ""


def _rotation(up: Axis, front: Axis) -> Mat3:
    """Takes the file's frame to glTF's, where y is up and z the front."""
    y, z = _axis(up), _axis(front)
    a, b, c = np.array([np.cross(y, z), y, z]).tolist()
    return (tuple(a), tuple(b), tuple(c))


def _axis(name: Axis) -> np.ndarray:
    axis = np.zeros(3)
    axis["xyz".index(name[-1])] = -1 if name[0] == "-" else 1
    return axis
