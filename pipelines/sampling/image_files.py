"""The picture files that a scene file names: read, and refused with their name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from datagen.errors import UserError

MAX_SIDE = 8192
TOO_LARGE = f"expected at most {MAX_SIDE} pixels a side; make it smaller"

Mode = Literal["RGBA", "RGB", "LA", "I;16"]


@dataclass(frozen=True)
class Pictures:
    """Those beside a scene file, in ``folder``. ``canvas``: width and height that all but
    references must have. Everything here raises UserError with the name of the file."""

    folder: Path
    canvas: tuple[int, int]

    def reference(self, name: str) -> np.ndarray:
        """(H, W, 4) uint8, of any size."""
        with _named(name):
            picture = self._read(name, "RGBA")
            if picture[..., 3].max() < 128:
                raise UserError("transparent throughout, expected an opaque subject")
            return picture

    def color(self, name: str) -> np.ndarray:
        """(H, W, 3) uint8."""
        with _named(name):
            return self._read(name, "RGB", self.canvas)

    def mask(self, name: str) -> np.ndarray:
        """(H, W) bool: where the picture is white, and opaque."""
        with _named(name):
            light, opaque = np.moveaxis(self._read(name, "LA", self.canvas) > 127, 2, 0)
            mask: np.ndarray = light & opaque
            if not (opaque.all() or mask.any()):
                # Black on nothing: as often the shape as what is around it.
                raise UserError(
                    "transparent in part, and no white in the rest; expected white where it goes, "
                    "on black or on nothing"
                )
            return mask

    def depth(self, name: str) -> np.ndarray:
        """(H, W) float32 in metres, 0 where it is not known."""
        with _named(name):
            return self._read(name, "I;16", self.canvas).astype(np.float32) / 1000

    def _read(self, name: str, mode: Mode, size: tuple[int, int] | None = None) -> np.ndarray:
        with Image.open(self.folder / name) as image:
            if max(image.size) > MAX_SIDE:
                raise UserError(f"{image.size}, {TOO_LARGE}")
            upright = ImageOps.exif_transpose(image)  # a telephone writes them as it is held
            if size is not None and upright.size != size:
                raise UserError(f"{upright.size}, expected the canvas's {size}")
            if mode == "I;16":
                if upright.mode != mode:
                    raise UserError(f"mode {upright.mode}, expected 16-bit depth in millimetres")
                return np.array(upright)
            if upright.mode == "I;16":  # Pillow would make white of all above 255
                upright = Image.fromarray((np.array(upright) >> 8).astype(np.uint8))
            return np.array(upright.convert(mode))


def squared(picture: np.ndarray) -> np.ndarray:
    """(s, s, 4) of an RGBA picture (H, W, 4): in the middle, transparent beside it."""
    height, width = picture.shape[:2]
    edge = max(height, width)
    top, left = (edge - height) // 2, (edge - width) // 2
    whole = np.zeros((edge, edge, 4), np.uint8)
    whole[top : top + height, left : left + width] = picture
    return whole


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Whatever a file can do to its reader, as a UserError."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of a large picture before its size can be asked for.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(f"{name}: too large a picture, {TOO_LARGE}") from None
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except (OSError, ValueError, SyntaxError) as error:
        # A broken PNG is a SyntaxError to Pillow; its OSErrors tell the path once more.
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not readable"
        raise UserError(f"{name}: {why}, expected a picture, such as a PNG") from None
