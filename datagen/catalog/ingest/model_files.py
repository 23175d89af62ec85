"""Reads the files of a model library, and nothing outside it.

A library is a folder or a zip archive. Model files name other files (materials, textures,
buffers), and those names are not trusted: a name that leads outside the library is rejected, and
no file is read before its size is known.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import zipfile
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol


class AssetRejected(Exception):
    """An asset cannot be used. ``reason`` is a short stable phrase to count by, ``detail`` what was
    found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Library(Protocol):
    """The files of a model library, named by POSIX paths relative to its root."""

    def find(self, name: str) -> str | None:
        """The stored name of a file, equal to ``name`` or different in case only; None if
        absent."""

    def stamp(self, name: str) -> str:
        """A text that changes when the file does; empty if absent. Does not read the file."""

    def read(self, name: str, limit: int) -> bytes:
        """The whole file. Raises ``AssetRejected`` if it is larger than ``limit`` bytes."""


def open_library(path: str) -> Library:
    """Opens the library at ``path``: a folder, or a zip archive, whose directory is read once."""
    return _open(path, os.stat(path).st_mtime_ns)


@lru_cache(maxsize=16)
def _open(path: str, changed: int) -> Library:
    return FolderLibrary(Path(path)) if os.path.isdir(path) else ZipLibrary(path)


def locate(folder: str, reference: str) -> str:
    """The name in the library of the file that a model file in ``folder`` calls ``reference``.

    Raises:
        AssetRejected: the reference is absolute, a URL, or leads above the root.
    """
    name = reference.replace("\\", "/")
    path = posixpath.normpath(posixpath.join(folder, name))
    absolute = name.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name)
    if absolute or path == ".." or path.startswith("../"):
        raise AssetRejected("file outside the library", reference)
    return path


class FolderLibrary:
    """A library in a folder on disk. Links are followed only if they stay inside the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def find(self, name: str) -> str | None:
        found: list[str] = []
        for step in name.split("/"):
            folder = self._root.joinpath(*found)
            if os.path.lexists(folder / step):
                found.append(step)
                continue
            entries = sorted(os.listdir(folder)) if folder.is_dir() else []
            matches = [entry for entry in entries if entry.lower() == step.lower()]
            if not matches:
                return None
            found.append(matches[0])
        return "/".join(found)

    def stamp(self, name: str) -> str:
        try:
            status = self._path(name).stat()
        except (OSError, AssetRejected):
            return ""
        return f"{status.st_size}-{status.st_mtime_ns}"

    def read(self, name: str, limit: int) -> bytes:
        path = self._path(name)
        status = path.stat()
        # Reading a pipe or a device could block or never end.
        if not stat.S_ISREG(status.st_mode):
            raise AssetRejected("not a regular file", name)
        _check_size(name, status.st_size, limit)
        return path.read_bytes()

    def _path(self, name: str) -> Path:
        try:
            path = (self._root / name).resolve()
        except RuntimeError:  # a link to itself
            raise AssetRejected("file outside the library", name) from None
        if not path.is_relative_to(self._root):
            raise AssetRejected("file outside the library", name)
        return path


class ZipLibrary:
    """A library in a zip archive."""

    def __init__(self, path: str) -> None:
        self._zip = zipfile.ZipFile(path)

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        return {info.filename: info for info in self._zip.infolist() if not info.is_dir()}

    @cached_property
    def _by_lower(self) -> dict[str, str]:
        return {name.lower(): name for name in reversed(self._members)}

    def find(self, name: str) -> str | None:
        return name if name in self._members else self._by_lower.get(name.lower())

    def stamp(self, name: str) -> str:
        info = self._members.get(name)
        return f"{info.file_size}-{info.CRC:08x}" if info else ""

    def read(self, name: str, limit: int) -> bytes:
        if name not in self._members:
            raise AssetRejected("missing file", name)
        _check_size(name, self._members[name].file_size, limit)
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise AssetRejected("unreadable file", f"{name}: {error}") from None


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise AssetRejected("file too large", f"{name}: {size} bytes, limit {limit}")
