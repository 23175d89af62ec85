"""Textures of glTF files: which image they show."""

from __future__ import annotations

from PIL import Image

from datagen.catalog.ingest.gltf.accessors import Arrays
from datagen.catalog.ingest.gltf.document import INVALID, item
from datagen.catalog.ingest.gltf.schema import Document
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.ingest.textures import decode_texture


class Images:
    """The textures of one file, each decoded once.

    Args:
        document: the file.
        arrays: its arrays.
    """

    def __init__(self, document: Document, arrays: Arrays) -> None:
        self._document = document
        self._arrays = arrays
        self._decoded: dict[int, Image.Image] = {}

    def texture(self, index: int) -> Image.Image:
        """The image of a texture: RGB or RGBA, 8 bits, at most ``MAX_TEXTURE`` pixels per side.

        Raises:
            AssetRejected: there is no image in a format that we read.
        """
        texture = item(self._document.textures, index, "textures")
        others = (texture.extensions.webp, texture.extensions.avif, texture.extensions.dds)
        sources = [texture.source, *(other.source for other in others if other)]
        source = next((source for source in sources if source is not None), None)
        if source is None:
            if texture.extensions.basisu:
                raise AssetRejected("unsupported extension", "KHR_texture_basisu")
            raise AssetRejected("missing texture", f"textures[{index}]: names no image")
        if source not in self._decoded:
            self._decoded[source] = self._decode(source)
        return self._decoded[source]

    def _decode(self, index: int) -> Image.Image:
        image = item(self._document.images, index, "images")
        if image.buffer_view is not None:
            data = self._arrays.bytes_of(image.buffer_view)
        elif image.uri is not None:
            data = self._arrays.uri_bytes(image.uri)
        else:
            raise AssetRejected(INVALID, f"images[{index}]: has no data")
        return decode_texture(bytes(data), f"images[{index}]")
