"""Controls from boxes and meshes that stand in a world before a camera.

The world is in metres, z up. The camera is above the origin and looks along +y. At a yaw of 0 the
front of an object faces the camera; seen from above, yaw turns counter-clockwise.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from datagen.catalog.glb import load_mesh
from datagen.catalog.ingest.ingest import IngestedModels
from datagen.catalog.providers.folder import model_source
from datagen.errors import UserError
from datagen.geometry import look_at, mat3, mat4, pose_matrix, world_to_camera
from datagen.raycast import Shape, image_window
from datagen.scene import Box3D, Camera, Pose, Vec3
from model.controls.regions import Region, mask_region


def camera_above(
    size: tuple[int, int], fov_degrees: float, height: float, pitch_degrees: float
) -> Camera:
    """A camera above the origin of the world that looks along +y.

    Args:
        size: (height, width) of its pictures in pixels.
        fov_degrees: Horizontal field of view.
        height: Above the ground, in metres.
        pitch_degrees: How far the camera looks down.
    """
    rows, columns = size
    focal = columns / 2 / np.tan(np.radians(fov_degrees) / 2)
    pitch = np.radians(pitch_degrees)
    eye = np.array([0.0, 0.0, height])
    forward = np.array([0.0, np.cos(pitch), -np.sin(pitch)])
    intrinsics = np.array([[focal, 0, columns / 2], [0, focal, rows / 2], [0, 0, 1]])
    return Camera(columns, rows, mat3(intrinsics), mat4(look_at(eye, eye + forward)))


def standing_box(size: Vec3, position: Vec3, camera: Camera, yaw_degrees: float = 0.0) -> Box3D:
    """A box that stands upright in the world, for ``box3d_region``.

    Args:
        size: Width, length and height in metres.
        position: (x, y, z) of the middle of its bottom in the world, in metres.
        camera: The camera whose frame the result is in.
        yaw_degrees: Turn about the vertical axis, counter-clockwise seen from above.

    Returns:
        The box in the camera frame (OpenCV: x right, y down, z forward), in metres.
    """
    local = world_to_camera(camera) @ pose_matrix(_pose(position, yaw_degrees))
    x, y, z, _ = local @ [0, 0, size[2] / 2, 1]
    return Box3D((float(x), float(y), float(z)), size, mat3(local[:3, :3]), estimated=False)


def mesh_region(
    file: str | Path,
    position: Vec3,
    camera: Camera,
    *,
    yaw_degrees: float = 0.0,
    height: float = 0.0,
    cache: str | Path,
) -> Region:
    """The region of a 3D model that stands in the world: its silhouette and its depth, ray-cast.

    Args:
        file: A glb, gltf, obj, ply or stl file.
        position: (x, y, z) of the middle of its bottom in the world, in metres.
        camera: Any pinhole camera, for example of ``camera_above``.
        yaw_degrees: Turn about the vertical axis, counter-clockwise seen from above.
        height: In metres, to which the model is scaled; 0 keeps the size that the file has.
        cache: Folder that keeps the canonical form of the file for the next call.

    Returns:
        A region of granularity "mask_depth", of the size of the camera's pictures.

    Raises:
        UserError: the file is missing or not a usable model, or a number is not finite.
    """
    if not np.isfinite([*position, yaw_degrees]).all():
        raise UserError(f"{file}: at {list(position)}, yaw {yaw_degrees}; expected finite numbers")
    if not 0 <= height < np.inf:
        raise UserError(f"{file}: height {height}, expected metres, or 0 for the file's own")
    if not os.path.exists(file):  # Path.exists raises for a name that is too long
        raise UserError(f"{file}: no such file")
    provider = IngestedModels([model_source(Path(file))], Path(cache))
    for rejection in provider.rejections():
        raise UserError(f"{file}: {rejection.reason} ({rejection.detail})")
    (asset,) = provider.assets()
    mesh = load_mesh(provider.model(asset))
    if height:
        mesh.apply_scale(height / asset.size[2])
    depth = Shape(mesh).depth(_pose(position, yaw_degrees), camera, image_window(camera))
    return mask_region(depth > 0, depth)


def _pose(position: Vec3, yaw_degrees: float) -> Pose:
    return Pose(position, float(np.radians(yaw_degrees)))
