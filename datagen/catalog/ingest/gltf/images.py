"""Textures of glTF files: which image they show, decoded within limits."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from datagen.catalog.ingest.gltf.accessors import Arrays
from datagen.catalog.ingest.gltf.document import INVALID, item
from datagen.catalog.ingest.gltf.schema import Document
from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.provider import MAX_TEXTURE

FORMATS = ("PNG", "JPEG", "WEBP", "DDS", "AVIF")
MAX_PIXELS = 8192 * 8192
"""Largest texture that is decoded."""


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
        return decode(bytes(data), f"images[{index}]")


def decode(data: bytes, where: str) -> Image.Image:
    """Decodes an image file to RGB or RGBA of 8 bits, reduced to ``MAX_TEXTURE`` pixels per side.

    Raises:
        AssetRejected: the image is broken, too large, or of another format. ``where`` is the
            image's name in the message.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(io.BytesIO(data), formats=FORMATS)
            if file.width * file.height > MAX_PIXELS:
                size = f"{file.width} x {file.height} pixels"
                raise AssetRejected("texture too large", f"{where}: {size}")
            image = _eight_bits(file)
    except (AssetRejected, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # PIL's own limit, before ours can be asked
        raise AssetRejected("texture too large", f"{where}: {error}"[:300]) from None
    except Exception as error:  # PIL's plugins raise anything at bytes that they do not know
        raise AssetRejected("unreadable texture", f"{where}: {error}"[:300]) from None
    return _reduced(image)


def _reduced(image: Image.Image) -> Image.Image:
    """The image with at most ``MAX_TEXTURE`` pixels per side. Each channel by itself: the fourth
    may be gloss, or nothing at all, and must not weigh the colours."""
    bands = image.split()
    for band in bands:
        band.thumbnail((MAX_TEXTURE, MAX_TEXTURE), Image.Resampling.LANCZOS)
    return Image.merge(image.mode, bands)


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image as RGBA if it has an alpha channel in any form, else as RGB. PIL's own conversion
    of 16-bit grey clips it at 255."""
    if image.mode.startswith("I"):
        gray = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(gray, 0, 65535) // 257).astype(np.uint8)).convert("RGB")
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")
