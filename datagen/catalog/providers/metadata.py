"""The metadata table of a folder of models: what the files themselves do not state.

The table is ``metadata.csv`` (with a header) or ``metadata.json`` (a list of objects) at the root
of the folder. ``MetadataRow`` has its columns. A row is for one file, or for all that match a
pattern ("meshes/*.obj"); the most exact row that states a column decides it.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from datagen.errors import UserError

MAX_TABLE_BYTES = 512 << 20
"""Largest table that is read, before and after unpacking."""

Axis = Literal["x", "y", "z", "-x", "-y", "-z"]

METRES = {"metre": 1.0, "centimetre": 0.01, "millimetre": 0.001, "inch": 0.0254, "foot": 0.3048}
"""Metres per unit, by its name."""

Unit = Literal["metre", "centimetre", "millimetre", "inch", "foot"]


class MetadataRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a metadata table.

    ``path`` is relative to the root: a file, or a pattern in which * and ? stand for characters of
    one name and ** for any folders. ``size`` is the largest extent in metres, ``unit`` the unit of
    the file's coordinates; ``up`` and ``front`` are axes of the file's frame; the other columns are
    as in ``Asset``. Only ``path`` is required; an empty cell counts as absent.
    """

    path: str
    id: str = ""
    noun: str = ""
    category: str = ""
    license: str = "unknown"
    author: str = "unknown"
    title: str = ""
    source: str = ""
    up: Axis | None = None
    front: Axis | None = None
    size: float | None = None
    unit: Unit | None = None
    recolorable: bool = True


def read_table(root: Path, known: Mapping[str, MetadataRow]) -> dict[str, MetadataRow]:
    """Reads the table, if there is one.

    Args:
        root: the folder of models.
        known: a row for each model file, by its path relative to the root, with what is known of it
            otherwise.

    Returns:
        The rows by file: those of ``known``, with the cells of the table in place of theirs.

    Raises:
        UserError: the table is wrong; the message names file, row and column.
    """
    cells: dict[str, dict[str, Any]] = {}
    ids: dict[str, str] = {}
    for where, raw in _raw_rows(root):
        try:
            row = msgspec.convert(raw, MetadataRow, strict=False)
        except msgspec.ValidationError as error:
            raise UserError(f"{where}: {error}") from None
        _check(row, where)
        if row.path in cells:
            raise UserError(f"{where}: path: {row.path!r} has an earlier row already")
        cells[row.path] = {key: getattr(row, key) for key in raw}
        if row.path not in known:
            if not any(map(_pattern(row.path).fullmatch, known)):
                raise UserError(f"{where}: path: there is no model file {row.path!r} under {root}")
            if row.id:
                raise UserError(f"{where}: id: {row.id!r}, expected none for a pattern of files")
            continue
        identifier = row.id or row.path
        if identifier in ids:
            raise UserError(f"{where}: id: {identifier!r} is also the id of {ids[identifier]!r}")
        ids[identifier] = row.path
    # From the least exact to the most: the more characters are not * or ?, the more exact.
    patterns = [path for path in cells if path not in known]
    patterns.sort(key=lambda path: len(re.sub(r"[*?]", "", path)))
    rows = {}
    for file, row in known.items():
        paths = [path for path in patterns if _pattern(path).fullmatch(file)]
        for path in [*paths, file]:
            row = _replaced(row, cells.get(path, {}), file)
        rows[file] = row
    return rows


def _replaced(row: MetadataRow, cells: Mapping[str, Any], file: str) -> MetadataRow:
    """The row with these cells in place of its own. The two axes are one statement, and so are size
    and unit: cells with one of them replace both."""
    for pair in (("up", "front"), ("size", "unit")):
        if cells.keys() & set(pair):
            row = msgspec.structs.replace(row, **dict.fromkeys(pair))
    return msgspec.structs.replace(row, **{**cells, "path": file})


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """A pattern as a regular expression. Of ``fnmatch``, * would match / as well, and ``PurePath``
    has ** from Python 3.13 on."""
    steps = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    words = re.split(r"(\*\*/|\*\*|\*|\?)", path)
    return re.compile("".join(steps.get(word) or re.escape(word) for word in words), re.DOTALL)


def _check(row: MetadataRow, where: str) -> None:
    """Raises ``UserError`` for a row with an impossible value. ``where``: file and row."""
    for key in ("noun", "category", "source"):
        value = getattr(row, key)
        if not value.isprintable() or value != value.strip():
            raise UserError(
                f"{where}: {key}: {value!r}; expected printable words without spaces around them"
            )
    if row.size is not None and not 0 < row.size < float("inf"):
        raise UserError(f"{where}: size: {row.size}; expected metres, above 0")
    try:
        complete_frame(row.up, row.front)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def complete_frame(up: Axis | None, front: Axis | None) -> tuple[Axis, Axis] | None:
    """Up and front axes of a file, where up at least is given; None where neither is. Where front
    is not given, it is -y for z up, as in Blender and in robotics, and z for y up, as in glTF.

    Raises:
        ValueError: the front is missing or cannot be; the message begins with "up" or "front".
    """
    if up is None and front is None:
        return None
    if up is None:
        raise ValueError(f"up: missing, expected with front ({front})")
    known: dict[Axis, Axis] = {"z": "-y", "y": "z"}
    if front is None:
        if up not in known:
            raise ValueError(f"front: missing, expected with up ({up})")
        return up, known[up]
    if up[-1] == front[-1]:
        raise ValueError(f"front: {front} is parallel to up ({up}); expected another axis")
    return up, front


def _raw_rows(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """File and number of each row, and its cells; none where there is no table."""
    table, listed = root / "metadata.csv", root / "metadata.json"
    if table.exists() and listed.exists():
        raise UserError(f"{root}: has both metadata.csv and metadata.json; keep one of them")
    if table.exists():
        try:
            text = io.StringIO(_read(root, table).decode("utf-8-sig"), newline="")
        except UnicodeDecodeError as error:
            raise UserError(f"{table}: not UTF-8 ({error})") from None
        reader = csv.DictReader(text, restkey="")
        for row in _csv_rows(reader, table):
            where = f"{table}, line {reader.line_num}"
            if "" in row:
                raise UserError(f"{where}: has more cells than the header")
            yield where, {key: value.strip() for key, value in row.items() if (value or "").strip()}
    elif listed.exists():
        rows = read_json(root, listed)
        if not isinstance(rows, list):
            raise UserError(f"{listed}: expected a list of objects, one per model")
        for number, row in enumerate(rows, 1):
            yield f"{listed}, row {number}", row


def _csv_rows(reader: csv.DictReader[str], table: Path) -> Iterator[dict[str, Any]]:
    """The rows of a CSV file; its syntax errors as ``UserError``."""
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}: {error}") from None


def _read(root: Path, path: Path) -> bytes:
    """The content of a table, unpacked if it is gzipped, no larger than ``MAX_TABLE_BYTES``."""
    if not path.resolve().is_relative_to(root):
        raise UserError(f"{path}: is a link that leads outside {root}")
    if not path.is_file():
        raise UserError(f"{path}: not a regular file")
    data = path.read_bytes() if path.stat().st_size <= MAX_TABLE_BYTES else None
    if data is not None and path.suffix == ".gz":
        unpack = zlib.decompressobj(wbits=31)
        try:
            data = unpack.decompress(data, MAX_TABLE_BYTES)
        except zlib.error as error:
            raise UserError(f"{path}: not a gzip file ({error})") from None
        data = data if unpack.eof else None
    if data is None:
        raise UserError(f"{path}: truncated, or larger than {MAX_TABLE_BYTES >> 20} MiB")
    return data


def read_json(root: Path, path: Path) -> Any:
    """Reads a JSON file under ``root``, which may be gzipped. Raises ``UserError``."""
    try:
        return json.loads(_read(root, path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None
