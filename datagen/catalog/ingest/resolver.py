"""Serves trimesh the files that a model file names, from the model's library only."""

from __future__ import annotations

import io
import urllib.parse

import trimesh
from PIL import Image

from datagen.catalog.ingest.file_checks import check_content
from datagen.catalog.ingest.model_files import AssetRejected, Library, locate

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tga", ".tif", ".tiff", ".gif", ".webp")


class Resolver(trimesh.resolvers.Resolver):
    """The resolver that trimesh asks for materials, textures and buffers.

    trimesh catches whatever a resolver raises and continues without the file; ``problem`` keeps
    the first error. ``used`` has every name that was asked for, also of files that are missing.

    Args:
        library: the library of the model file.
        folder: the folder of the model file in the library; names are relative to it.
        max_bytes: largest file that is read.
    """

    def __init__(self, library: Library, folder: str, max_bytes: int) -> None:
        self._library = library
        self._folder = folder
        self._max_bytes = max_bytes
        self.problem: AssetRejected | None = None
        self.used: set[str] = set()

    def get(self, name: str) -> bytes:
        try:
            return self._read(locate(self._folder, urllib.parse.unquote(name)))
        except AssetRejected as problem:
            self.problem = self.problem or problem
            raise

    def find_text(self, reference: str) -> bytes | None:
        """The content of a file beside the model, or None where it is absent."""
        name = locate(self._folder, urllib.parse.unquote(reference))
        if self._library.find(name) is None:
            self.used.add(name)
            return None
        return self._read(name)

    def read_image(self, reference: str, folder: str = "") -> bytes:
        """The content of an image file.

        Args:
            reference: its name, relative to ``folder``; or else to the model's folder.
            folder: relative to the model's folder.
        """
        name = locate(locate(self._folder, folder), urllib.parse.unquote(reference))
        beside = locate(self._folder, urllib.parse.unquote(reference))
        if self._library.find(name) is None and self._library.find(beside) is not None:
            self.used.add(name)
            name = beside
        return self._read(name)

    def _read(self, name: str) -> bytes:
        """The content of the file ``name`` in the library."""
        stored = self._library.find(name)
        self.used.add(stored or name)
        is_image = name.lower().endswith(IMAGE_SUFFIXES)
        if stored is None:
            raise AssetRejected("missing texture" if is_image else "missing file", name)
        data = self._library.read(stored, self._max_bytes)
        check_content(stored, data)
        if is_image:
            check_image(data, name)
        return data

    def keys(self) -> list[str]:
        return []

    def namespaced(self, namespace: str) -> Resolver:
        return self

    def write(self, name: str, data: str | bytes) -> None:
        raise NotImplementedError("a model library is read only")


def check_image(data: bytes, name: str) -> None:
    """Raises ``AssetRejected`` unless ``data`` begins as an image that PIL knows."""
    try:
        Image.open(io.BytesIO(data))
    except Exception as error:  # PIL's plugins raise anything at bytes that they do not know
        raise AssetRejected("unreadable texture", f"{name}: {error}") from None
