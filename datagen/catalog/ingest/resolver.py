"""Reads the files that a model file names, from the model's library only."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from datagen.catalog.ingest.file_checks import check_content
from datagen.catalog.ingest.model_files import AssetRejected, Library, locate

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tga", ".tif", ".tiff", ".gif", ".webp")


class Resolver:
    """The files beside one model file.

    ``used`` has the name of every file that was looked for, also of those that are missing: a model
    is ingested again when one of them changes or appears.

    References are percent-encoded (glTF) or not (MTL, and glTF files of some exporters): both ways
    are tried. A path on the computer of whoever made the file ("C:/work/wood.jpg") stands for the
    file of that name beside the model, as for Blender.

    Args:
        library: the library of the model file.
        folder: the folder of the model file in the library.
        max_bytes: largest file that is read.
    """

    def __init__(self, library: Library, folder: str, max_bytes: int) -> None:
        self._library = library
        self._folder = folder
        self._max_bytes = max_bytes
        self.used: set[str] = set()

    def read(self, reference: str, folder: str = "") -> bytes:
        """The content of a file.

        Args:
            reference: its name, relative to ``folder``; or else to the model's folder.
            folder: relative to the model's folder.

        Raises:
            AssetRejected: it is missing, outside the library, too large, or cannot be what a model
                names.
        """
        data = self.find(reference, folder)
        if data is None:
            is_image = reference.lower().endswith(IMAGE_SUFFIXES)
            name = locate(locate(self._folder, folder), unquote(reference))
            raise AssetRejected("missing texture" if is_image else "missing file", name)
        return data

    def find(self, reference: str, folder: str = "") -> bytes | None:
        """As ``read``, but None where a file of the library is missing."""
        names, outside = [unquote(reference), reference], None
        try:
            locate(self._folder, names[0])
        except AssetRejected as rejected:
            outside = rejected
            names = [posixpath.basename(name.replace("\\", "/")) for name in names]
        for place in dict.fromkeys((locate(self._folder, folder), self._folder)):
            for name in dict.fromkeys(names):
                located = locate(place, name)
                stored = self._library.find(located)
                self.used.add(stored or located)
                if stored is not None:
                    data = self._library.read(stored, self._max_bytes)
                    check_content(stored, data)
                    return data
        if outside:
            raise outside
        return None
