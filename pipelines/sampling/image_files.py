"""Reads the picture files that a scene file names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps

from datagen.errors import UserError
from pipelines.sampling.mask_files import Color, expect_all_values, read_mask

MAX_SIDE = 8192
TOO_LARGE = f"expected at most {MAX_SIDE} pixels a side; make it smaller"

Mode = Literal["RGBA", "RGB"]


@dataclass(frozen=True)
class Pictures:
    """Reads picture files of one scene.

    Every method takes a path relative to ``folder`` and raises UserError, which begins with that
    path, for a file that is missing, is not a picture, is over ``MAX_SIDE`` pixels a side or, other
    than references, is not of the size of the canvas.

    Attributes:
        folder: That of the scene file.
        canvas: (width, height) in pixels.
    """

    folder: Path
    canvas: tuple[int, int]

    def reference(self, name: str) -> np.ndarray:
        """A reference picture of any size: (H, W, 4) uint8 RGBA, with at least one opaque pixel."""
        picture = self._read(name, "RGBA")
        if picture[..., 3].max() < 128:
            raise UserError(f"{name}: transparent throughout, expected an opaque subject")
        return picture

    def color(self, name: str) -> np.ndarray:
        """A colour picture of the size of the canvas: (H, W, 3) uint8 RGB."""
        return self._read(name, "RGB", self.canvas)

    def mask(self, name: str, label: int | Color | None = None) -> np.ndarray:
        """A mask of the size of the canvas, (H, W) bool: see ``mask_files.read_mask``."""
        with self._opened(name) as image:
            expect_all_values(image)
            return read_mask(self._upright(image, self.canvas), label)

    def depth(self, name: str) -> np.ndarray:
        """A 16-bit depth picture in millimetres, of the size of the canvas: (H, W) float32 z-depth
        in metres, 0 where it is not known."""
        with self._opened(name) as image:
            if not image.mode.startswith("I;16"):
                raise UserError(
                    f"mode {image.mode}, expected 16-bit depth in millimetres, in one channel"
                )
            expect_all_values(image)
            return np.array(self._upright(image, self.canvas)).astype(np.float32) / 1000

    def _read(self, name: str, mode: Mode, size: tuple[int, int] | None = None) -> np.ndarray:
        with self._opened(name) as image:
            upright = self._upright(image, size)
            if upright.mode.startswith("I;16"):  # Pillow would clip values above 255 to white
                upright = Image.fromarray((np.array(upright) >> 8).astype(np.uint8))
            return np.array(upright.convert(mode))

    @contextmanager
    def _opened(self, name: str) -> Iterator[Image.Image]:
        """A picture of a size that may be decoded, not yet decoded."""
        with _errors_named(name), Image.open(self.folder / name) as image:
            if max(image.size) > MAX_SIDE:
                raise UserError(f"{image.size}, {TOO_LARGE}")
            if image.format == "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) > 4:
                # Pillow 12.3 decodes an uncompressed one at its upright size: rows are mixed up.
                raise UserError("a TIFF that is stored lying on its side; expected it upright")
            yield image

    def _upright(self, image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
        """The picture, decoded and turned as its EXIF orientation says, in which phones store how
        they were held."""
        ImageOps.exif_transpose(image, in_place=True)
        if size is not None and image.size != size:
            raise UserError(f"{image.size}, expected the canvas's {size}")
        return image


def squared(picture: np.ndarray) -> np.ndarray:
    """An RGBA picture (H, W, 4), padded with transparent pixels on both sides to (s, s, 4)."""
    height, width = picture.shape[:2]
    edge = max(height, width)
    top, left = (edge - height) // 2, (edge - width) // 2
    square = np.zeros((edge, edge, 4), np.uint8)
    square[top : top + height, left : left + width] = picture
    return square


@contextmanager
def _errors_named(name: str) -> Iterator[None]:
    """Raises every error of reading a file as a UserError that begins with its name."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of a large picture while it opens it, before its size is known here.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(f"{name}: too large a picture, {TOO_LARGE}") from None
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except (OSError, ValueError, SyntaxError) as error:
        # Pillow raises SyntaxError for a broken PNG, and its OSErrors repeat the path.
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not readable"
        raise UserError(f"{name}: {why}, expected a picture, such as a PNG") from None
