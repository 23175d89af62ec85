"""Provider of a folder of model files (glb, gltf, obj, ply, stl), with any subfolders, such as
Objaverse's downloader makes.

Noun, licence, author and frame of a file come from the metadata table (metadata.py), else from
Objaverse's annotations (objaverse.py). Else the noun is that of the file's name, if its words name
a thing, or "object", and the licence is unknown.

This module is the example to follow for another provider of model files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from datagen.catalog.ingest.ingest import ModelSource
from datagen.catalog.providers import nouns
from datagen.catalog.providers.metadata import Axis, MetadataRow, read_table
from datagen.catalog.providers.objaverse import annotation_row, read_annotations
from datagen.errors import UserError
from datagen.scene import Mat3

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")


def model_sources(path: Path) -> tuple[ModelSource, ...]:
    """Lists every model file under ``path``, sorted by name. Links that lead outside are listed as
    rejected.

    Raises:
        UserError: there is no model file, or a metadata table is wrong.
    """
    root = path.resolve()
    files = sorted(map(_printable, _model_files(root)))
    if not files:
        raise UserError(f"{path}: holds no model file ({', '.join(SUFFIXES)}); see catalog.path")
    rows = read_table(root, set(files))
    annotations = read_annotations(root, {PurePosixPath(file).stem for file in files})
    listed = []
    for file in files:
        annotation = annotations.get(PurePosixPath(file).stem)
        row = annotation_row(file, annotation) if annotation else MetadataRow(path=file)
        listed.append(_source(root, rows.get(file, row)))
    return tuple(listed)


def model_source(path: Path) -> ModelSource:
    """A single model file, in the usual frame of its format.

    Raises:
        UserError: ``path`` is not a model file.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise UserError(f"{path}: expected a model file ({', '.join(SUFFIXES)})")
    file = path.resolve()
    return _source(file.parent, MetadataRow(path=file.name))


def _model_files(root: Path) -> Iterator[str]:
    """Paths of the model files relative to the root; links to folders are not followed."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(folder, name).relative_to(root).as_posix()


def _source(root: Path, row: MetadataRow) -> ModelSource:
    suffix = PurePosixPath(row.path).suffix.lower()
    # Frame of each format: of glTF by its specification, of the others by custom.
    up: Axis = "z" if suffix in (".ply", ".stl") else "y"
    front: Axis = "-y" if up == "z" else "z"
    noun = row.noun or nouns.noun_of_file(row.path) or "object"
    reason, detail = _rejection(root, row.path)
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
    """The path with unprintable characters escaped; such a file is then rejected as missing."""
    name = os.fsencode(file).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _rejection(root: Path, file: str) -> tuple[str, str]:
    """Reason and detail why a file is rejected without being read; both empty if it is not."""
    try:
        if (root / file).resolve(strict=True).is_relative_to(root):
            return "", ""
    except (OSError, RuntimeError):
        return "missing file", f"{file}: a broken link, or a name with unprintable characters"
    return "file outside the library", f"{file} is a link"


def _rotation(up: Axis, front: Axis) -> Mat3:
    """Rotation from the file's frame to glTF's, where y is up and +z the front."""
    y, z = _axis(up), _axis(front)
    a, b, c = np.array([np.cross(y, z), y, z]).tolist()
    return (tuple(a), tuple(b), tuple(c))


def _axis(name: Axis) -> np.ndarray:
    """Unit vector (3,) of an axis."""
    axis = np.zeros(3)
    axis["xyz".index(name[-1])] = -1 if name[0] == "-" else 1
    return axis
