"""Chosen scenes as one page that needs nothing else: no server, no script, no other file."""

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
"""Pictures are in the page itself: 0.1 MB a scene of 256 px, 0.4 MB of 512 px."""
LAYERS = ("depth", "amodal masks", "masks", "2D boxes", "3D boxes")

# Captions and names come from shards: nothing in them may become markup.
_TEMPLATES = Environment(
    loader=PackageLoader("pipelines.view"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def export_page(shards: ShardSet, keys: Sequence[str]) -> Iterator[str]:
    """The page's HTML, in pieces. A damaged scene is there with the reason.

    Raises UserError for no scene, or for more than ``MOST_SCENES``."""
    if not 1 <= len(keys) <= MOST_SCENES:
        raise UserError(
            f"{len(keys)} scenes are chosen, and a page holds 1 to {MOST_SCENES}; "
            "choose by what the viewer's address says behind its ?, as in 'subjects=2&q=red'"
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
        "image": _url(members["image.jpg"], "jpeg"),
        "depth": _url(_png(_depth(sample)), "png"),
        "masks": _url(_png(_masks(sample)), "png"),
        "amodal": _url(_png(_hidden(sample)), "png"),
        "boxes": [(_frame(s.box2d), _frame(s.box2d_amodal)) for s in record.subjects],
        "boxes3d": [_edges(sample, s.index) for s in record.subjects],
        "sheet": _url(members["identities.webp"], "webp"),
        "sheet_size": (sheet_width, sheet_height),
        "row_height": sample.views.shape[2],
    }


def _masks(sample: Sample) -> np.ndarray:
    """(H, W, 4) uint8: each subject in its colour."""
    painted = np.zeros((*sample.instances.shape, 4), np.uint8)
    inside = sample.instances > 0
    painted[inside, :3] = COLORS[(sample.instances[inside] - 1) % len(COLORS)]
    painted[inside, 3] = 128
    return painted


def _hidden(sample: Sample) -> np.ndarray:
    """(H, W, 4) uint8: of each subject what cannot be seen, striped in its colour."""
    painted = np.zeros((*sample.instances.shape, 4), np.uint8)
    stripes = np.add(*np.indices(sample.instances.shape)) % 6 < 3
    amodal = amodal_bits(sample)
    for index in range(1, sample.record.n_subjects + 1):
        hidden = (amodal >> (index - 1) & 1 == 1) & (sample.instances != index)
        painted[hidden & stripes] = (*COLORS[(index - 1) % len(COLORS)], 230)
    return painted


def _depth(sample: Sample) -> np.ndarray:
    """(H, W) uint8: near is light, black is none."""
    depth = sample.depth.astype(float)
    known = depth[depth > 0]
    if not known.size:
        return np.zeros(depth.shape, np.uint8)
    near, far = np.percentile(known, (0.5, 90))
    grey = 255 - 225 * ((depth - near) / max(far - near, 1)).clip(0, 1)
    return np.where(depth > 0, grey, 0).astype(np.uint8)


def _edges(sample: Sample, index: int) -> dict[str, Any] | None:
    """The front face, and lines; nothing of a box that reaches behind the camera."""
    box = sample.record.subjects[index - 1].box3d
    if corners(box)[:, 2].min() <= 0:
        return None
    points = project(box, sample.record.camera.intrinsics).round(1).tolist()
    pairs = zip(FRONT, BACK, strict=True)
    return {
        "front": _points(points, FRONT),
        "back": _points(points, BACK),
        "sides": [(*points[front], *points[back]) for front, back in pairs],
    }


def _points(points: list[list[float]], loop: tuple[int, ...]) -> str:
    return " ".join(f"{points[i][0]},{points[i][1]}" for i in loop)


def _frame(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = box
    return x0, y0, x1 - x0, y1 - y0


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
