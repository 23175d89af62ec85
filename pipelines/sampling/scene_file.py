"""The YAML file that `sigma sample` paints: a prompt, and a reference and a control a subject.

    prompt: "Place these subjects to compose: a red chair behind a blue dog on a lawn."
    canvas: [512, 512]             # width and height that pixels below refer to
    camera: {fov_degrees: 45, height: 1.2, pitch_degrees: 12}
    subjects:
      - reference: chair.png       # transparent around the subject
        box2d: [40, 80, 260, 400]  # x_min, y_min, x_max, y_max
      - reference: dog.png
        mask: dog_mask.png         # white where it goes, any shape
        depth: dog_depth.png       # 16-bit, millimetres; optional
      - reference: mug.png
        box3d: {size: [0.3, 0.2, 0.4], position: [0.2, 2.5, 0], yaw_degrees: 30}
      - reference: lamp.png
        mesh: {file: lamp.glb, position: [-0.4, 3, 0], yaw_degrees: 90, height: 0.5}

Paths are relative to the file. Boxes and meshes stand in a world of metres, z up, in which the
camera is above the origin and looks along +y; at a yaw of 0 their front faces it.
docs/sampling.md tells of every key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from datagen.errors import UserError
from datagen.scene import MAX_SUBJECTS, Camera
from model.controls.control_warnings import OPAQUE, is_opaque
from model.controls.regions import Region, box2d_region, box3d_region, mask_region
from pipelines.sampling.image_files import MAX_SIDE, Pictures, squared
from pipelines.sampling.posed_controls import camera_above, mesh_region, standing_box
from pipelines.yaml_file import read_keys

KINDS = ("box2d", "box3d", "mask", "mesh")

# Bounds that no scene comes near: they keep infinity and NaN out.
Number = Annotated[float, Meta(ge=-1e6, le=1e6)]
Length = Annotated[float, Meta(gt=0, le=1e6)]
Place = tuple[Number, Number, Number]


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the file."""


class CameraText(Text, frozen=True):
    """``fov_degrees``: horizontal. ``height``: above the ground, in metres. ``pitch_degrees``:
    how far it looks down."""

    fov_degrees: Annotated[float, Meta(ge=1, le=170)] = 45.0
    height: Number = 1.2
    pitch_degrees: Annotated[float, Meta(ge=-89, le=89)] = 12.0


class BoxText(Text, frozen=True):
    """``size``: width, length, height; ``position``: of the middle of its bottom."""

    size: tuple[Length, Length, Length]
    position: Place
    yaw_degrees: Number = 0.0


class MeshText(Text, frozen=True):
    """``height`` in metres; 0 keeps the size that the file has. The rest as in ``BoxText``."""

    file: str
    position: Place
    yaw_degrees: Number = 0.0
    height: Annotated[float, Meta(ge=0, le=1e6)] = 0.0


class SubjectText(Text, frozen=True):
    """A reference and one of ``KINDS``; ``depth`` may stand beside a mask."""

    reference: str
    box2d: tuple[Number, Number, Number, Number] | None = None
    box3d: BoxText | None = None
    mask: str | None = None
    depth: str | None = None
    mesh: MeshText | None = None


class BackgroundText(Text, frozen=True):
    """A picture to paint the subjects into. ``mask``: white where painting is allowed; without
    one, wherever a subject's control is."""

    image: str
    mask: str | None = None


class SceneText(Text, frozen=True):
    prompt: str
    subjects: tuple[SubjectText, ...]
    canvas: tuple[int, int] = (512, 512)
    camera: CameraText = CameraText()
    background: BackgroundText | None = None
    background_depth: str | None = None


KINDS_OF_JSON = {
    "object": "keys with values",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "null": "nothing",
}

PARTS: dict[str, type[Text]] = {
    "": SceneText,
    "subjects": SubjectText,
    "camera": CameraText,
    "background": BackgroundText,
    "box3d": BoxText,
    "mesh": MeshText,
}


@dataclass(frozen=True, eq=False)
class Scene:
    """What a pipeline takes. ``references``: RGBA (s, s, 4) uint8. ``background`` (H, W, 3)
    uint8 with ``paintable`` (H, W) bool, and ``background_depth`` (H, W) in metres, or None.
    ``faults``: what a user should know of the files, one line each."""

    prompt: str
    references: tuple[np.ndarray, ...]
    regions: tuple[Region, ...]
    background: np.ndarray | None
    paintable: np.ndarray | None
    background_depth: np.ndarray | None
    faults: tuple[str, ...]


def read_scene(path: Path, cache: Path) -> Scene:
    """Everything that the file names, read. ``cache`` keeps what is made of meshes. Raises
    UserError with the file and the key."""
    with _under(f"{path}: "):
        text = _text(path)
        pictures = Pictures(path.parent, text.canvas)
        seen = text.camera
        camera = camera_above(text.canvas[::-1], seen.fov_degrees, seen.height, seen.pitch_degrees)
        references, regions, faults = [], [], []
        for i, subject in enumerate(text.subjects):
            with _under(f"subjects[{i}]."):
                with _under("reference: "):
                    picture = pictures.reference(subject.reference)
                if is_opaque(picture):
                    faults.append(f"subjects[{i}].reference: {subject.reference}: {OPAQUE}")
                references.append(squared(picture))
                regions.append(_region(subject, camera, pictures, cache))
        background = paintable = depth = None
        if text.background is not None:
            with _under("background.image: "):
                background = pictures.color(text.background.image)
            paintable = np.any([region.mask for region in regions], axis=0)
            if text.background.mask is not None:
                with _under("background.mask: "):
                    paintable = pictures.mask(text.background.mask)
                    if not paintable.any():
                        raise UserError(
                            f"{text.background.mask}: no white in it, expected white where "
                            "painting is allowed"
                        )
        if text.background_depth is not None:
            with _under("background_depth: "):
                depth = pictures.depth(text.background_depth)
    return Scene(
        prompt=text.prompt,
        references=tuple(references),
        regions=tuple(regions),
        background=background,
        paintable=paintable,
        background_depth=depth,
        faults=tuple(faults),
    )


def _text(path: Path) -> SceneText:
    try:
        text = msgspec.convert(read_keys(path, "a scene"), SceneText)
    except msgspec.ValidationError as error:
        raise UserError(_told(str(error))) from None
    width, height = text.canvas
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise UserError(f"canvas: {list(text.canvas)}, expected 1 to {MAX_SIDE} a side")
    if width != height:
        raise UserError(
            f"canvas: {list(text.canvas)}, expected as wide as high: the model paints squares"
        )
    if not 1 <= len(text.subjects) <= MAX_SUBJECTS:
        raise UserError(f"subjects: {len(text.subjects)}, expected 1 to {MAX_SUBJECTS} of them")
    return text


def _told(error: str) -> str:
    """What msgspec says, which names the key last and speaks of JSON, with the key first and in
    words."""
    what, _, where = error.partition(" - at `$")
    key = where.strip("`.")
    if unknown := re.search(r"unknown field (`.*`)", what):
        part = PARTS[re.sub(r"\[\d+\]", "", key).rpartition(".")[2]]
        known = ", ".join(field.name for field in msgspec.structs.fields(part))
        what = f"unknown key {unknown[1]}, expected of {known}"
    elif missing := re.search(r"missing required field (`.*`)", what):
        what = f"missing key {missing[1]}"
    else:
        what = re.sub(r"`((?:\w+ \| )*\w+)`", lambda found: _in_words(found[1]), what)
    return f"{key}: {what}" if key else what


def _in_words(kinds: str) -> str:
    return " or ".join(KINDS_OF_JSON.get(kind, kind) for kind in kinds.split(" | "))


@contextmanager
def _under(place: str) -> Iterator[None]:
    """Put ``place`` before what a UserError says."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}{error}") from None


def _region(subject: SubjectText, camera: Camera, pictures: Pictures, cache: Path) -> Region:
    given = [kind for kind in KINDS if getattr(subject, kind) is not None]
    if len(given) != 1:
        raise UserError(
            f"control: {' and '.join(given) or 'none'}, expected one of {', '.join(KINDS)}"
        )
    if subject.depth is not None and subject.mask is None:
        raise UserError(f"depth: beside {given[0]}, expected beside a mask")
    size = (camera.height, camera.width)
    if subject.box2d is not None:
        return box2d_region(subject.box2d, size)
    if subject.box3d is not None:
        box = subject.box3d
        standing = standing_box(box.size, box.position, camera, box.yaw_degrees)
        return box3d_region(standing, camera.intrinsics, size)
    if subject.mesh is not None:
        mesh = subject.mesh
        with _under("mesh.file: "):
            return mesh_region(
                pictures.folder / mesh.file,
                mesh.position,
                camera,
                yaw_degrees=mesh.yaw_degrees,
                height=mesh.height,
                cache=cache,
            )
    assert subject.mask is not None
    depth = None
    with _under("mask: "):
        mask = pictures.mask(subject.mask)
    if subject.depth is not None:
        with _under("depth: "):
            depth = pictures.depth(subject.depth)
    return mask_region(mask, depth)
