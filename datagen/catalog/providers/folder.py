"""Provider of a folder of model files (glb, gltf, obj, ply, stl), with any subfolders, such as
Objaverse's downloader makes.

Noun, licence, author and frame of a file come from the metadata table (metadata.py), else from
Objaverse's annotations (objaverse.py). Else the noun is that of the file's name, if its words name
a thing, or "object", and the licence is unknown. Frame and unit of obj, ply and stl files, which do
not state them, may be given for all of them.

This module is the example to follow for another provider of model files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from datagen.catalog.ingest.ingest import ModelSource
from datagen.catalog.providers import nouns
from datagen.catalog.providers.metadata import (
    METRES,
    Axis,
    MetadataRow,
    Unit,
    complete_frame,
    read_table,
)
from datagen.catalog.providers.objaverse import annotation_row, read_annotations
from datagen.errors import UserError
from datagen.scene import Mat3

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
# Endings of model files of other kinds, and of archives, which often hold models.
_OTHER_KINDS = (
    "3dm 3ds 3mf abc ac amf b3d blend bvh c4d ctm dae dxf fbx iges igs ifc jt lwo lws lxo ma max "
    "mb md2 md3 md5mesh ms3d nff off ogex pmd pmx q3d skp sldprt smd step stp usd usda usdc usdz "
    "vox vrm vrml vtk vtp wrl x x3d zae zip 7z gz rar tar tgz"
)

# Units of a file that states none, in the order in which they are tried. Slicers of 3D printers
# take the unit of STL as the millimetre, robotics as the metre.
_GUESSES: dict[str, tuple[Unit, ...]] = {
    ".obj": ("metre", "centimetre", "millimetre"),
    ".ply": ("metre", "centimetre", "millimetre"),
    ".stl": ("millimetre", "metre", "centimetre"),
}


@dataclass(frozen=True)
class FileConventions:
    """What holds for all files of the formats that do not state it (obj, ply, stl), unless a row of
    the metadata table says otherwise; None where it is not known."""

    unit: Unit | None = None
    up: Axis | None = None
    front: Axis | None = None


def model_sources(
    path: Path, conventions: FileConventions | None = None
) -> tuple[ModelSource, ...]:
    """Lists every model file under ``path``, sorted by name. Links that lead outside are listed as
    rejected.

    Raises:
        UserError: there is no model file, or a metadata table is wrong.
    """
    root = path.resolve()
    files = sorted(map(_printable, _files(root, SUFFIXES)))
    if not files:
        others = unread_files(path)
        found = f", but {unread_message(others)}" if others else ""
        raise UserError(
            f"{path}: holds no model file ({', '.join(SUFFIXES)}){found}; see catalog.path"
        )
    annotations = read_annotations(root, {PurePosixPath(file).stem for file in files})
    known = {
        file: annotation_row(file, annotation)
        if (annotation := annotations.get(PurePosixPath(file).stem))
        else MetadataRow(path=file)
        for file in files
    }
    rows = read_table(root, known)
    return tuple(_source(root, rows[file], conventions or FileConventions()) for file in files)


def unread_files(path: Path) -> Counter[str]:
    """Number of files of models and archives under ``path`` that this provider does not read, by
    their ending."""
    endings = tuple(f".{kind}" for kind in _OTHER_KINDS.split())
    names = _files(path.resolve(), endings)
    return Counter(PurePosixPath(name).suffix[1:].lower() for name in names)


def unread_message(files: Counter[str]) -> str:
    """The line that says which files are not read."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(files.items(), key=_by_count))
    noun, verb = ("file", "is") if files.total() == 1 else ("files", "are")
    return f"{files.total()} {noun} of other kinds {verb} not read: {kinds}"


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def model_source(path: Path) -> ModelSource:
    """A single model file, in the usual frame of its format.

    Raises:
        UserError: ``path`` is not a model file.
    """
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise UserError(f"{path}: expected a model file ({', '.join(SUFFIXES)})")
    file = path.resolve()
    return _source(file.parent, MetadataRow(path=file.name), FileConventions())


def _files(root: Path, endings: tuple[str, ...]) -> Iterator[str]:
    """Paths, relative to the root, of the files with one of these endings; links to folders are not
    followed."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(endings) and not name.startswith("."):
                yield Path(folder, name).relative_to(root).as_posix()


def _source(root: Path, row: MetadataRow, conventions: FileConventions) -> ModelSource:
    suffix = PurePosixPath(row.path).suffix.lower()
    units: tuple[Unit, ...] = ("metre",)
    frame: tuple[Axis, Axis] = ("y", "z")  # of glTF by its specification, of OBJ by custom
    if suffix in _GUESSES:
        if suffix != ".obj":
            frame = ("z", "-y")
        frame = complete_frame(conventions.up, conventions.front) or frame
        units = (conventions.unit,) if conventions.unit else _GUESSES[suffix]
    frame = complete_frame(row.up, row.front) or frame
    units = (row.unit,) if row.unit else units
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
        title=row.title,
        source=row.source or root.name,
        recolorable=row.recolorable,
        rotation=_rotation(*frame),
        extent=row.size,
        units=tuple(METRES[unit] for unit in units),
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
