"""Controls of a scene file: the keys of a subject, and one reader per key that makes its region.

To add a key, add a field to ``SubjectEntry`` and a reader to ``CONTROL_READERS``, and describe it
in docs/sampling.md. A new kind of control also goes into the table of ``model/controls/kinds.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from datagen.errors import UserError
from datagen.scene import Camera
from model.controls.kinds import CONTROL_KINDS
from model.controls.regions import Granularity, Region, box2d_region, box3d_region, mask_region
from pipelines.sampling.image_files import Pictures
from pipelines.sampling.posed_controls import mesh_region, standing_box

# Far beyond any real scene: these bounds keep infinity and NaN out.
Number = Annotated[float, Meta(ge=-1e6, le=1e6)]
Length = Annotated[float, Meta(gt=0, le=1e6)]
Position = tuple[Number, Number, Number]
Channel = Annotated[int, Meta(ge=0, le=255)]
Box2D = tuple[Number, Number, Number, Number]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping of the scene file; unknown keys are refused."""


class BoxEntry(Entry, frozen=True):
    """A 3D box that stands in the world.

    Attributes:
        size: Width, length and height in metres.
        position: (x, y, z) of the middle of its bottom, in metres.
        yaw_degrees: Turn about the vertical axis, counter-clockwise seen from above.
    """

    size: tuple[Length, Length, Length]
    position: Position
    yaw_degrees: Number = 0.0


class MeshEntry(Entry, frozen=True):
    """A 3D model that stands in the world.

    Attributes:
        file: Path relative to the scene file.
        height: In metres; 0 keeps the size that the file has.
    """

    file: str
    position: Position
    yaw_degrees: Number = 0.0
    height: Annotated[float, Meta(ge=0, le=1e6)] = 0.0


class LabelEntry(Entry, frozen=True):
    """A label map, and the label of the subject in it.

    Attributes:
        file: Picture file of the size of the canvas.
        label: Grey value or palette index, or (red, green, blue) of a label map in colour.
    """

    file: str
    label: int | tuple[Channel, Channel, Channel]


class SubjectEntry(Entry, frozen=True):
    """A reference picture and exactly one of the keys of ``CONTROL_READERS``; ``depth`` may stand
    beside ``mask``."""

    reference: str
    box2d: Box2D | None = None
    box3d: BoxEntry | None = None
    mask: str | LabelEntry | None = None
    depth: str | None = None
    mesh: MeshEntry | None = None


@dataclass(frozen=True)
class ControlContext:
    """What a control of a scene file is read with: the camera of the scene, the picture files
    beside it, and the folder that keeps what is made of mesh files."""

    camera: Camera
    pictures: Pictures
    cache: Path

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the canvas in pixels."""
        return self.camera.height, self.camera.width


@dataclass(frozen=True)
class ControlReader:
    """How one key of a subject becomes a region.

    Attributes:
        makes: The kinds of control that the key can give.
        read: Takes the value of the key, the subject that has it, and the context.
    """

    makes: tuple[Granularity, ...]
    read: Callable[[Any, SubjectEntry, ControlContext], Region]


def read_control(subject: SubjectEntry, context: ControlContext) -> Region:
    """The region of a subject.

    Raises:
        UserError: the subject has no control or several, has a depth without a mask, or its control
            is not valid. The message begins with the key.
    """
    given = [key for key in CONTROL_READERS if getattr(subject, key) is not None]
    if len(given) != 1:
        raise UserError(
            f"control: {' and '.join(given) or 'none'}, "
            f"expected one of {', '.join(CONTROL_READERS)}"
        )
    (key,) = given
    if subject.depth is not None and key != "mask":
        raise UserError(f"depth: beside {key}, expected beside a mask")
    return CONTROL_READERS[key].read(getattr(subject, key), subject, context)


@contextmanager
def error_prefix(place: str) -> Iterator[None]:
    """Puts ``place``, such as "mask: ", before the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}{error}") from None


def _read_box2d(box: Box2D, subject: SubjectEntry, context: ControlContext) -> Region:
    return box2d_region(box, context.size)


def _read_box3d(box: BoxEntry, subject: SubjectEntry, context: ControlContext) -> Region:
    standing = standing_box(box.size, box.position, context.camera, box.yaw_degrees)
    return box3d_region(standing, context.camera.intrinsics, context.size)


def read_mask_entry(entry: str | LabelEntry, pictures: Pictures) -> np.ndarray:
    """The mask (H, W) bool of a picture file, or of one label in it.

    Raises:
        UserError: the file holds no mask, or not the label. The message begins with the file.
    """
    if isinstance(entry, LabelEntry):
        return pictures.mask(entry.file, entry.label)
    return pictures.mask(entry)


def _read_mask(entry: str | LabelEntry, subject: SubjectEntry, context: ControlContext) -> Region:
    with error_prefix("mask: "):
        mask = read_mask_entry(entry, context.pictures)
    if subject.depth is None:
        return mask_region(mask)
    with error_prefix("depth: "):
        return mask_region(mask, context.pictures.depth(subject.depth))


def _read_mesh(mesh: MeshEntry, subject: SubjectEntry, context: ControlContext) -> Region:
    with error_prefix("mesh.file: "):
        return mesh_region(
            context.pictures.folder / mesh.file,
            mesh.position,
            context.camera,
            yaw_degrees=mesh.yaw_degrees,
            height=mesh.height,
            cache=context.cache,
        )


CONTROL_READERS: Mapping[str, ControlReader] = {
    "box2d": ControlReader(("box2d",), _read_box2d),
    "box3d": ControlReader(("box3d",), _read_box3d),
    "mask": ControlReader(("mask", "mask_depth"), _read_mask),
    "mesh": ControlReader(("mask_depth",), _read_mesh),
}
"""Readers by the key of ``SubjectEntry``."""

if {kind for reader in CONTROL_READERS.values() for kind in reader.makes} != set(CONTROL_KINDS):
    raise TypeError("CONTROL_READERS and CONTROL_KINDS differ")
