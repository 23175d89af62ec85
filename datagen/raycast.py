"""What a camera would see of bare geometry: Open3D ray casting, independent of Blender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import open3d as o3d
import trimesh

from datagen.geometry import pose_matrix, transform, world_to_camera
from datagen.scene import Camera, SubjectSpec


@dataclass(frozen=True)
class Window:
    """A rectangle of the image plane, half-open pixels; it may reach outside the frame."""

    left: int
    top: int
    right: int
    bottom: int


def frame(camera: Camera) -> Window:
    return Window(0, 0, camera.width, camera.height)


def in_camera(
    subjects: Sequence[SubjectSpec], meshes: Sequence[trimesh.Trimesh], camera: Camera
) -> list[trimesh.Trimesh]:
    """The subjects' meshes (asset frame, scaled) moved to the camera frame."""
    to_camera = world_to_camera(camera)
    return [
        trimesh.Trimesh(
            transform(to_camera @ pose_matrix(subject.pose), mesh.vertices), mesh.faces, process=False
        )
        for subject, mesh in zip(subjects, meshes, strict=True)
    ]


def silhouettes(
    meshes: Sequence[trimesh.Trimesh], camera: Camera, window: Window
) -> tuple[np.ndarray, np.ndarray]:
    """Which mesh is seen where, and how far: ids (H, W) uint8, i + 1 for ``meshes[i]`` and 0
    for none, and z-depth (H, W) float32 metres, 0 for none. ``meshes`` are in the camera frame;
    rays go through pixel centres."""
    scene = o3d.t.geometry.RaycastingScene()
    for mesh in meshes:
        scene.add_triangles(
            o3d.core.Tensor(np.asarray(mesh.vertices, np.float32)),
            o3d.core.Tensor(np.asarray(mesh.faces, np.uint32)),
        )
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
    x = (np.arange(window.left, window.right, dtype=np.float32) + 0.5 - cx) / fx
    y = (np.arange(window.top, window.bottom, dtype=np.float32) + 0.5 - cy) / fy
    rays = np.zeros((len(y), len(x), 6), np.float32)
    # Directions with z = 1 make the hit parameter the z-depth.
    rays[..., 3], rays[..., 4], rays[..., 5] = x[None, :], y[:, None], 1.0
    hits = scene.cast_rays(o3d.core.Tensor(rays))
    ids = hits["geometry_ids"].numpy()
    missed = ids == o3d.t.geometry.RaycastingScene.INVALID_ID
    return (
        np.where(missed, 0, ids + 1).astype(np.uint8),
        np.where(missed, 0, hits["t_hit"].numpy()).astype(np.float32),
    )


def extent(mesh: trimesh.Trimesh, camera: Camera) -> Window | None:
    """The window that holds the whole projection of ``mesh`` (camera frame); None where a
    part of it lies behind the camera."""
    vertices = np.asarray(mesh.vertices)
    if vertices[:, 2].min() <= 0:
        return None
    pixels = vertices @ np.array(camera.intrinsics).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    left, top = np.floor(pixels.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(pixels.max(axis=0)).astype(int).tolist()
    return Window(left, top, right, bottom)
