"""Pictures of generated images beside their references, controls and true images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from model.evaluation.eval_samples import EvalSample

GAP, LINE = 4, 18
WHITE, INK = 255, (60, 60, 60)
COLUMNS = ("references", "control", "generated", "truth")


def comparison(
    cases: Sequence[EvalSample], generated: Sequence[np.ndarray], edge: int
) -> np.ndarray:
    """A picture with one row per scene: references, control, generated image, true image.

    Args:
        cases: the scenes.
        generated: a generated image (H, W, 3) uint8 per scene.
        edge: edge of each image as shown, in pixels.

    Returns:
        (H, W, 3) uint8, with a line of titles at the top.
    """
    rows = [_titles(edge)]
    for case, image in zip(cases, generated, strict=True):
        references = _arranged(np.split(case.sheet, case.n_subjects))
        shown = (references, control_colors(case.control), image, case.image)
        rows.append(_beside([_resized(picture, edge) for picture in shown]))
    return _stacked(rows)


def _titles(edge: int) -> np.ndarray:
    line = Image.new("RGB", (len(COLUMNS) * (edge + GAP), LINE), (WHITE,) * 3)
    write = ImageDraw.Draw(line)
    for i, title in enumerate(COLUMNS):
        middle = i * (edge + GAP) + edge // 2
        write.text((middle, LINE // 2), title, fill=INK, anchor="mm", font_size=LINE * 3 // 4)
    return np.asarray(line)


def control_colors(control: np.ndarray) -> np.ndarray:
    """Show a control image (H, W, C) uint8 as colours (H, W, 3) uint8: the paper's three channels
    as they are; one-hot routing as one hue per subject, with the structure as brightness."""
    if control.shape[2] == 3:
        return control
    routing, structure = control[..., :-1], control[..., -1:]
    hues = _hues(routing.shape[2])
    shades = 0.6 + 0.4 * structure / 255
    colors = (routing[..., None] / 255 * hues).max(axis=2) * shades
    return colors.astype(np.uint8)


def _hues(count: int) -> np.ndarray:
    """Colours (count, 3), 0..255, evenly spaced on a colour wheel."""
    angle = np.arange(count)[:, None] / count * 2 * np.pi + np.array([0, 2, 4]) * np.pi / 3
    return 127.5 * (1 + np.cos(angle))


def _arranged(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Tile square images of one size into a square."""
    edge = int(np.ceil(np.sqrt(len(blocks))))
    blank = np.full_like(blocks[0], WHITE)
    cells = [*blocks, *[blank] * (edge * edge - len(blocks))]
    lines = [np.concatenate(cells[i : i + edge], axis=1) for i in range(0, edge * edge, edge)]
    return np.concatenate(lines)


def _resized(picture: np.ndarray, edge: int) -> np.ndarray:
    """Resize by nearest neighbour, so that pixels are shown as they are."""
    rows = np.arange(edge) * picture.shape[0] // edge
    columns = np.arange(edge) * picture.shape[1] // edge
    return picture[rows][:, columns]


def _beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.pad(p, _margin(p, 1), constant_values=WHITE) for p in pictures], 1)


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.pad(row, _margin(row, 0), constant_values=WHITE) for row in rows])


def _margin(picture: np.ndarray, axis: int) -> list[tuple[int, int]]:
    margin = [(0, 0)] * picture.ndim
    margin[axis] = (0, GAP)
    return margin
