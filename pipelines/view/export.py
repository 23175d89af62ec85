"""Write selected scenes as one HTML page that needs no server, no script and no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from datagen.errors import UserError
from datagen.scene import Sample
from datagen.shards.codec import BadSample
from datagen.shards.reader import ShardSet
from pipelines.view.scenes import amodal_bits
from pipelines.visualize.drawing import BACK, COLORS, FRONT, corners, project

MOST_SCENES = 100
"""The page contains its images: 0.1 MB per scene of 256 px, 0.4 MB per scene of 512 px."""
LAYERS = ("depth", "amodal masks", "masks", "2D boxes", "3D boxes")

# Captions and names come from shards. They are escaped, so that they cannot become markup.
_TEMPLATES = Environment(
    loader=PackageLoader("pipelines.view"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def export_page(shards: ShardSet, keys: Sequence[str]) -> Iterator[str]:
    """Make the page. A damaged scene is listed with the reason.

    Args:
        shards: the dataset.
        keys: of the scenes, in the order of the page.

    Returns:
        The HTML, in pieces.

    Raises:
        UserError: there is no key, or there are more than ``MOST_SCENES``.
    """
    if not 1 <= len(keys) <= MOST_SCENES:
        raise UserError(
            f"{len(keys)} scenes are selected, and a page holds 1 to {MOST_SCENES}; give filters "
            "like the query string of the viewer's URL, as in 'subjects=2&q=red'"
        )
    colors = [f"rgb({r} {g} {b})" for r, g, b in COLORS.tolist()]
    return _TEMPLATES.get_template("export.html").generate(
        name=shards.manifest.name, layers=LAYERS, colors=colors, scenes=_scenes(shards, keys)
    )


def _scenes(shards: ShardSet, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    for key in keys:
        try:
            members = shards.members(key)
            yield _scene(shards.sample(key), members)
        except (BadSample, UserError) as error:
            yield {"key": key, "broken": str(error)}


def _scene(sample: Sample, members: dict[str, bytes]) -> dict[str, Any]:
    record = sample.record
    sheet_height, sheet_width = sample.identities.shape[:2]
    return {
        "key": record.key,
        "broken": "",
        "record": record,
        "image": _data_url(members["image.jpg"], "jpeg"),
        "depth": _data_url(_png(_depth_layer(sample)), "png"),
        "masks": _data_url(_png(_mask_layer(sample)), "png"),
        "amodal": _data_url(_png(_occluded_layer(sample)), "png"),
        "boxes": [(_svg_rect(s.box2d), _svg_rect(s.box2d_amodal)) for s in record.subjects],
        "boxes3d": [_svg_box3d(sample, s.index) for s in record.subjects],
        "sheet": _data_url(members["identities.webp"], "webp"),
        "sheet_size": (sheet_width, sheet_height),
        "row_height": sample.views.shape[2],
    }


def _mask_layer(sample: Sample) -> np.ndarray:
    """(H, W, 4) uint8 RGBA: the visible pixels of each subject in its colour."""
    painted = np.zeros((*sample.instances.shape, 4), np.uint8)
    inside = sample.instances > 0
    painted[inside, :3] = COLORS[(sample.instances[inside] - 1) % len(COLORS)]
    painted[inside, 3] = 128
    return painted


def _occluded_layer(sample: Sample) -> np.ndarray:
    """(H, W, 4) uint8 RGBA: the occluded pixels of each subject, with stripes in its colour."""
    painted = np.zeros((*sample.instances.shape, 4), np.uint8)
    stripes = np.add(*np.indices(sample.instances.shape)) % 6 < 3
    amodal = amodal_bits(sample)
    for index in range(1, sample.record.n_subjects + 1):
        occluded = (amodal >> (index - 1) & 1 == 1) & (sample.instances != index)
        painted[occluded & stripes] = (*COLORS[(index - 1) % len(COLORS)], 230)
    return painted


def _depth_layer(sample: Sample) -> np.ndarray:
    """(H, W) uint8: near is bright; 0 where there is no depth."""
    depth = sample.depth.astype(float)
    known = depth[depth > 0]
    if not known.size:
        return np.zeros(depth.shape, np.uint8)
    near, far = np.percentile(known, (0.5, 90))
    grey = 255 - 225 * ((depth - near) / max(far - near, 1)).clip(0, 1)
    return np.where(depth > 0, grey, 0).astype(np.uint8)


def _svg_box3d(sample: Sample, index: int) -> dict[str, Any] | None:
    """Front and back face as SVG points, and the lines between them, in pixels. None if the box
    reaches behind the camera."""
    box = sample.record.subjects[index - 1].box3d
    if corners(box)[:, 2].min() <= 0:
        return None
    points = project(box, sample.record.camera.intrinsics).round(1).tolist()
    pairs = zip(FRONT, BACK, strict=True)
    return {
        "front": _svg_points(points, FRONT),
        "back": _svg_points(points, BACK),
        "sides": [(*points[front], *points[back]) for front, back in pairs],
    }


def _svg_points(points: list[list[float]], loop: tuple[int, ...]) -> str:
    return " ".join(f"{points[i][0]},{points[i][1]}" for i in loop)


def _svg_rect(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """x, y, width, height of a box [x_min, y_min, x_max, y_max]."""
    x0, y0, x1, y1 = box
    return x0, y0, x1 - x0, y1 - y0


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
