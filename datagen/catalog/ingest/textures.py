"""Decodes the image files that models name as textures, within limits."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from datagen.catalog.ingest.model_files import AssetRejected
from datagen.catalog.provider import MAX_TEXTURE

# Not whatever PIL knows: some of its plugins start programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "DDS", "AVIF", "BMP", "TGA", "TIFF", "GIF")
_MAX_PIXELS = 8192 * 8192


def decode_texture(data: bytes, where: str) -> Image.Image:
    """Decodes an image file to RGB or RGBA of 8 bits, reduced to ``MAX_TEXTURE`` pixels per side.

    Raises:
        AssetRejected: the image is broken, too large, or of another format. ``where`` is the
            image's name in the message.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(io.BytesIO(data), formats=_FORMATS)
            if file.width * file.height > _MAX_PIXELS:
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
    if image.mode == "F":
        raise ValueError("floating-point pixels, expected integers")
    if image.mode.startswith("I"):
        gray = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(gray, 0, 65535) // 257).astype(np.uint8)).convert("RGB")
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")
