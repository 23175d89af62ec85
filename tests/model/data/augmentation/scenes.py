"""Scenes of balls on a floor, ray-cast: records, pixels and views that agree, in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from pycocotools import mask as coco

from datagen.annotate.annotate import identity_crop
from datagen.geometry import look_at, mat3, mat4, tight_box
from datagen.scene import (
    AssetCredit,
    Box3D,
    CameraRecord,
    Prompt,
    Rle,
    Sample,
    SceneRecord,
    Subject,
    View,
)

SIZE, CELL, FOCAL = 64, 32, 70.0
COLORS = {
    "red": (196, 32, 43),
    "orange": (232, 119, 28),
    "yellow": (242, 200, 30),
    "green": (47, 143, 62),
    "teal": (18, 138, 138),
    "blue": (35, 82, 184),
    "purple": (107, 53, 160),
    "pink": (236, 127, 174),
    "brown": (116, 69, 31),
    "beige": (217, 195, 154),
}
POSE = look_at(np.array([0.9, -3.1, 1.6]), np.array([0.1, 0.1, 0.3]))
INTRINSICS = np.array([[FOCAL, 0, SIZE / 2 + 3], [0, FOCAL, SIZE / 2 - 1], [0, 0, 1]])


@cache
def scene(key: str = "000001", n: int = 2, seed: int = 0, columns: int = 3) -> Sample:
    """``n`` balls of other colours, on grey ground below a pale sky. Their views differ, and each
    has a dark mark on one side."""
    rng = np.random.default_rng([seed, n])
    radius = min(0.35, 1.2 / n)
    x = np.linspace(-0.7, 0.9, n) if n > 1 else np.zeros(1)
    centers = np.stack([x, rng.uniform(-0.7, 0.9, n), np.full(n, radius)], axis=1)
    names = rng.permutation(list(COLORS))[:n].tolist()
    image, depth = environment_mesh()
    instances = np.zeros((SIZE, SIZE), np.uint8)
    casts = [_ball(center, radius) for center in centers]
    for i in np.argsort([-np.linalg.norm(center - POSE[:3, 3]) for center in centers]).tolist():
        seen, light = casts[i]
        mask = seen > 0
        image[mask] = np.round(np.array(COLORS[names[i]]) * light[mask, None])
        depth[mask] = np.round(1000 * seen[mask])
        instances[mask] = i + 1
    subjects, rows = [], []
    for i in range(n):
        visible, whole = instances == i + 1, casts[i][0] > 0
        subject = _subject(i + 1, f"{key}-{names[i]}", names[i], centers[i], radius, columns)
        subjects.append(_seen(subject, visible, whole))
        crop = identity_crop(image, visible, tight_box(visible), CELL)
        lights = rng.uniform(0.7, 1.0, columns)
        views = [_view(names[i], light, azimuth) for azimuth, light in enumerate(lights)]
        rows.append(np.concatenate([crop, *views[1:]], axis=1))
    captions = ", and ".join(subject.caption for subject in subjects)
    record = SceneRecord(
        key=key,
        source="render",
        split="train",
        width=SIZE,
        height=SIZE,
        prompt=Prompt(
            f"A photo of {captions} in a hall with teal walls. "
            f"The {names[0]} ball is to the left of the {names[-1]} ball.",
            "a hall with teal walls",
        ),
        camera=CameraRecord(mat3(INTRINSICS), mat4(POSE), estimated=False),
        n_subjects=n,
        subjects=tuple(subjects),
    )
    arrays = image, depth, instances, np.concatenate(rows)
    for array in arrays:  # whoever changes his input fails
        array.setflags(write=False)
    return Sample(record, *arrays)


def environment_mesh() -> tuple[np.ndarray, np.ndarray]:
    """Image and depth of the place without subjects."""
    rays = _rays()
    down = rays[..., 2] < -1e-3
    ground = np.where(down, -POSE[2, 3] / np.where(down, rays[..., 2], -1), 0)
    depth = np.where(ground < 60, np.round(1000 * ground), 0).astype(np.uint16)
    gray = np.where(down, 150 - 2 * np.minimum(ground, 20), 225)
    return np.repeat(gray[..., None], 3, axis=2).astype(np.uint8), depth


def _rays() -> np.ndarray:
    """World directions (H, W, 3) that come one metre of depth forward."""
    v, u = np.mgrid[:SIZE, :SIZE] + 0.5
    pixels = np.stack([u, v, np.ones_like(u)], axis=2)
    return pixels @ (POSE[:3, :3] @ np.linalg.inv(INTRINSICS)).T


def _ball(center: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) in metres, 0 off the ball, and light from above, 0..1."""
    rays, from_center = _rays(), POSE[:3, 3] - center
    a, b = (rays**2).sum(axis=2), rays @ from_center
    root = b**2 - a * (from_center @ from_center - radius**2)
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, 0)
    up = (from_center + depth[..., None] * rays)[..., 2] / radius
    return depth, 0.7 + 0.3 * up


def _subject(
    index: int, identity: str, color: str, center: np.ndarray, radius: float, columns: int
) -> Subject:
    yaw = 0.7 * index
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    x, y, z = ((center - POSE[:3, 3]) @ POSE[:3, :3]).tolist()
    eye = (POSE[:3, 3] - center) @ turn
    crop = View(
        "crop",
        azimuth=float(np.arctan2(-eye[0], -eye[1])),
        elevation=float(np.arctan2(eye[2], np.hypot(eye[0], eye[1]))),
        light="hall",
    )
    further = (View("render", float(c), 0.3, "studio") for c in range(1, columns))
    return Subject(
        index=index,
        identity=identity,
        category="toy",
        caption=f"{'an' if color == 'orange' else 'a'} {color} ball",
        box2d=(0, 0, 1, 1),
        box2d_amodal=(0, 0, 1, 1),
        box3d=Box3D((x, y, z), (2 * radius,) * 3, mat3(POSE[:3, :3].T @ turn), estimated=False),
        visibility=1.0,
        truncation=0.0,
        area=0.0,
        amodal_rle=Rle((SIZE, SIZE), ""),
        asset=AssetCredit("ball", "tests", "nobody", "CC0-1.0"),
        views=(crop, *further),
    )


def _seen(subject: Subject, visible: np.ndarray, whole: np.ndarray) -> Subject:
    counts = coco.encode(np.asfortranarray(whole.astype(np.uint8)))["counts"].decode()
    return replace(
        subject,
        box2d=tight_box(visible),
        box2d_amodal=tight_box(whole),
        visibility=float(visible.sum() / whole.sum()),
        area=float(visible.mean()),
        amodal_rle=Rle((SIZE, SIZE), counts),
    )


def _view(color: str, light: float, azimuth: int) -> np.ndarray:
    v, u = (np.mgrid[:CELL, :CELL] + 0.5 - CELL / 2) / (0.4 * CELL)
    view = np.zeros((CELL, CELL, 4), np.uint8)
    view[..., :3] = np.round(light * np.array(COLORS[color]))
    view[(u - 0.5 * np.cos(azimuth)) ** 2 + (v - 0.3) ** 2 < 0.05, :3] = 30
    view[..., 3] = np.clip(255 * (1 - np.hypot(u, v)) * 0.4 * CELL, 0, 255)
    return view
