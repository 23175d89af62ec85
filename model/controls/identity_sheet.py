"""The identity sheet I_S: the reference pictures of all subjects, one below the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from datagen.errors import UserError
from model.controls.regions import size_in_words

SHEET_BACKGROUND = 128
"""Mid-grey. In [-1, 1] it is nearly 0, so the background carries no signal in pixel space, and both
white and black subjects keep their outline. On 168 rendered views, 4% of the pixels at the rim of
a subject are within 24 levels of it, which is as many as for white. For black it is 0.1%, but black
is more common in photographs than in renderings."""

Picture = np.ndarray | Image.Image


def reference_view(picture: Picture) -> np.ndarray:
    """A user's reference picture as ``identity_sheet`` takes it.

    Args:
        picture: RGBA, square, uint8; a Pillow image or an array.

    Returns:
        (s, s, 4) uint8 RGBA.

    Raises:
        UserError: the picture is not RGBA, not uint8, not square, or transparent everywhere.
    """
    view = np.asarray(picture)
    if view.ndim == 3 and view.shape[2] == 3:
        raise UserError(
            f"{view.dtype} {view.shape}: RGB, expected RGBA; cut the subject out, and make what "
            "is around it transparent"
        )
    if view.dtype != np.uint8 or view.ndim != 3 or view.shape[2] != 4:
        raise UserError(
            f"{view.dtype} {view.shape}, expected uint8 (s, s, 4): a square RGBA picture"
        )
    if view.shape[0] != view.shape[1]:
        raise UserError(
            f"{size_in_words(view.shape[:2])}, expected a square; pad it with transparent pixels"
        )
    if not view[..., 3:].max(initial=0) > 127:
        raise UserError("transparent throughout, expected an opaque subject")
    return view


def identity_sheet(views: Sequence[np.ndarray], size: int) -> np.ndarray:
    """The identity sheet I_S.

    Args:
        views: One reference view (s, s, 4) uint8 RGBA per subject, in the order of the subjects.
            Views may differ in s.
        size: Edge of a block of the sheet, in pixels.

    Returns:
        (N * size, size, 3) uint8 RGB: the views of the N subjects on ``SHEET_BACKGROUND``, one
        below the other.

    Raises:
        UserError: there are no views, or one is not a square RGBA picture.
    """
    if not views:
        raise UserError("identity sheet: no views, expected one per subject")
    blocks = []
    for index, view in enumerate(views, start=1):
        if view.dtype != np.uint8 or view.shape != (len(view), len(view), 4):
            raise UserError(
                f"identity view of subject {index}: {view.dtype} {view.shape}, "
                "expected uint8 (s, s, 4): a square RGBA picture"
            )
        # Composited before it is resized, so that the colour of transparent pixels never blends in:
        # on one plain background this is the same as resizing with premultiplied alpha.
        block = Image.new("RGB", view.shape[:2], (SHEET_BACKGROUND,) * 3)
        picture = Image.fromarray(view)
        block.paste(picture, mask=picture)
        # reducing_gap=1.0 averages by whole factors first: it takes a third of the time.
        resized = block.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=1.0)
        blocks.append(np.asarray(resized))
    return np.concatenate(blocks)
