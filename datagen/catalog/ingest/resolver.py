"""Serves trimesh the files that a model file names, from the model's library only."""

from __future__ import annotations

import io
import urllib.parse

import trimesh
from PIL import Image

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
            return self._read(name)
        except AssetRejected as problem:
            self.problem = self.problem or problem
            raise

    def _read(self, reference: str) -> bytes:
        name = locate(self._folder, urllib.parse.unquote(reference))
        stored = self._library.find(name)
        self.used.add(stored or name)
        is_image = name.lower().endswith(IMAGE_SUFFIXES)
        if stored is None:
            raise AssetRejected("missing texture" if is_image else "missing file", name)
        data = self._library.read(stored, self._max_bytes)
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
