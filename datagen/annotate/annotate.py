"""Annotates a rendered scene: masks, boxes, visibility and identity crops. Pure functions.

Visible masks and depth are Blender's; amodal masks are ray-cast by Open3D from the recorded
camera and poses. The two renderers share no code: where their visible masks disagree, one of them
uses a wrong convention. The agreement is checked for every subject of every scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco
from scipy import ndimage

from datagen.geometry import back_project, mat3, pose_matrix, tight_box, transform, world_to_camera
from datagen.raycast import Shape, Window, image_window, visible_index
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

MIN_MASK_IOU = 0.95
"""Least IoU of Blender's and the ray caster's visible mask of a subject."""

MAX_STRAY = 0.02
"""Below that IoU, the largest share of a subject's pixels that may be more than one pixel outside
the other renderer's mask."""

MAX_OUTSIDE_BOX = 0.002
"""Largest share of a subject's pixels whose depth may lie outside its 3D box."""

CROP_MARGIN = 0.06
"""Margin of an identity crop on each side, as a share of the subject's larger box edge."""

MAX_CANVAS = 8
"""Largest extent of a silhouette, in image widths or heights; a larger amodal box is useless."""


class AnnotationError(Exception):
    """Pixels and geometry contradict each other. ``reason`` is a stable phrase to count by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason, self.message = reason, message


def annotate(
    spec: SceneSpec,
    render: Rendering,
    shapes: Sequence[Shape],
    provenance: Mapping[str, Any],
) -> Sample:
    """Makes the sample of a rendered scene.

    Args:
        spec: the scene as it was composed.
        render: Blender's pixels of the scene.
        shapes: one shape per subject, scaled, in order.
        provenance: facts that are recorded beside the seed, the draw and the IoU of the masks.

    Raises:
        AnnotationError: a subject is not visible or too close to the camera, or Blender's pixels
            disagree with the geometry.
    """
    camera = spec.camera
    scale = DepthScale()
    depth = np.round(render.depth / scale.meters_per_unit)
    depth = np.where(depth <= np.iinfo(np.uint16).max, depth, 0).astype(np.uint16)
    ray_cast = visible_index(
        [
            shape.depth(subject.pose, camera, image_window(camera))
            for subject, shape in zip(spec.subjects, shapes, strict=True)
        ]
    )
    subjects, ious, rows = [], [], []
    for subject, shape in zip(spec.subjects, shapes, strict=True):
        visible = render.instances == subject.index
        if not visible.any():
            raise AnnotationError("subject not visible", f"subject {subject.index}")
        ious.append(_check_masks(visible, ray_cast == subject.index, subject.index))
        annotated = _annotate_subject(spec, subject, shape, visible)
        _check_depth(annotated, camera, depth * scale.meters_per_unit, visible)
        subjects.append(annotated)
        size = render.views.shape[2]
        crop = identity_crop(render.image, visible, annotated.box2d, size)
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
                "mask_iou": ious,
                **provenance,
            },
        ),
        image=render.image,
        depth=depth,
        instances=render.instances,
        identities=np.concatenate(rows),
    )


def _check_masks(blender: np.ndarray, ray_cast: np.ndarray, index: int) -> float:
    """IoU of a subject's two visible masks (H, W) bool. A thin structure may fall short of
    ``MIN_MASK_IOU`` because of its rim alone: then nearly every pixel of each mask must be at most
    one pixel away from the other mask."""
    union = _count(blender | ray_cast)
    iou = _count(blender & ray_cast) / union
    if iou < MIN_MASK_IOU:
        square = np.ones((3, 3))
        stray = (blender & ~ndimage.binary_dilation(ray_cast, square)) | (
            ray_cast & ~ndimage.binary_dilation(blender, square)
        )
        if _count(stray) > MAX_STRAY * union:
            raise AnnotationError(
                "mask disagrees with geometry", f"subject {index}: IoU {iou:.3f} with the ray cast"
            )
    return round(iou, 4)


def _annotate_subject(
    spec: SceneSpec, subject: SubjectSpec, shape: Shape, visible: np.ndarray
) -> Subject:
    """The record of a subject whose visible mask is ``visible`` (H, W) bool."""
    camera, asset = spec.camera, subject.identity.asset
    canvas = _canvas(shape.extent(subject.pose, camera), camera)
    if canvas is None:
        raise AnnotationError("subject at the lens", f"subject {subject.index}")
    silhouette = shape.depth(subject.pose, camera, canvas) > 0
    inside = (
        slice(-canvas.top, camera.height - canvas.top),
        slice(-canvas.left, camera.width - canvas.left),
    )
    # The renderers differ at rims, but a visible pixel is part of the silhouette by definition.
    silhouette[inside] |= visible
    amodal = silhouette[inside]
    silhouette_area, amodal_area = _count(silhouette), _count(amodal)
    x_min, y_min, x_max, y_max = tight_box(silhouette)
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
        visibility=_count(visible) / amodal_area,
        truncation=1 - amodal_area / silhouette_area,
        area=_count(visible) / visible.size,
        amodal_rle=Rle((camera.height, camera.width), rle["counts"].decode("ascii")),
        asset=AssetCredit(
            asset.id,
            asset.source,
            asset.author,
            asset.license,
            asset.size_guessed,
            asset.decimated_from,
            asset.title,
        ),
        views=(_crop_view(spec, subject), *_rendered_views(subject)),
    )


def _canvas(extent: Window | None, camera: Camera) -> Window | None:
    """The image's window, enlarged to hold ``extent``; None where ``extent`` is None or the result
    would be larger than ``MAX_CANVAS``."""
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
    """Number of True pixels."""
    return int(np.count_nonzero(mask))


def box3d(subject: SubjectSpec, camera: Camera) -> Box3D:
    """The 3D box of a subject in the camera frame, in metres; its axes are the asset's own."""
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
    """Raises AnnotationError unless the visible pixels lie in the subject's 3D box, within a
    tolerance of one pixel's width at its depth plus 2 mm. ``depth`` (H, W) in metres."""
    box = record.box3d
    points = back_project(camera.intrinsics, depth, visible)
    local = (points - box.center) @ np.array(box.rotation)
    footprint = points[:, 2] / camera.intrinsics[0][0]
    excess = np.abs(local) - np.array(box.size) / 2 - (0.002 + footprint[:, None])
    outside = np.mean((excess > 0).any(axis=1) | (points[:, 2] == 0))
    if outside > MAX_OUTSIDE_BOX:
        raise AnnotationError(
            "depth outside the 3D box", f"subject {record.index}: {outside:.1%} of its pixels"
        )


def identity_crop(
    image: np.ndarray, mask: np.ndarray, box: tuple[int, int, int, int], size: int
) -> np.ndarray:
    """Cuts a subject out of the image: a square around its visible box with a small margin.

    The crop is resized with premultiplied alpha, so that no background colour gets into its rim.

    Args:
        image: (H, W, 3) uint8 sRGB.
        mask: the subject's visible mask (H, W) bool.
        box: its visible box [x_min, y_min, x_max, y_max] in pixels, half-open.
        size: edge S of the crop in pixels.

    Returns:
        (S, S, 4) uint8 with straight alpha, 0 outside the mask.
    """
    x_min, y_min, x_max, y_max = box
    side = round(max(x_max - x_min, y_max - y_min) * (1 + 2 * CROP_MARGIN)) + 1
    left, top = (x_min + x_max - side) // 2, (y_min + y_max - side) // 2
    cut = Image.fromarray(np.dstack([image, mask.astype(np.uint8) * 255]), "RGBA")
    cut = cut.crop((left, top, left + side, top + side)).convert("RGBa")
    cut = cut.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=None)
    return np.asarray(cut.convert("RGBA"))


def _crop_view(spec: SceneSpec, subject: SubjectSpec) -> View:
    """The crop's view: azimuth and elevation at which the scene's camera sees the subject."""
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
