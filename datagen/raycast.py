"""Ray casting of bare geometry with Open3D: what a camera would see, independent of Blender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import trimesh
from scipy.spatial import ConvexHull, QhullError

from datagen.geometry import (
    pose_matrix,
    project,
    project_camera_points,
    transform,
    world_to_camera,
)
from datagen.scene import Camera, Pose


@cache
def _open3d() -> Any:
    """Open3D, imported at the first cast: it imports scikit-learn and plotly, which takes seconds
    that a process that casts no ray should not spend."""
    import open3d

    return open3d


@dataclass(frozen=True)
class Window:
    """A rectangle of the image plane in pixels, half-open; it may reach outside the image."""

    left: int
    top: int
    right: int
    bottom: int


def image_window(camera: Camera) -> Window:
    """The window that the camera's image covers."""
    return Window(0, 0, camera.width, camera.height)


class Shape:
    """A mesh in the asset frame, scaled, with its ray-casting tree. It can be cast at in any pose:
    the rays are transformed, not the mesh, so the tree is built once."""

    def __init__(self, mesh: trimesh.Trimesh) -> None:
        self._vertices = np.asarray(mesh.vertices)
        o3d = _open3d()
        self._scene = o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            o3d.core.Tensor(self._vertices.astype(np.float32)),
            o3d.core.Tensor(np.asarray(mesh.faces, np.uint32)),
        )

    @cached_property
    def hull(self) -> np.ndarray:
        """The vertices (P, 3) of the convex hull, in the asset frame: their projections bound that
        of the shape. All vertices of a shape that is flat."""
        try:
            return self._vertices[ConvexHull(self._vertices).vertices]
        except QhullError:
            return self._vertices

    def depth(self, pose: Pose, camera: Camera, window: Window) -> np.ndarray:
        """Z-depth of the shape alone.

        Args:
            pose: of the shape, in the world.
            camera: the camera; only its intrinsics and pose are used.
            window: the pixels to cast, (H, W).

        Returns:
            (H, W) float32 in metres, 0 where the ray through a pixel's centre misses the shape.
        """
        to_asset = np.linalg.inv(pose_matrix(pose)) @ np.array(camera.camera_to_world)
        (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
        x = (np.arange(window.left, window.right) + 0.5 - cx) / fx
        y = (np.arange(window.top, window.bottom) + 0.5 - cy) / fy
        # Directions with z = 1 in the camera frame make the hit parameter the z-depth.
        directions = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], axis=-1)
        rays = np.empty((len(y), len(x), 6), np.float32)
        rays[..., :3] = to_asset[:3, 3]
        rays[..., 3:] = directions @ to_asset[:3, :3].T
        hit: np.ndarray = self._scene.cast_rays(_open3d().core.Tensor(rays))["t_hit"].numpy()
        return np.where(np.isfinite(hit), hit, 0)

    def depth_in_image(self, pose: Pose, camera: Camera) -> np.ndarray:
        """As ``depth`` over the camera's image; rays are cast only where the shape can be. The
        whole shape is in front of the camera."""
        depth = np.zeros((camera.height, camera.width), np.float32)
        x, y, _ = project(camera, transform(pose_matrix(pose), self.hull)).T
        left, top = max(int(x.min()), 0), max(int(y.min()), 0)
        right, bottom = min(int(x.max()) + 1, camera.width), min(int(y.max()) + 1, camera.height)
        if left < right and top < bottom:
            window = Window(left, top, right, bottom)
            depth[top:bottom, left:right] = self.depth(pose, camera, window)
        return depth

    def extent(self, pose: Pose, camera: Camera) -> Window | None:
        """The smallest window that holds the whole projection of the shape; None where a part of
        the shape is behind the camera."""
        local = transform(world_to_camera(camera) @ pose_matrix(pose), self._vertices)
        if local[:, 2].min() <= 0:
            return None
        pixels = project_camera_points(local, camera.intrinsics)
        left, top = np.floor(pixels.min(axis=0)).astype(int).tolist()
        right, bottom = np.ceil(pixels.max(axis=0)).astype(int).tolist()
        return Window(left, top, right, bottom)


def visible_index(depths: Sequence[np.ndarray]) -> np.ndarray:
    """Which of several shapes is visible at each pixel.

    Args:
        depths: z-depth (H, W) of each shape, 0 where there is none.

    Returns:
        (H, W) uint8: i + 1 where ``depths[i]`` is the smallest depth above 0, 0 where all are 0.
    """
    stack = np.stack([np.where(depth > 0, depth, np.inf) for depth in depths])
    return np.where(np.isinf(stack.min(axis=0)), 0, stack.argmin(axis=0) + 1).astype(np.uint8)
