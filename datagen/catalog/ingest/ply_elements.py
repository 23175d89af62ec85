"""Reads the elements of a PLY file: tables whose columns are numbers or lists of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from datagen.catalog.ingest.model_files import AssetRejected

_KINDS = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}


@dataclass(frozen=True, eq=False)
class Column:
    """A column: the ``values`` of all rows one after another, how many each row has (1 unless the
    column holds lists), and the type that the header gives to the values."""

    values: np.ndarray
    counts: np.ndarray
    kind: np.dtype


Element = Mapping[str, Column]
"""A table: its columns by name."""


@dataclass(frozen=True)
class _Property:
    """A column in the header; ``count`` is the type of a list's length, None for a number."""

    name: str
    kind: np.dtype
    count: np.dtype | None


@dataclass
class _Header:
    """The elements with their numbers of rows, the names of textures, the encoding of the data and
    where they begin."""

    encoding: str = "ascii"
    elements: list[tuple[str, int, list[_Property]]] = field(default_factory=list)
    textures: list[str] = field(default_factory=list)
    end: int = 0


def read_elements(data: bytes) -> tuple[dict[str, Element], list[str]]:
    """Reads every element.

    Returns:
        The elements by name, and the names of textures in the header's comments.

    Raises:
        AssetRejected: the file ends before its data do.
        ValueError: the header is not PLY's.
    """
    header = _header(data)
    if header.encoding == "ascii":
        words = data[header.end :].split()
        rows = _Rows(np.array(words, dtype=float), is_binary=False)
    else:
        rows = _Rows(np.frombuffer(data, np.uint8, offset=header.end), is_binary=True)
    return {
        name: rows.read(number, properties) for name, number, properties in header.elements
    }, header.textures


def _header(data: bytes) -> _Header:
    """Reads the header. All its lines end as the first one does."""
    if data[:3] != b"ply":
        raise ValueError("not PLY: the file does not begin with 'ply'")
    line_end = b"\r\n" if data[3:5] == b"\r\n" else data[3:4]
    last = data.find(b"end_header")
    end = data.find(line_end, last) + len(line_end)
    if last < 0 or not line_end or end < last:
        raise AssetRejected("cut file", "its header has no end; download it again")
    header = _Header(end=end)
    for line in data[:last].decode("utf-8", "replace").splitlines()[1:]:
        match line.split():
            case ["format", encoding, *_]:
                header.encoding = encoding
            case ["comment", "TextureFile", *_]:
                header.textures.append(line.split("TextureFile", 1)[1].strip())
            case ["element", name, rows]:
                header.elements.append((name, int(rows), []))
            case ["property", *kinds, name]:
                order = ">" if header.encoding == "binary_big_endian" else "<"
                types = [np.dtype(order + _KINDS[kind]) for kind in kinds if kind != "list"]
                count = types[0] if len(types) == 2 else None
                header.elements[-1][2].append(_Property(name, types[-1], count))
    return header


class _Rows:
    """Reads rows, one element after another, from bytes or, of an ASCII file, from numbers.

    Args:
        data: (N,) uint8, or float64 numbers.
        is_binary: whether ``data`` are bytes.
    """

    def __init__(self, data: np.ndarray, *, is_binary: bool) -> None:
        self._data = data
        self._is_binary = is_binary
        self._position = 0

    def read(self, rows: int, properties: Sequence[_Property]) -> dict[str, Column]:
        """The columns of the next ``rows`` rows. At once where each list has in all rows the length
        that it has in the first, else row by row."""
        if rows == 0:
            return {}
        start = self._position
        first = [self._value(one) for one in properties]
        width = self._position - start
        self._position = start
        table = self._data[start : start + rows * width]
        if len(table) == rows * width and width:
            columns = self._table(table.reshape(rows, width), properties, [len(v) for v in first])
            if columns is not None:
                self._position = start + rows * width
                return columns
        values: list[list[np.ndarray]] = [[] for _ in properties]
        for _ in range(rows):
            for one, column in zip(properties, values, strict=True):
                column.append(self._value(one))
        return {
            one.name: Column(
                np.concatenate(column), np.array([len(value) for value in column]), one.kind
            )
            for one, column in zip(properties, values, strict=True)
        }

    def _table(
        self, table: np.ndarray, properties: Sequence[_Property], lengths: Sequence[int]
    ) -> dict[str, Column] | None:
        """The columns of a table (rows, width) with lists of these lengths; None where some list
        has another."""
        columns, at = {}, 0
        for one, length in zip(properties, lengths, strict=True):
            if one.count is not None:
                end = at + self._width(one.count)
                if (self._as(one.count, table[:, at:end]) != length).any():
                    return None
                at = end
            end = at + length * self._width(one.kind)
            values = self._as(one.kind, table[:, at:end]).ravel()
            columns[one.name] = Column(values, np.full(len(table), length), one.kind)
            at = end
        return columns

    def _value(self, one: _Property) -> np.ndarray:
        """The next value or list."""
        length = 1 if one.count is None else int(self._take(one.count, 1)[0])
        return self._take(one.kind, length)

    def _take(self, kind: np.dtype, length: int) -> np.ndarray:
        end = self._position + length * self._width(kind)
        if end > len(self._data) or length < 0:
            raise AssetRejected("cut file", "it ends before its data do; download it again")
        chunk = self._data[self._position : end]
        self._position = end
        return self._as(kind, chunk)

    def _width(self, kind: np.dtype) -> int:
        return kind.itemsize if self._is_binary else 1

    def _as(self, kind: np.dtype, chunk: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(chunk).view(kind) if self._is_binary else chunk
