"""Buffers, buffer views and accessors: the arrays of a glTF file. Every offset, stride and count
is checked against the size of what it points into before anything is read."""

from __future__ import annotations

import base64
import binascii
import urllib.parse

import numpy as np

from datagen.catalog.ingest.gltf.document import INVALID, Container, item
from datagen.catalog.ingest.gltf.schema import Accessor
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.ingest.resolver import Resolver

_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Arrays:
    """The arrays of one file.

    Args:
        container: the file.
        resolver: reads the files that it names.
    """

    def __init__(self, container: Container, resolver: Resolver) -> None:
        self._document = container.document
        self._binary = container.binary
        self._resolver = resolver
        self._buffers: dict[int, memoryview] = {}
        self._accessors: dict[int, np.ndarray] = {}

    def bytes_of(self, view_index: int) -> memoryview:
        """The bytes of a buffer view.

        Raises:
            AssetRejected: the file is wrong, or the view is compressed.
        """
        view = item(self._document.buffer_views, view_index, "bufferViews")
        if view.extensions.ext_meshopt or view.extensions.khr_meshopt:
            raise AssetRejected("unsupported extension", "EXT_meshopt_compression")
        data = self._buffer(view.buffer)
        end = view.byte_offset + view.byte_length
        if end > len(data):
            raise AssetRejected(
                INVALID,
                f"bufferViews[{view_index}]: ends at byte {end}; its buffer has {len(data)}",
            )
        return data[view.byte_offset : end]

    def uri_bytes(self, uri: str) -> memoryview:
        """The bytes of a data URI, or of a file of the library. Raises ``AssetRejected``."""
        if not uri.startswith("data:"):
            return memoryview(self._resolver.read(uri))
        header, _, payload = uri.partition(",")
        try:
            if header.endswith(";base64"):
                return memoryview(base64.b64decode(urllib.parse.unquote(payload)))
            return memoryview(urllib.parse.unquote_to_bytes(payload))
        except (binascii.Error, ValueError) as error:
            raise AssetRejected(INVALID, f"data URI: {error}") from None

    def read(self, index: int, *types: str) -> np.ndarray:
        """The elements of an accessor: (count, components), float where the file says float or
        normalised, else integer.

        Args:
            index: of the accessor.
            types: the types that are allowed here, as "VEC3".

        Raises:
            AssetRejected: the file is wrong.
        """
        accessor = item(self._document.accessors, index, "accessors")
        where = f"accessors[{index}]"
        if accessor.type not in types or accessor.type not in _WIDTHS:
            raise AssetRejected(INVALID, f"{where}: {accessor.type}, expected {' or '.join(types)}")
        if index not in self._accessors:
            self._accessors[index] = self._elements(accessor, where)
        return self._accessors[index]

    def _elements(self, accessor: Accessor, where: str) -> np.ndarray:
        width, kind = _WIDTHS[accessor.type], _dtype(accessor.component_type, where)
        if accessor.buffer_view is None:
            values = np.zeros((accessor.count, width), kind)
        else:
            view = item(self._document.buffer_views, accessor.buffer_view, "bufferViews")
            values = self._array(
                accessor.buffer_view,
                accessor.byte_offset,
                (accessor.count, width),
                kind,
                view.byte_stride,
                where,
            )
        if accessor.sparse is not None:
            sparse = accessor.sparse
            index_kind = _dtype(sparse.indices.component_type, where)
            if index_kind.kind != "u":
                raise AssetRejected(INVALID, f"{where}: sparse indices are not unsigned")
            at = self._array(
                sparse.indices.buffer_view,
                sparse.indices.byte_offset,
                (sparse.count, 1),
                index_kind,
                None,
                where,
            )[:, 0]
            if at.max() >= accessor.count:
                raise AssetRejected(INVALID, f"{where}: sparse index {at.max()} is out of range")
            replaced = self._array(
                sparse.values.buffer_view,
                sparse.values.byte_offset,
                (sparse.count, width),
                kind,
                None,
                where,
            )
            values = values.copy()
            values[at] = replaced
        if accessor.normalized and kind.kind != "f":
            # Section 3.6.2.2 of the specification.
            return np.maximum(values / np.iinfo(kind.str).max, -1.0)
        return values

    def _array(
        self,
        view_index: int,
        offset: int,
        shape: tuple[int, int],
        kind: np.dtype[np.generic],
        stride: int | None,
        where: str,
    ) -> np.ndarray:
        """An array over the bytes of a buffer view; they are not copied."""
        data = self.bytes_of(view_index)
        row = shape[1] * kind.itemsize
        step = stride or row
        end = offset + step * (shape[0] - 1) + row
        if end > len(data) or step < row:
            raise AssetRejected(
                INVALID,
                f"{where}: {shape[0]} elements end at byte {end} of a view of {len(data)} bytes",
            )
        return np.ndarray(shape, kind, data, offset, (step, kind.itemsize))

    def _buffer(self, index: int) -> memoryview:
        if index not in self._buffers:
            buffer = item(self._document.buffers, index, "buffers")
            if buffer.uri is not None:
                data = self.uri_bytes(buffer.uri)
            elif index == 0 and self._binary is not None:
                data = self._binary
            else:
                raise AssetRejected(INVALID, f"buffers[{index}]: has no data")
            if len(data) < buffer.byte_length:
                raise AssetRejected(
                    INVALID,
                    f"buffers[{index}]: cut off, {len(data)} of {buffer.byte_length} bytes",
                )
            self._buffers[index] = data[: buffer.byte_length]
        return self._buffers[index]


def _dtype(component_type: int, where: str) -> np.dtype[np.generic]:
    if component_type not in _COMPONENTS:
        raise AssetRejected(INVALID, f"{where}: componentType {component_type}")
    return np.dtype(_COMPONENTS[component_type])
