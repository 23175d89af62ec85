"""The container of a glTF file: its JSON and its binary chunk."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from datagen.catalog.ingest.gltf.extensions import check_required
from datagen.catalog.ingest.gltf.schema import AssetInfo, Document
from datagen.catalog.ingest.model_files import AssetRejected

INVALID = "invalid glTF"
"""Reason of every rejection for breaking a rule of the specification."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Container:
    """``document``: the JSON; ``binary``: the GLB's binary chunk, None where there is none."""

    document: Document
    binary: memoryview | None


def read_container(data: bytes) -> Container:
    """Reads a GLB file, or a glTF file of JSON.

    Raises:
        AssetRejected: the file is not glTF 2, is cut off, or requires an unknown extension.
    """
    text, binary = _chunks(data)
    # First, because the lists of a glTF 1 file have another type.
    _check_version(_decode(text, _Versioned).asset)
    document = _decode(text, Document)
    check_required(document.extensions_required)
    return Container(document, binary)


def read_asset_info(data: bytes) -> AssetInfo:
    """The "asset" of a glTF file, without reading anything else. Raises ``AssetRejected``."""
    return _decode(_chunks(data)[0], _Versioned).asset


class _Versioned(msgspec.Struct):
    asset: AssetInfo


def _decode(text: memoryview, kind: type[Item]) -> Item:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise AssetRejected(INVALID, f"JSON: {error}"[:300]) from None


def _chunks(data: bytes) -> tuple[memoryview, memoryview | None]:
    """The JSON and the binary chunk of a file."""
    return _glb_chunks(data) if data[:4] == b"glTF" else (memoryview(data), None)


def _check_version(asset: AssetInfo) -> None:
    if asset.version.split(".")[0] != "2" or asset.min_version not in ("", "2.0"):
        version = asset.min_version or asset.version
        raise AssetRejected("unsupported glTF version", f"{version!r}, expected 2.0"[:100])


def item(items: tuple[Item, ...], index: int, kind: str) -> Item:
    """``items[index]``; ``kind`` is the name of the list in the file.

    Raises:
        AssetRejected: the file has no such item.
    """
    if not 0 <= index < len(items):
        raise AssetRejected(INVALID, f"{kind}[{index}]: the file has {len(items)} {kind}")
    return items[index]


def _glb_chunks(data: bytes) -> tuple[memoryview, memoryview | None]:
    """The JSON chunk and the binary chunk of a GLB file."""
    if len(data) < 20:
        raise AssetRejected(INVALID, f"a GLB of {len(data)} bytes is cut off")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise AssetRejected("unsupported glTF version", f"GLB container {version}, expected 2")
    if length > len(data):
        raise AssetRejected(INVALID, f"cut off: {len(data)} of {length} bytes")
    view, start = memoryview(data)[:length], 12
    chunks: list[tuple[bytes, memoryview]] = []
    while start + 8 <= length and len(chunks) < 2:
        size, kind = struct.unpack_from("<I4s", data, start)
        if start + 8 + size > length:
            raise AssetRejected(INVALID, f"chunk {kind!r} of {size} bytes reaches past the end")
        chunks.append((kind, view[start + 8 : start + 8 + size]))
        start += 8 + size
    if not chunks or chunks[0][0] != b"JSON":
        raise AssetRejected(INVALID, "the first chunk of the GLB is not JSON")
    binary = next((chunk for kind, chunk in chunks[1:] if kind == b"BIN\0"), None)
    return chunks[0][1], binary
