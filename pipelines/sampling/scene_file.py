"""The YAML file that `sigma sample` reads: a prompt, and a reference and a control per subject.

    prompt: "Place these subjects to compose: a red chair behind a blue dog on a lawn."
    canvas: [512, 512]             # width and height that pixels below refer to
    camera: {fov_degrees: 45, height: 1.2, pitch_degrees: 12}
    subjects:
      - reference: chair.png       # transparent around the subject
        box2d: [40, 80, 260, 400]  # x_min, y_min, x_max, y_max
      - reference: dog.png
        mask: dog_mask.png         # white where the subject goes, any shape; a label of a label
                                   # map: {file: labels.png, label: 3}
        depth: dog_depth.png       # 16-bit, millimetres; optional
      - reference: mug.png
        box3d: {size: [0.3, 0.2, 0.4], position: [0.2, 2.5, 0], yaw_degrees: 30}
      - reference: lamp.png
        mesh: {file: lamp.glb, position: [-0.4, 3, 0], yaw_degrees: 90, height: 0.5}

Paths are relative to the file. Boxes and meshes stand in a world of metres, z up, in which the
camera is above the origin and looks along +y; at a yaw of 0 their front faces the camera.
docs/sampling.md describes every key; control_entries.py has the keys of a subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from datagen.errors import UserError
from datagen.scene import MAX_SUBJECTS
from datagen.validation import convert
from model.controls.control_warnings import OPAQUE, is_opaque
from model.controls.regions import Region
from pipelines.sampling.control_entries import (
    ControlContext,
    Entry,
    LabelEntry,
    Number,
    SubjectEntry,
    error_prefix,
    read_control,
    read_mask_entry,
)
from pipelines.sampling.image_files import MAX_SIDE, Pictures, squared
from pipelines.sampling.posed_controls import camera_above
from pipelines.yaml_file import read_keys

Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]


class CameraEntry(Entry, frozen=True):
    """The camera, above the origin of the world.

    Attributes:
        fov_degrees: Horizontal field of view.
        height: Above the ground, in metres.
        pitch_degrees: How far the camera looks down.
    """

    fov_degrees: Annotated[float, Meta(ge=1, le=170)] = 45.0
    height: Number = 1.2
    pitch_degrees: Annotated[float, Meta(ge=-89, le=89)] = 12.0


class BackgroundEntry(Entry, frozen=True):
    """A picture into which the subjects are painted.

    Attributes:
        image: Picture file of the size of the canvas.
        mask: Picture file, white where painting is allowed, or a label of a label map; without it,
            painting is allowed where the control of a subject is.
    """

    image: str
    mask: str | LabelEntry | None = None


class SceneEntry(Entry, frozen=True):
    """The whole file. ``canvas``: (width, height) in pixels."""

    prompt: str
    subjects: Annotated[tuple[SubjectEntry, ...], Meta(min_length=1, max_length=MAX_SUBJECTS)]
    canvas: tuple[Side, Side] = (512, 512)
    camera: CameraEntry = CameraEntry()
    background: BackgroundEntry | None = None
    background_depth: str | None = None


@dataclass(frozen=True, eq=False)
class SceneInputs:
    """A scene file, read: what ``SigmaGenPipeline`` takes. (H, W) is the size of the canvas.

    Attributes:
        references: One RGBA view (s, s, 4) uint8 per subject.
        regions: One per subject.
        background: (H, W, 3) uint8, or None.
        paintable: (H, W) bool, where ``background`` may be painted on, or None.
        background_depth: (H, W) float32, z-depth in metres, 0 where it is not known, or None.
        warnings: What a user should know about the files, one line each.
    """

    prompt: str
    references: tuple[np.ndarray, ...]
    regions: tuple[Region, ...]
    background: np.ndarray | None
    paintable: np.ndarray | None
    background_depth: np.ndarray | None
    warnings: tuple[str, ...]


def read_scene(path: Path, cache: Path) -> SceneInputs:
    """Reads a scene file and every picture and mesh that it names.

    Args:
        path: The YAML file; other files are named relative to it.
        cache: Folder that keeps what is made of mesh files, for the next call.

    Raises:
        UserError: a key or a file is missing or not valid. The message is one line that begins with
            the path of the scene file and the key.
    """
    with error_prefix(f"{path}: "):
        entry = _read_entry(path)
        pictures = Pictures(path.parent, entry.canvas)
        seen = entry.camera
        camera = camera_above(entry.canvas[::-1], seen.fov_degrees, seen.height, seen.pitch_degrees)
        context = ControlContext(camera, pictures, cache)
        references, regions, warnings = [], [], []
        for i, subject in enumerate(entry.subjects):
            with error_prefix(f"subjects[{i}]."):
                with error_prefix("reference: "):
                    picture = pictures.reference(subject.reference)
                if is_opaque(picture):
                    warnings.append(f"subjects[{i}].reference: {subject.reference}: {OPAQUE}")
                references.append(squared(picture))
                regions.append(read_control(subject, context))
        background = paintable = depth = None
        if entry.background is not None:
            background, paintable = _read_background(entry.background, regions, pictures)
        if entry.background_depth is not None:
            with error_prefix("background_depth: "):
                depth = pictures.depth(entry.background_depth)
    return SceneInputs(
        prompt=entry.prompt,
        references=tuple(references),
        regions=tuple(regions),
        background=background,
        paintable=paintable,
        background_depth=depth,
        warnings=tuple(warnings),
    )


def _read_background(
    entry: BackgroundEntry, regions: list[Region], pictures: Pictures
) -> tuple[np.ndarray, np.ndarray]:
    """The picture, and where it may be painted on."""
    with error_prefix("background.image: "):
        background = pictures.color(entry.image)
    if entry.mask is None:
        return background, np.any([region.mask for region in regions], axis=0)
    with error_prefix("background.mask: "):
        paintable = read_mask_entry(entry.mask, pictures)
        if not paintable.any():
            raise UserError(
                f"{entry.mask}: no white in it, expected white where painting is allowed"
            )
    return background, paintable


def _read_entry(path: Path) -> SceneEntry:
    entry = convert(read_keys(path, "a scene"), SceneEntry)
    width, height = entry.canvas
    if width != height:
        raise UserError(
            f"canvas: {list(entry.canvas)}, expected as wide as high: the model paints squares"
        )
    return entry
