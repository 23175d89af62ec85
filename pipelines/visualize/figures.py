"""Figures of a dataset: a contact sheet of many scenes, and one scene with all annotations."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec
from matplotlib.patches import Polygon, Rectangle
from PIL import Image, ImageDraw
from scipy import ndimage

from datagen.scene import Mat3, Sample, Subject
from datagen.shards.rle import decode_rle
from pipelines.visualize.drawing import BACK, COLORS, FRONT, printable, project

PAPER = (250, 250, 248)
INK = (70, 70, 75)


def contact_sheet(samples: Sequence[Sample], columns: int = 3, edge: int = 200) -> bytes:
    """A PNG of some scenes, each with its image, its instances and one view of every identity.

    Args:
        samples: The scenes.
        columns: Number of scenes in a row.
        edge: Longer side of a picture in pixels.
    """
    return _png(_sheet([_cell(sample, edge) for sample in samples], columns))


def overlay(sample: Sample) -> np.ndarray:
    """The image in grey with each instance in its colour and its edge opaque: (H, W, 3) uint8."""
    grey = sample.image.mean(axis=-1, keepdims=True) * 0.6 + 80
    picture = np.repeat(grey, 3, axis=-1)
    for index in range(1, sample.record.n_subjects + 1):
        inside = sample.instances == index
        color = COLORS[(index - 1) % len(COLORS)].astype(float)
        picture[inside] = picture[inside] * 0.35 + color * 0.65
        picture[inside & ~ndimage.binary_erosion(inside)] = color
    return picture.clip(0, 255).astype(np.uint8)


def annotated_sample(sample: Sample) -> bytes:
    """A PNG of one scene with all its annotations: 2D and 3D boxes, visible and amodal masks,
    depth, and the identity sheet with captions."""
    record = sample.record
    n = record.n_subjects
    aspect = record.height / record.width
    prompt = textwrap.wrap(printable(record.prompt.full), 150)
    inches = 7.6 * aspect + 0.2 * len(prompt) + 1.0
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10}):
        figure = Figure(figsize=(13, inches), dpi=100, facecolor="white")
        figure.text(0.02, 1 - 0.12 / inches, "\n".join(prompt), va="top", fontsize=11)
        grid = figure.add_gridspec(
            2, 3, width_ratios=(1, 1, 1.15), wspace=0.06, hspace=0.12,
            left=0.02, right=0.98, top=1 - (0.2 * len(prompt) + 0.5) / inches, bottom=0.3 / inches,
        )  # fmt: skip
        image, flat, solid, deep = (figure.add_subplot(grid[i // 2, i % 2]) for i in range(4))
        image.set_title(f"image {record.width} x {record.height}")
        image.imshow(sample.image)
        flat.set_title("instances, amodal outlines, 2D boxes (amodal dashed)")
        flat.imshow(overlay(sample))
        solid.set_title("3D boxes, front face filled")
        solid.imshow(sample.image // 2 + 110)
        for subject in record.subjects:
            _draw_flat(flat, subject)
            _draw_solid(solid, subject, record.camera.intrinsics)
        _draw_depth(deep, sample)
        for axes in (image, flat, solid, deep):
            axes.set(xticks=[], yticks=[])
            axes.set(xlim=(-0.5, record.width - 0.5), ylim=(record.height - 0.5, -0.5))
        _draw_identities(figure, grid[:, 2].subgridspec(max(n, 4), 1, hspace=0.3), sample)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_flat(axes: Axes, subject: Subject) -> None:
    color = COLORS[(subject.index - 1) % len(COLORS)] / 255
    axes.contour(decode_rle(subject.amodal_rle), levels=[0.5], colors=[color], linewidths=1.2)
    for box, style in ((subject.box2d, "-"), (subject.box2d_amodal, "--")):
        x0, y0, x1, y1 = (edge - 0.5 for edge in box)
        axes.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linestyle=style)
        )
    x0, y0, *_ = subject.box2d
    axes.text(x0 + 2, y0 + 2, str(subject.index), va="top", color="white", fontweight="bold",
              bbox={"facecolor": color, "edgecolor": "none", "pad": 1.5})  # fmt: skip


def _draw_solid(axes: Axes, subject: Subject, intrinsics: Mat3) -> None:
    color = COLORS[(subject.index - 1) % len(COLORS)] / 255
    corners = project(subject.box3d, intrinsics) - 0.5
    axes.add_patch(Polygon(corners[list(FRONT)], facecolor=(*color, 0.35), edgecolor="none"))
    for loop in (FRONT, BACK):
        axes.add_patch(Polygon(corners[list(loop)], fill=False, edgecolor=color, linewidth=1.4))
    for front, back in zip(FRONT, BACK, strict=True):
        axes.plot(*corners[[front, back]].T, color=color, linewidth=1.4)


def _draw_depth(axes: Axes, sample: Sample) -> None:
    meters = sample.depth * sample.record.depth.meters_per_unit
    near, far = np.percentile(meters[meters > 0], (0.5, 90))
    drawn = np.ma.masked_equal(meters, 0)
    axes.imshow(drawn, cmap="magma_r", vmin=near, vmax=far, interpolation="nearest")
    none = "; blue: none" if drawn.mask.any() else ""
    axes.set_title(f"depth, {near:.1f} m (light) to {far:.1f} m (dark){none}")
    axes.set_facecolor("lightsteelblue")


def _draw_identities(figure: Figure, grid: GridSpecFromSubplotSpec, sample: Sample) -> None:
    for subject, views in zip(sample.record.subjects, sample.views, strict=True):
        axes = figure.add_subplot(grid[subject.index - 1])
        axes.imshow(_on_paper(np.hstack(views)), aspect="equal")
        axes.set(xticks=[], yticks=[])
        color = COLORS[(subject.index - 1) % len(COLORS)] / 255
        for spine in axes.spines.values():
            spine.set(edgecolor=color, linewidth=1.8)
        for column in range(1, len(views)):
            axes.axvline(column * views.shape[1] - 0.5, color=color, linewidth=0.8)
        caption = textwrap.fill(f"{subject.index}. {printable(subject.caption)}", 68)
        axes.set_title(caption, loc="left", pad=3, fontsize=9)
        if subject.index == sample.record.n_subjects:
            axes.set_xlabel("crop of the image | the subject re-posed and relit", loc="left")


def _cell(sample: Sample, edge: int) -> Image.Image:
    """One scene of the contact sheet: image and instances side by side, and below them one small
    view of every identity."""
    record = sample.record
    scale = edge / max(record.width, record.height)
    size = (round(record.width * scale), round(record.height * scale))
    strip = edge // 4
    cell = Image.new("RGB", (2 * size[0] + 2, size[1] + strip + 6), PAPER)
    for column, pixels in enumerate((sample.image, overlay(sample))):
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
        cell.paste(picture, (column * (size[0] + 2), 0))
    step = min(strip + 6, cell.width // record.n_subjects)
    draw = ImageDraw.Draw(cell)
    for i, views in enumerate(sample.views):
        thumb = Image.fromarray(_on_paper(views[min(1, len(views) - 1)]))
        thumb.thumbnail((min(strip, step - 4), strip), Image.Resampling.LANCZOS)
        corner = (i * step, size[1] + 2)
        cell.paste(thumb, corner)
        below = corner[1] + strip + 1
        color = tuple(int(c) for c in COLORS[i % len(COLORS)])
        draw.rectangle((corner[0], below, corner[0] + thumb.width - 1, below + 2), fill=color)
    return cell


def _sheet(cells: Sequence[Image.Image], columns: int, margin: int = 14) -> Image.Image:
    width, height = (max(sizes) for sizes in zip(*(cell.size for cell in cells), strict=True))
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    sheet = Image.new(
        "RGB",
        (columns * (width + margin) + margin, rows * (height + margin) + margin),
        PAPER,
    )
    for i, cell in enumerate(cells):
        row, column = divmod(i, columns)
        sheet.paste(cell, (margin + column * (width + margin), margin + row * (height + margin)))
    return sheet


def _on_paper(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return (rgba[..., :3] * alpha + np.array(PAPER) * (1 - alpha)).round().astype(np.uint8)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
