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
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import yaml
from PIL import Image, UnidentifiedImageError

from datagen.catalog.base import load_mesh
from datagen.catalog.folder import model_source
from datagen.catalog.ingest import Ingested
from datagen.geometry import look_at, mat3, mat4, pose_matrix, world_to_camera
from datagen.raycast import Shape, frame
from datagen.scene import MAX_SUBJECTS, Box3D, Camera, Pose, UserError, Vec3
from model.controls import Region, box2d_region, box3d_region, mask_region

MAX_SIDE = 8192
KINDS = ("box2d", "box3d", "mask", "mesh")


@dataclass(frozen=True)
class CameraText:
    """``fov_degrees``: horizontal. ``height``: above the ground, in metres. ``pitch_degrees``:
    how far it looks down."""

    fov_degrees: float = 45.0
    height: float = 1.2
    pitch_degrees: float = 12.0


@dataclass(frozen=True)
class BoxText:
    """``size``: width, length, height; ``position``: of the middle of its bottom."""

    size: Vec3
    position: Vec3
    yaw_degrees: float = 0.0


@dataclass(frozen=True)
class MeshText:
    """``height`` in metres; 0 keeps the size that the file has. The rest as in ``BoxText``."""

    file: str
    position: Vec3
    yaw_degrees: float = 0.0
    height: float = 0.0


@dataclass(frozen=True)
class SubjectText:
    """A reference and one of ``KINDS``; ``depth`` may stand beside a mask."""

    reference: str
    box2d: tuple[float, float, float, float] | None = None
    box3d: BoxText | None = None
    mask: str | None = None
    depth: str | None = None
    mesh: MeshText | None = None


@dataclass(frozen=True)
class BackgroundText:
    """A picture to paint the subjects into. ``mask``: white where painting is allowed; without
    one, wherever a subject's control is."""

    image: str
    mask: str | None = None


@dataclass(frozen=True)
class SceneText:
    prompt: str
    subjects: tuple[SubjectText, ...]
    canvas: tuple[int, int] = (512, 512)
    camera: CameraText = CameraText()
    background: BackgroundText | None = None
    background_depth: str | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """What a pipeline takes. ``references``: RGBA (s, s', 4) uint8. ``background`` (H, W, 3)
    uint8 with ``paintable`` (H, W) bool, and ``background_depth`` (H, W) in metres, or None."""

    prompt: str
    references: tuple[np.ndarray, ...]
    regions: tuple[Region, ...]
    background: np.ndarray | None
    paintable: np.ndarray | None
    background_depth: np.ndarray | None


def read_scene(path: Path, cache: Path) -> Scene:
    """Everything that the file names, read. ``cache`` keeps what is made of meshes. Raises
    UserError with the file and the key."""
    try:
        text = msgspec.convert(yaml.safe_load(path.read_text()), SceneText)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected a scene in YAML") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: {error}") from None
    width, height = text.canvas
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise UserError(f"{path}: canvas: {list(text.canvas)}, expected 1 to {MAX_SIDE} a side")
    if not 1 <= len(text.subjects) <= MAX_SUBJECTS:
        raise UserError(
            f"{path}: subjects: {len(text.subjects)}, expected 1 to {MAX_SUBJECTS} of them"
        )
    if not 1 <= text.camera.fov_degrees <= 170:
        raise UserError(f"{path}: camera.fov_degrees: {text.camera.fov_degrees}, expected 1 to 170")
    picture = partial(_picture, path.parent, size=text.canvas)
    camera = _camera(text.camera, width, height)
    references, regions = [], []
    for i, subject in enumerate(text.subjects):
        try:
            references.append(_picture(path.parent, subject.reference, "RGBA"))
            regions.append(_region(subject, camera, picture, path.parent, cache))
        except UserError as error:
            raise UserError(f"{path}: subjects[{i}].{error}") from None
    background = paintable = depth = None
    try:
        if text.background is not None:
            background = picture(text.background.image, "RGB")
            paintable = np.any([region.mask for region in regions], axis=0)
            if text.background.mask is not None:
                paintable = picture(text.background.mask, "L") > 127
        if text.background_depth is not None:
            depth = _metres(picture(text.background_depth, "I;16"))
    except UserError as error:
        raise UserError(f"{path}: background: {error}") from None
    return Scene(text.prompt, tuple(references), tuple(regions), background, paintable, depth)


def _region(
    subject: SubjectText, camera: Camera, picture: partial[np.ndarray], folder: Path, cache: Path
) -> Region:
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
        pose = _pose(box.position, box.yaw_degrees)
        return box3d_region(_box3d(box.size, pose, camera), camera.intrinsics, size)
    if subject.mesh is not None:
        return _mesh_region(subject.mesh, camera, folder, cache)
    assert subject.mask is not None
    mask = picture(subject.mask, "L") > 127
    depth = None if subject.depth is None else _metres(picture(subject.depth, "I;16"))
    return mask_region(mask, depth)


def _mesh_region(text: MeshText, camera: Camera, folder: Path, cache: Path) -> Region:
    source = model_source(folder / text.file)
    provider = Ingested([source], cache)
    for rejection in provider.rejections():
        raise UserError(f"mesh.file: {text.file}: {rejection.reason} ({rejection.detail})")
    (asset,) = provider.assets()
    mesh = load_mesh(provider.model(asset))
    if text.height:
        mesh.apply_scale(text.height / asset.size[2])
    pose = _pose(text.position, text.yaw_degrees)
    depth = Shape(mesh).depth(pose, camera, frame(camera))
    return mask_region(depth > 0, depth)


def _camera(text: CameraText, width: int, height: int) -> Camera:
    focal = width / 2 / np.tan(np.radians(text.fov_degrees) / 2)
    pitch = np.radians(text.pitch_degrees)
    eye = np.array([0.0, 0.0, text.height])
    forward = np.array([0.0, np.cos(pitch), -np.sin(pitch)])
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(width, height, mat3(intrinsics), mat4(look_at(eye, eye + forward)))


def _pose(position: Vec3, yaw_degrees: float) -> Pose:
    return Pose(position, float(np.radians(yaw_degrees)))


def _box3d(size: Vec3, pose: Pose, camera: Camera) -> Box3D:
    local = world_to_camera(camera) @ pose_matrix(pose)
    x, y, z, _ = local @ [0, 0, size[2] / 2, 1]
    return Box3D((float(x), float(y), float(z)), size, mat3(local[:3, :3]), estimated=False)


def _metres(depth: np.ndarray) -> np.ndarray:
    return depth.astype(np.float32) / 1000


def _picture(
    folder: Path,
    name: str,
    mode: Literal["RGBA", "RGB", "L", "I;16"],
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """``size``: width and height that it must have."""
    try:
        with Image.open(folder / name) as image:
            if max(image.size) > MAX_SIDE:
                raise UserError(f"{name}: {image.size}, over {MAX_SIDE} pixels a side")
            if size is not None and image.size != size:
                raise UserError(f"{name}: {image.size}, expected the canvas's {size}")
            if mode == "I;16" and image.mode != mode:
                raise UserError(f"{name}: mode {image.mode}, expected 16-bit depth in millimetres")
            return np.array(image if mode == "I;16" else image.convert(mode))
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{name}: {error}; expected a picture") from None
