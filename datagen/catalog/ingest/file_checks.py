"""Recognises files that are not what their name says, before any parser sees them: empty files,
pointers that stand for a file that was not downloaded, web pages, files that were cut."""

from __future__ import annotations

import json
import re
import struct

from datagen.catalog.ingest.model_files import AssetRejected

STL_HEADER, STL_FACE = 84, 50
"""Bytes of a binary STL file before its faces, and of each face."""


def check_content(name: str, data: bytes) -> None:
    """Raises ``AssetRejected`` for the content of a file that cannot be a model, a material library
    or a texture. ``name``: of the file, for the message."""
    if not data.strip(b"\0 \t\r\n"):
        raise AssetRejected("empty file", f"{name}: {len(data)} bytes without content")
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        raise AssetRejected(
            "Git LFS pointer", f"{name}: the file itself was not downloaded; run git lfs pull"
        )
    if len(data) < 4096 and b"annex/objects/" in start:
        raise AssetRejected(
            "git-annex pointer", f"{name}: the file itself was not downloaded; run git annex get"
        )
    if re.match(rb"<!doctype html|<html|<head|<\?xml[^>]*>\s*<(!doctype html|html|error)", start):
        raise AssetRejected(
            "HTML page", f"{name}: a web page, probably an error message; download the file again"
        )


def check_complete(name: str, suffix: str, data: bytes) -> None:
    """Raises ``AssetRejected`` for a model file that says that it is longer than it is.

    Args:
        name: of the file, for the message.
        suffix: its format, in lower case: "glb", "gltf" or "stl". OBJ has nothing that would tell;
            for PLY, its reader knows (ply.py).
        data: the content of the file.
    """
    if suffix in ("glb", "gltf") and data[:4] == b"glTF":
        # Version and length; other versions are the parser's to refuse.
        version, length = struct.unpack_from("<II", data.ljust(12, b"\0"), 4)
        if len(data) < 12 or (version in (1, 2) and len(data) < length):
            raise _cut(name, f"{len(data)} of {max(length, 12)} bytes")
    elif suffix == "gltf":
        try:
            json.loads(data)
        except ValueError as error:
            if isinstance(error, json.JSONDecodeError) and not data.rstrip().endswith(b"}"):
                raise _cut(name, "its JSON has no end") from None
            raise AssetRejected("unreadable file", f"{name}: not JSON ({error})") from None
    elif suffix == "stl" and data[:5].lower() == b"solid" and b"facet" in data[:4096].lower():
        if b"endsolid" not in data[-4096:].lower():
            raise _cut(name, "no endsolid")
    elif suffix == "stl":
        faces = struct.unpack_from("<I", data, 80)[0] if len(data) >= STL_HEADER else 1
        if len(data) < STL_HEADER + STL_FACE * faces:
            raise _cut(name, f"{len(data)} of {STL_HEADER + STL_FACE * faces} bytes")


def _cut(name: str, detail: str) -> AssetRejected:
    return AssetRejected("cut file", f"{name}: {detail}; download it again")
