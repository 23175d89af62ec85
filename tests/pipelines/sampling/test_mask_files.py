"""Mask files as other programs write them: each has one reading, or is refused with one line."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageFilter

from datagen.errors import UserError
from pipelines.sampling.image_files import Pictures

EDGE = 96


def drawn(*values: int) -> np.ndarray:
    """(EDGE, EDGE): the first value outside, each other in a shape of its own."""
    picture = Image.new("I", (EDGE, EDGE), values[0])
    draw = ImageDraw.Draw(picture)
    for i, value in enumerate(values[1:]):
        draw.ellipse((4 + 10 * i, 20, 12 + 10 * i, 76), fill=value)
    return np.array(picture)


LABELS = drawn(0, 1, 2, 3)
SHAPE = LABELS == 1


def binary(inside: float, outside: float, dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(SHAPE, inside, outside).astype(dtype))


def labels(*values: int, dtype: type = np.uint8) -> Image.Image:
    """A label map of several labels; the first but one is where SHAPE is."""
    return Image.fromarray(drawn(*values).astype(dtype))


def colored(*colors: tuple[int, int, int]) -> Image.Image:
    """The same in colour."""
    return Image.fromarray(np.array(colors, np.uint8)[drawn(*range(len(colors)))])


def voc(*values: int) -> Image.Image:
    """The same with the palette of PASCAL VOC, whose colours spell the bits of the index."""
    picture = labels(*values)
    shades = [[0, 0, 0] for _ in range(256)]
    for index, shade in enumerate(shades):
        for bit in range(8):
            shade[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    picture.putpalette(np.array(shades, np.uint8).tobytes())
    return picture


def soft(shape: np.ndarray = SHAPE) -> Image.Image:
    large = Image.fromarray(np.where(shape, 255, 0).astype(np.uint8))
    return large.filter(ImageFilter.GaussianBlur(1))


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., np.ndarray]:
    def run(picture: Image.Image, suffix: str = "png", label: Any = None, **saved) -> np.ndarray:
        picture.save(tmp_path / f"mask.{suffix}", **saved)
        return Pictures(tmp_path, (EDGE, EDGE)).mask(f"mask.{suffix}", label)

    return run


@pytest.mark.parametrize(
    ("picture", "suffix"),
    [
        (binary(1, 0), "png"),
        (binary(1, 0), "bmp"),
        (binary(15, 0), "png"),
        (binary(1, 0).convert("RGB"), "png"),
        (binary(255, 0).convert("1"), "png"),
        (binary(255, 0).convert("1"), "tif"),
        (voc(0, 1), "png"),
        (voc(0, 15), "png"),
        (binary(1, 0, np.uint16), "png"),
        (binary(255, 0, np.uint16), "png"),
        (binary(7001, 0, np.uint16), "tif"),
        (binary(1, 0, np.int32), "tif"),
        (binary(1, 0, np.float32), "tif"),
        (binary(255, 0, np.float32), "tif"),
        (binary(235, 16), "png"),
        (colored((0, 0, 0), (255, 0, 0)), "png"),
        (colored((0, 0, 0), (0, 0, 1)), "webp"),
    ],
)
def test_a_picture_of_black_and_one_other_value_is_a_mask(picture, suffix, read):
    saved = {"lossless": True, "exact": True} if suffix == "webp" else {}
    assert np.array_equal(read(picture, suffix, **saved), SHAPE)


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_mask_is_its_bright_part(quality, mode, read):
    found = read(binary(255, 0).convert(mode), "jpg", quality=quality)
    assert (found != SHAPE).sum() < 0.02 * SHAPE.sum()


def test_a_jpeg_mask_saved_again_as_png_is_its_bright_part(read, tmp_path):
    binary(255, 0).save(tmp_path / "lossy.jpg", quality=60)
    found = read(Image.open(tmp_path / "lossy.jpg"))
    assert (found != SHAPE).sum() < 0.02 * SHAPE.sum()


@pytest.mark.parametrize(
    ("picture", "suffix"),
    [
        (soft(), "png"),
        (Image.fromarray(np.array(soft()).astype(np.uint16) * 257), "png"),
        (Image.fromarray(np.array(soft()).astype(np.float32) / 255), "tif"),
        (Image.merge("LA", (binary(255, 255), soft())), "png"),
    ],
)
def test_a_soft_edge_is_cut_at_one_half(picture, suffix, read):
    assert np.array_equal(read(picture, suffix), np.array(soft()) > 127)


LABEL_MAPS = [
    (labels(0, 1, 2, 3), "png", 1, "0, 1, 2, 3"),
    (labels(0, 15, 255), "png", 15, "0, 15, 255"),
    (labels(0, 128, 255), "png", 128, "0, 128, 255"),
    (labels(1, 2), "png", 2, "1, 2"),
    (labels(0, 1001, 1002, dtype=np.uint16), "png", 1001, "0, 1001, 1002"),
    (labels(0, 1, 2, dtype=np.uint16), "tif", 1, "0, 1, 2"),
    (labels(0, 70000, 70001, dtype=np.int32), "tif", 70000, "0, 70000, 70001"),
    (labels(0, 1, 2, dtype=np.float32), "tif", 1, "0, 1, 2"),
    (labels(-1, 4, 5, dtype=np.int32), "tif", 4, "-1, 4, 5"),
    (voc(0, 1, 2), "png", 1, "0, 1, 2"),
    (voc(0, 15, 255), "png", 15, "0, 15, 255"),
    (voc(3, 15), "png", 15, "3, 15"),
    (voc(0, 15, 2), "png", (192, 128, 128), "0, 2, 15"),
    (
        colored((0, 0, 0), (128, 0, 0), (0, 128, 0)),
        "png",
        (128, 0, 0),
        "[0, 0, 0], [0, 128, 0], [128, 0, 0]",
    ),
    (colored((70, 70, 70), (0, 0, 142)), "png", (0, 0, 142), "[0, 0, 142], [70, 70, 70]"),
    (colored((0, 0, 0), (1, 0, 0), (2, 0, 0)), "bmp", (1, 0, 0), "[0, 0, 0], [1, 0, 0]"),
]


@pytest.mark.parametrize(("picture", "suffix", "label", "listed"), LABEL_MAPS)
def test_a_label_map_is_asked_for_its_label(picture, suffix, label, listed, read):
    with pytest.raises(UserError) as error:
        read(picture, suffix)
    message = str(error.value)
    assert message.startswith(f"mask.{suffix}: {listed}")
    assert "{file: FILE, label: LABEL}" in message
    assert "\n" not in message
    assert np.array_equal(read(picture, suffix, label), SHAPE)


@pytest.mark.parametrize(
    ("picture", "suffix", "label", "message"),
    [
        (labels(0, 1, 2), "png", 7, "no pixel has the label 7; the labels are 0, 1, 2"),
        (voc(0, 1), "png", (9, 9, 9), r"no pixel has the label \[9, 9, 9\]; the labels are \[0,"),
        (colored((0, 0, 0), (9, 0, 0)), "png", 9, "a colour picture: expected as label a colour"),
        (labels(0, 100, 200), "jpg", 100, "a JPEG, which does not keep labels"),
        (labels(0, 100, 200), "jpg", None, "values .* not black and white"),
        (labels(*range(0, 250, 25)), "png", None, r"0, 25, .*, \.\.\.: several labels"),
        (binary(1, 1), "png", None, "1: several labels, or not black and white"),
        (binary(1, np.nan, np.float32), "tif", None, "1, nan: several labels"),
        (
            Image.merge("RGBA", (*colored((0, 0, 0), (90, 20, 20)).split(), binary(255, 0))),
            "png",
            None,
            "transparent in part, and no white in the rest",
        ),
    ],
)
def test_the_error_says_why_a_file_is_not_a_mask(picture, suffix, label, message, read):
    with pytest.raises(UserError, match=message):
        read(picture, suffix, label)


def test_a_photo_is_no_mask(read):
    noise = np.random.default_rng(0).integers(0, 256, (EDGE, EDGE)).astype(np.uint8)
    with pytest.raises(UserError, match="not black and white"):
        read(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1)))


def test_several_pictures_in_one_file_are_refused(read):
    with pytest.raises(UserError, match="2 pictures in one file, expected one"):
        read(binary(1, 0), "tif", save_all=True, append_images=[binary(1, 0)])


def test_colour_of_16_bits_is_refused_as_its_low_bits_would_be_lost(tmp_path):
    """Pillow cannot write such a file: its header and one row per line, by the PNG standard."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = np.repeat(SHAPE[..., None], 3, axis=2).astype(">u2")
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", EDGE, EDGE, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(UserError, match=r"mask\.png: 3 channels of 16 bits"):
        Pictures(tmp_path, (EDGE, EDGE)).mask("mask.png")


@pytest.mark.parametrize(("suffix", "saved"), [("png", {}), ("jpg", {"quality": 95})])
def test_the_orientation_of_a_mask_is_applied(suffix, saved, lying):
    mask = lying(suffix, **saved)
    assert mask.shape == (EDGE, 40)
    assert (mask == (np.arange(EDGE) < 30)[:, None]).all()


def test_a_tiff_on_its_side_is_refused_as_pillow_mixes_up_its_rows(lying):
    with pytest.raises(UserError, match=r"mask\.tif: a TIFF that is stored lying on its side"):
        lying("tif")


@pytest.fixture
def lying(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Reads a mask, bright in its upper part, that is stored on its side."""

    def run(suffix: str, **saved) -> np.ndarray:
        bright = np.where(np.arange(EDGE) < 30, 255, 0).astype(np.uint8)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        wide = Image.fromarray(np.tile(bright, (40, 1)))
        wide.save(tmp_path / f"mask.{suffix}", exif=exif, **saved)
        return Pictures(tmp_path, (40, EDGE)).mask(f"mask.{suffix}")

    return run


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_depth_of_16_bits_is_read_in_metres(suffix, tmp_path):
    labels(0, 900, 1500, dtype=np.uint16).save(tmp_path / f"depth.{suffix}")
    found = Pictures(tmp_path, (EDGE, EDGE)).depth(f"depth.{suffix}")
    assert found == pytest.approx(drawn(0, 900, 1500) / 1000)


def test_depth_of_16_bits_in_the_other_byte_order_is_read(tmp_path):
    """Big-endian TIFF, as ImageMagick and GDAL write it with the option."""
    depth = drawn(0, 900, 1500).astype(">u2")
    header = b"MM\0*" + (8).to_bytes(4, "big")
    fields = {256: EDGE, 257: EDGE, 258: 16, 259: 1, 262: 1, 273: 122, 277: 1, 278: EDGE}
    fields |= {279: 2 * EDGE**2}
    entries = b"".join(
        tag.to_bytes(2, "big") + b"\0\x04" + (1).to_bytes(4, "big") + value.to_bytes(4, "big")
        for tag, value in fields.items()
    )
    ifd = len(fields).to_bytes(2, "big") + entries + bytes(4)
    assert len(header + ifd) == 122
    (tmp_path / "depth.tif").write_bytes(header + ifd + depth.tobytes())
    found = Pictures(tmp_path, (EDGE, EDGE)).depth("depth.tif")
    assert found == pytest.approx(drawn(0, 900, 1500) / 1000)


@pytest.mark.parametrize(
    ("picture", "suffix", "message"),
    [
        (labels(0, 100, 200), "png", "mode L, expected 16-bit depth in millimetres"),
        (labels(0, 1, 2, dtype=np.float32), "tif", "mode F, expected 16-bit depth"),
        (labels(0, 900, 1500, dtype=np.int32), "tif", "mode I, expected 16-bit depth"),
        (colored((0, 0, 0), (1, 2, 3)), "png", "mode RGB, expected 16-bit depth"),
    ],
)
def test_the_error_says_what_depth_must_be(picture, suffix, message, tmp_path):
    picture.save(tmp_path / f"depth.{suffix}")
    with pytest.raises(UserError, match=f"depth.{suffix}: {message}"):
        Pictures(tmp_path, (EDGE, EDGE)).depth(f"depth.{suffix}")
