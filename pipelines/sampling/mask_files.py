"""What the pixels of a mask file mean: a black and white picture, or one label of a label map.

Programs store a mask in many ways: white on black, 1 on 0, a colour on black, white on
transparent ground, or as one label of several. A picture that allows only one reading is read; for
any other the error says what to add or to change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from datagen.errors import UserError

Color = tuple[int, int, int]

_LOSSY = ("JPEG", "MPO")

_END = 1 / 8
"""Values within this share of the range from black or white are noise or part of a soft edge."""

_MOST_GREY, _MOST_UNIFORM, _UNIFORM = 1 / 3, 0.15, 1 / 64
"""What distinguishes a soft mask from a photo and from a label map: few pixels lie between the
ends, no more than at the bright end, and few lie in uniform areas. Measured on masks as JPEG
(quality 10 to 95), reduced by a half, or blurred (standard deviation up to 10 of 512 pixels): at
most 0.11 of the pixels lie between the ends, and none of these differs from its eight neighbours by
less than 1/64 of the range; in a grey label of 7 x 7 pixels 0.5 do. Of the pixels that have neither
the commonest dark nor the commonest bright value, at most 0.01 equal their eight neighbours; in a
label of 4 x 4 pixels 0.25 do."""

_LISTED = 8
"""Labels that an error message lists."""


def expect_all_values(image: Image.Image) -> None:
    """Check that Pillow will read every value of a picture whose values are labels or depth.

    Args:
        image: an opened picture file, not yet decoded.

    Raises:
        UserError: the file has several pictures, or several channels of 16 bits, of which Pillow
            keeps the upper 8.
    """
    pictures = getattr(image, "n_frames", 1)
    if pictures > 1:
        raise UserError(f"{pictures} pictures in one file, expected one")
    channels = len(image.getbands())
    if channels > 1 and "16" in _rawmode(image):
        raise UserError(f"{channels} channels of 16 bits; expected 8 bits, or one channel")


def read_mask(image: Image.Image, label: int | Color | None = None) -> np.ndarray:
    """Read a mask.

    Args:
        image: an opened picture file, upright, of any mode.
        label: the label of the subject in a label map: a grey value or palette index, or an RGB
            colour. None for a picture that is a mask itself.

    Returns:
        (H, W) bool, True where the subject goes.

    Raises:
        UserError: the picture allows several readings or none, or no pixel has the label.
    """
    lossy = image.format in _LOSSY
    opaque = _opaque(image)
    if label is not None:
        if lossy:
            raise UserError("a JPEG, which does not keep labels; expected a PNG or TIFF")
        return _labelled(image, label) & opaque
    values = _grey(image, opaque)
    mask = _two_colors(image) if values is None else _bright(values)
    if mask is not None:
        return mask
    listed = _listed(_labels_of(image))
    if lossy:
        raise UserError(f"values {listed}: not black and white; expected white where it goes")
    raise UserError(
        f"{listed}: several labels, or not black and white; expected white where it goes, on "
        "black, or the label as well: {file: FILE, label: LABEL}"
    )


def _bright(values: np.ndarray) -> np.ndarray | None:
    """The mask of grey values (H, W), or None if they are not those of a mask."""
    found, counts = np.unique(values, return_counts=True)
    if not np.isfinite(found).all() or found[0] < 0:
        return None
    white = _white(values)
    above: np.ndarray = values > white / 2
    if len(found) == 1:
        return above if found[0] == 0 or above.all() else None
    if len(found) == 2:
        # Two values of which neither is black nor on another side of grey may be two labels.
        one_is_black = found[0] == 0 or found[0] <= white / 2 < found[1]
        return values == found[1] if one_is_black else None
    dark, bright = found <= white * _END, found >= white * (1 - _END)
    if not (dark.any() and bright.any()):
        return None
    commonest = [found[end][counts[end].argmax()] for end in (dark, bright)]
    other = ~np.isin(values, commonest)
    grey = (values > white * _END) & (values < white * (1 - _END))
    numbers = values.astype(np.float64)
    contrast = ndimage.maximum_filter(numbers, 3) - ndimage.minimum_filter(numbers, 3)
    soft = (
        grey.sum() <= min(_MOST_GREY * grey.size, counts[bright].sum())
        and (contrast[grey] <= white * _UNIFORM).sum() <= _MOST_UNIFORM * grey.sum()
        and (contrast[other] == 0).sum() <= _MOST_UNIFORM * other.sum()
    )
    return above if soft else None


def _two_colors(image: Image.Image) -> np.ndarray | None:
    """Where a picture of black and one colour is not black; None for any other."""
    codes = _color_codes(image)
    found = np.unique(codes)
    return codes > 0 if len(found) == 2 and found[0] == 0 else None


def _labelled(image: Image.Image, label: int | Color) -> np.ndarray:
    """Where the picture has the label."""
    if isinstance(label, int):
        values = _indices(image)
        if values is None:
            raise UserError("a colour picture: expected as label a colour, [red, green, blue]")
        mask: np.ndarray = values == label
        found = _labels_of(image)
    else:
        red, green, blue = label
        codes = _color_codes(image)
        mask = codes == red << 16 | green << 8 | blue
        found = _colors(codes)
    if not mask.any():
        asked = label if isinstance(label, int) else list(label)
        raise UserError(f"no pixel has the label {asked}; the labels are {_listed(found)}")
    return mask


def _labels_of(image: Image.Image) -> Sequence[object]:
    """The labels of a picture, as a scene file names them; no more than needed for a message."""
    values = _indices(image)
    if values is None:
        return _colors(_color_codes(image))
    return [f"{value:.10g}" for value in np.unique(values)[: _LISTED + 1].tolist()]


def _opaque(image: Image.Image) -> np.ndarray:
    """(H, W) bool."""
    if not image.has_transparency_data:
        return np.ones(image.size[::-1], bool)
    opaque: np.ndarray = np.array(image.convert("RGBA"))[..., 3] > 127
    return opaque


def _grey(image: Image.Image, opaque: np.ndarray) -> np.ndarray | None:
    """Grey values (H, W), 0 where it is transparent, or None for an opaque picture in colour."""
    if _is_wide(image):
        return _native(np.array(image))
    colors = np.array(image.convert("RGB"))
    if opaque.all():
        return colors[..., 0] if _is_grey(colors) else None
    values = np.where(opaque, np.array(Image.fromarray(colors).convert("L")), 0)
    if not (values > 127).any():
        # Black on transparent: the black may be meant as the shape or as its surroundings.
        raise UserError(
            "transparent in part, and no white in the rest; expected white where it goes, "
            "on black or on nothing"
        )
    return values


def _indices(image: Image.Image) -> np.ndarray | None:
    """Grey values or palette indices (H, W) as the file has them; None for a picture in colour."""
    if _is_wide(image) or image.mode in ("1", "P"):
        values = np.array(image)
        return values.astype(np.uint8) if values.dtype == bool else _native(values)
    colors = np.array(image.convert("RGB"))
    return colors[..., 0] if _is_grey(colors) else None


def _is_wide(image: Image.Image) -> bool:
    """Whether the picture has one channel of integers of more than 8 bits, or of fractions."""
    return image.mode == "F" or image.mode.startswith("I")


def _native(values: np.ndarray) -> np.ndarray:
    return values.astype(values.dtype.newbyteorder("="))


def _is_grey(colors: np.ndarray) -> bool:
    return bool((colors == colors[..., :1]).all())


def _white(values: np.ndarray) -> float:
    """The value of white. 16 and 32 bits and fractions are often used in part: then it is the
    least of 1 (of fractions only), 255, 65535 and the greatest integer that no value exceeds."""
    scales = [255, 65535] if values.dtype.kind in "ui" else [1, 255, 65535]
    return next((scale for scale in scales if values.max() <= scale), np.iinfo(np.int32).max)


def _rawmode(image: Image.Image) -> str:
    """Pillow's name of the pixel format in the file, or "" where it has none."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _color_codes(image: Image.Image) -> np.ndarray:
    """Colours (H, W) as 65536 red + 256 green + blue."""
    red, green, blue = np.moveaxis(np.array(image.convert("RGB")).astype(np.int32), 2, 0)
    codes: np.ndarray = red << 16 | green << 8 | blue
    return codes


def _colors(codes: np.ndarray) -> Sequence[object]:
    found = np.unique(codes)[: _LISTED + 1].tolist()
    return [[code >> 16, code >> 8 & 255, code & 255] for code in found]


def _listed(labels: Sequence[object]) -> str:
    shown = ", ".join(str(label) for label in labels[:_LISTED])
    return f"{shown}, ..." if len(labels) > _LISTED else shown
