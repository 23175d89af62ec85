"""The metadata table of a folder of models: what the files themselves do not state.

The table is ``metadata.csv`` (with a header) or ``metadata.json`` (a list of objects) at the root
of the folder. ``MetadataRow`` has its columns.
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from datagen.errors import UserError

MAX_TABLE_BYTES = 512 << 20
"""Largest table that is read, before and after unpacking."""

Axis = Literal["x", "y", "z", "-x", "-y", "-z"]


class MetadataRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a metadata table. ``path`` is relative to the root; ``size`` is the largest extent
    in metres; ``up`` and ``front`` are axes of the file's frame; the other columns are as in
    ``Asset``. Only ``path`` is required; an empty cell counts as absent."""

    path: str
    id: str = ""
    noun: str = ""
    category: str = ""
    license: str = "unknown"
    author: str = "unknown"
    source: str = ""
    up: Axis | None = None
    front: Axis | None = None
    size: float | None = None
    recolorable: bool = True


def read_table(root: Path, files: Collection[str]) -> dict[str, MetadataRow]:
    """Reads the table, if there is one.

    Args:
        root: the folder of models.
        files: paths of its model files, relative to the root.

    Returns:
        The rows by path.

    Raises:
        UserError: the table is wrong; the message names file, row and column.
    """
    rows: dict[str, MetadataRow] = {}
    ids: dict[str, str] = {}
    for where, raw in _raw_rows(root):
        try:
            row = msgspec.convert(raw, MetadataRow, strict=False)
        except msgspec.ValidationError as error:
            raise UserError(f"{where}: {error}") from None
        _check(row, where)
        if row.path not in files:
            raise UserError(f"{where}: path: there is no model file {row.path!r} under {root}")
        if row.path in rows:
            raise UserError(f"{where}: path: {row.path!r} has an earlier row already")
        identifier = row.id or row.path
        if identifier in ids:
            raise UserError(f"{where}: id: {identifier!r} is also the id of {ids[identifier]!r}")
        rows[row.path] = row
        ids[identifier] = row.path
    return rows


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
    up, front = row.up, row.front
    if (up is None) != (front is None):
        missing = "up" if up is None else "front"
        raise UserError(f"{where}: {missing}: give both up and front, or neither")
    if up and front and up[-1] == front[-1]:
        raise UserError(f"{where}: front: {front} is parallel to up ({up}); expected another axis")


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
