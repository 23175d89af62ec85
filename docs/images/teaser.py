"""Draws docs/images/teaser.jpg: one scene, its annotations, and the views of its subjects.

.venv/bin/python docs/images/teaser.py out/mini/shards 000004
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datagen.scene import Sample
from datagen.shards.reader import open_shards
from pipelines.visualize.drawing import BACK, COLORS, FRONT, project
from pipelines.visualize.figures import overlay

EDGE, GAP, TITLE = 256, 12, 24
WHITE, INK = (255, 255, 255), (40, 40, 45)


def boxes(sample: Sample) -> Image.Image:
    """The image, pale, with every 3D box; the front face is filled."""
    picture = Image.fromarray(sample.image // 2 + 110).resize((EDGE, EDGE))
    draw = ImageDraw.Draw(picture, "RGBA")
    for subject in sample.record.subjects:
        color = tuple(int(c) for c in COLORS[subject.index - 1])
        points = project(subject.box3d, sample.record.camera.intrinsics)
        corners = [tuple(point) for point in (points * EDGE / sample.record.width).tolist()]
        draw.polygon([corners[i] for i in FRONT], fill=(*color, 90))
        for loop in (FRONT, BACK):
            draw.line([corners[i] for i in (*loop, loop[0])], fill=color, width=2)
        for front, back in zip(FRONT, BACK, strict=True):
            draw.line([corners[front], corners[back]], fill=color, width=2)
    return picture


def depth(sample: Sample) -> Image.Image:
    """Near is light, far is dark."""
    meters = sample.depth * sample.record.depth.meters_per_unit
    near, far = np.percentile(meters[meters > 0], (0.5, 90))
    colors = mpl.colormaps["magma_r"]((meters - near) / (far - near))
    return Image.fromarray((colors[..., :3] * 255).astype(np.uint8)).resize((EDGE, EDGE))


def view(block: np.ndarray, edge: int) -> Image.Image:
    """One RGBA block of the identity sheet on white."""
    picture = Image.new("RGBA", block.shape[1::-1], (*WHITE, 255))
    picture.alpha_composite(Image.fromarray(block))
    return picture.convert("RGB").resize((edge, edge), Image.Resampling.LANCZOS)


def teaser(sample: Sample) -> Image.Image:
    n, columns = sample.record.n_subjects, len(sample.record.subjects[0].views)
    width = 4 * EDGE + 3 * GAP
    group = (width - (n - 1) * GAP) // n
    edge = group // columns
    page = Image.new("RGB", (width, 2 * TITLE + EDGE + GAP + edge + 6), WHITE)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    panels = {
        "image": Image.fromarray(sample.image).resize((EDGE, EDGE)),
        "masks": Image.fromarray(overlay(sample)).resize((EDGE, EDGE)),
        "3D boxes": boxes(sample),
        "depth in metres": depth(sample),
    }
    for i, (title, panel) in enumerate(panels.items()):
        draw.text((i * (EDGE + GAP), 2), title, INK, font)
        page.paste(panel, (i * (EDGE + GAP), TITLE))
    top = TITLE + EDGE + GAP
    draw.text((0, top + 2), "each subject: its crop, then re-posed and relit", INK, font)
    for i, row in enumerate(np.split(sample.identities, n)):
        left = i * (group + GAP)
        for k, block in enumerate(np.split(row, columns, axis=1)):
            page.paste(view(block, edge), (left + k * edge, top + TITLE))
        color = tuple(int(c) for c in COLORS[i])
        under = top + TITLE + edge + 1
        draw.rectangle((left, under, left + columns * edge - 1, under + 3), fill=color)
    return page


if __name__ == "__main__":
    shards, key = sys.argv[1:]
    picture = teaser(open_shards(shards).sample(key))
    picture.save(Path(__file__).with_name("teaser.jpg"), quality=90, subsampling=0)
