"""Pixels and geometry to a record: masks, boxes, visibility, identity crops. Pure.

Visible masks and depth are Blender's; amodal masks are ray-cast by Open3D from the recorded
camera and poses. The two renderers share no code, so where they disagree on what is visible,
a convention is wrong somewhere: that is checked for every subject of every scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco
from scipy import ndimage

from datagen.geometry import back_project, mat3, pose_matrix, tight_box, transform, world_to_camera
from datagen.raycast import Shape, Window, frame, nearest
from datagen.render.rendering import Rendering
from datagen.scene import (
    AssetCredit,
    Box3D,
    Camera,
    CameraRecord,
    DepthScale,
    Rle,
    Sample,
    SceneRecord,
    SceneSpec,
    Subject,
    SubjectSpec,
    View,
)

MASK_IOU = 0.95
THIN_DISAGREEMENT = 0.02
"""Share of a subject's pixels that may lie over a pixel outside the other renderer's mask."""

BOX_OUTSIDE = 0.002
CROP_MARGIN = 0.06
MAX_CANVAS = 8
"""A silhouette may reach this many frames across; past that its amodal box means nothing."""


class AnnotationError(Exception):
    """Pixels and geometry contradict each other. ``reason`` is a stable phrase."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason, self.message = reason, message


def annotate(
    spec: SceneSpec,
    render: Rendering,
    shapes: Sequence[Shape],
    provenance: Mapping[str, Any],
) -> Sample:
    """The finished sample. ``shapes``: one a subject. ``provenance`` is recorded beside seed and
    draw. Raises AnnotationError."""
    camera = spec.camera
    scale = DepthScale()
    depth = np.round(render.depth / scale.meters_per_unit)
    depth = np.where(depth <= np.iinfo(np.uint16).max, depth, 0).astype(np.uint16)
    cast = nearest(
        [
            shape.depth(subject.pose, camera, frame(camera))
            for subject, shape in zip(spec.subjects, shapes, strict=True)
        ]
    )
    subjects, agreement, rows = [], [], []
    for subject, shape in zip(spec.subjects, shapes, strict=True):
        visible = render.instances == subject.index
        if not visible.any():
            raise AnnotationError("subject not visible", f"subject {subject.index}")
        agreement.append(_agreement(visible, cast == subject.index, subject.index))
        record = _subject(spec, subject, shape, visible)
        _check_depth(record, camera, depth * scale.meters_per_unit, visible)
        subjects.append(record)
        size = render.views.shape[2]
        crop = identity_crop(render.image, visible, record.box2d, size)
        rows.append(np.concatenate([crop, *render.views[subject.index - 1]], axis=1))
    environment = spec.environment
    return Sample(
        record=SceneRecord(
            key=spec.key,
            source="render",
            split=spec.split,
            width=camera.width,
            height=camera.height,
            prompt=spec.prompt,
            camera=CameraRecord(camera.intrinsics, camera.camera_to_world, estimated=False),
            depth=scale,
            n_subjects=len(subjects),
            subjects=tuple(subjects),
            environment={
                "place": environment.place,
                "world": environment.environment_map.name,
                "ground": environment.ground.material,
                "light": environment.lights[0].kind,
            },
            provenance={
                "seed": spec.seed,
                "draw": spec.draw,
                "mask_iou": agreement,
                **provenance,
            },
        ),
        image=render.image,
        depth=depth,
        instances=render.instances,
        identities=np.concatenate(rows),
    )


def _agreement(blender: np.ndarray, cast: np.ndarray, index: int) -> float:
    """IoU of the two visible masks. A thin structure may fall short of ``MASK_IOU`` by its rim
    alone: then nearly every pixel of each mask must lie within a pixel of the other."""
    union = _count(blender | cast)
    iou = _count(blender & cast) / union
    if iou < MASK_IOU:
        near = np.ones((3, 3))
        stray = (blender & ~ndimage.binary_dilation(cast, near)) | (
            cast & ~ndimage.binary_dilation(blender, near)
        )
        if _count(stray) > THIN_DISAGREEMENT * union:
            raise AnnotationError(
                "mask disagrees with geometry", f"subject {index}: IoU {iou:.3f} with the ray cast"
            )
    return round(iou, 4)


def _subject(spec: SceneSpec, subject: SubjectSpec, shape: Shape, visible: np.ndarray) -> Subject:
    camera, asset = spec.camera, subject.identity.asset
    canvas = _canvas(shape.extent(subject.pose, camera), camera)
    if canvas is None:
        raise AnnotationError("subject at the lens", f"subject {subject.index}")
    whole = shape.depth(subject.pose, camera, canvas) > 0
    inside = (
        slice(-canvas.top, camera.height - canvas.top),
        slice(-canvas.left, camera.width - canvas.left),
    )
    # The renderers differ at rims; what is visible is part of the silhouette by definition.
    whole[inside] |= visible
    amodal = whole[inside]
    total, framed = _count(whole), _count(amodal)
    x_min, y_min, x_max, y_max = tight_box(whole)
    rle = coco.encode(np.asfortranarray(amodal.astype(np.uint8)))
    return Subject(
        index=subject.index,
        identity=subject.identity.id,
        category=asset.category,
        caption=subject.caption,
        box2d=tight_box(visible),
        box2d_amodal=(
            x_min + canvas.left,
            y_min + canvas.top,
            x_max + canvas.left,
            y_max + canvas.top,
        ),
        box3d=box3d(subject, camera),
        visibility=_count(visible) / framed,
        truncation=1 - framed / total,
        area=_count(visible) / visible.size,
        amodal_rle=Rle((camera.height, camera.width), rle["counts"].decode("ascii")),
        asset=AssetCredit(asset.id, asset.source, asset.author, asset.license),
        views=(_crop_view(spec, subject), *_rendered_views(subject)),
    )


def _canvas(extent: Window | None, camera: Camera) -> Window | None:
    """The frame, grown to hold ``extent``; None where that would be absurdly large."""
    if extent is None:
        return None
    canvas = Window(
        min(extent.left, 0),
        min(extent.top, 0),
        max(extent.right, camera.width),
        max(extent.bottom, camera.height),
    )
    across = (canvas.right - canvas.left) / camera.width
    down = (canvas.bottom - canvas.top) / camera.height
    return canvas if max(across, down) <= MAX_CANVAS else None


def _count(mask: np.ndarray) -> int:
    return int(np.count_nonzero(mask))


def box3d(subject: SubjectSpec, camera: Camera) -> Box3D:
    size = subject.identity.size
    local = world_to_camera(camera) @ pose_matrix(subject.pose)
    center = local @ [0, 0, size[2] / 2, 1]
    return Box3D(
        center=tuple(center[:3].tolist()),
        size=size,
        rotation=mat3(local[:3, :3]),
        estimated=False,
    )


def _check_depth(record: Subject, camera: Camera, depth: np.ndarray, visible: np.ndarray) -> None:
    """Every visible pixel lies in the 3D box, give or take one pixel's footprint at its depth
    and one unit of depth."""
    box = record.box3d
    points = back_project(camera.intrinsics, depth, visible)
    local = (points - box.center) @ np.array(box.rotation)
    footprint = points[:, 2] / camera.intrinsics[0][0]
    slack = np.abs(local) - np.array(box.size) / 2 - (0.002 + footprint[:, None])
    outside = np.mean((slack > 0).any(axis=1) | (points[:, 2] == 0))
    if outside > BOX_OUTSIDE:
        raise AnnotationError(
            "depth outside the 3D box", f"subject {record.index}: {outside:.1%} of its pixels"
        )


def identity_crop(
    image: np.ndarray, mask: np.ndarray, box: tuple[int, int, int, int], size: int
) -> np.ndarray:
    """The subject cut out of the image, (S, S, 4) uint8 with straight alpha: a square around its
    visible box with a small margin. Resized with premultiplied alpha, so that no background
    bleeds into the rim."""
    x_min, y_min, x_max, y_max = box
    side = round(max(x_max - x_min, y_max - y_min) * (1 + 2 * CROP_MARGIN)) + 1
    left, top = (x_min + x_max - side) // 2, (y_min + y_max - side) // 2
    cut = Image.fromarray(np.dstack([image, mask.astype(np.uint8) * 255]), "RGBA")
    cut = cut.crop((left, top, left + side, top + side)).convert("RGBa")
    cut = cut.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=None)
    return np.asarray(cut.convert("RGBA"))


def _crop_view(spec: SceneSpec, subject: SubjectSpec) -> View:
    """How the scene's own camera sees the subject."""
    eye = np.array(spec.camera.camera_to_world)[:3, 3]
    local = transform(np.linalg.inv(pose_matrix(subject.pose)), eye[None])[0]
    x, y, z = local - [0, 0, subject.identity.size[2] / 2]
    return View(
        kind="crop",
        azimuth=float(np.arctan2(-x, -y)),
        elevation=float(np.arctan2(z, np.hypot(x, y))),
        light=spec.environment.environment_map.name,
    )


def _rendered_views(subject: SubjectSpec) -> list[View]:
    return [
        View("render", view.yaw, view.elevation, view.environment_map.name)
        for view in subject.views
    ]
