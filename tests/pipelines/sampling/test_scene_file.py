"""What a scene file's masks, boxes and meshes become: pixel for pixel, metre for metre."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
import yaml
from PIL import Image

from datagen.errors import UserError
from datagen.scene import Box3D
from model.controls.regions import Region, box3d_region
from pipelines.sampling.posed_controls import camera_above, mesh_region
from pipelines.sampling.scene_file import SceneInputs, read_scene

EDGE = 64
CAMERA = {"fov_degrees": 60, "height": 1.1, "pitch_degrees": 0}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def read(tmp_path, cache) -> Callable[..., SceneInputs]:
    """The scene of one subject with a control, read from its file."""
    Image.new("RGBA", (9, 9), (200, 30, 30, 255)).save(tmp_path / "thing.png")

    def run(control: dict[str, Any], **more: Any) -> SceneInputs:
        path = tmp_path / "scene.yaml"
        subject = {"reference": "thing.png"} | control
        scene = {"prompt": "a room", "canvas": [EDGE, EDGE], "camera": CAMERA}
        path.write_text(yaml.safe_dump(scene | {"subjects": [subject]} | more))
        return read_scene(path, cache)

    return run


def blob() -> np.ndarray:
    """A ring, open on one side, and a drop beside it."""
    y, x = np.mgrid[:EDGE, :EDGE]
    far = np.hypot(x - 25, y - 30)
    return (far > 9) & (far < 19) & (x < 35 + y % 7) | (np.hypot(x - 52, 2 * (y - 20)) < 8)


SHAPE = blob()
WHITE, CLEAR = np.full((EDGE, EDGE), 255, np.uint8), np.uint8(255 * SHAPE)


def gray(inside: int, outside: int, dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(SHAPE, inside, outside).astype(dtype))


def stacked(*channels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.stack(channels, axis=2))


def palette(*colors: int) -> Image.Image:
    """The first colour outside, the second inside, of (r, g, b) each."""
    picture = gray(1, 0)
    picture.putpalette(colors)
    return picture


RED, BLACK_OR_WHITE = (255, 0, 0), (0, 0, 0, 255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "picture", "saved"),
    [
        ("1", gray(255, 0).convert("1"), {}),
        ("L", gray(255, 0), {}),
        ("L", gray(128, 127), {}),
        ("L", gray(255, 254), {"transparency": 254}),
        ("I;16", gray(65535, 0, np.uint16), {}),
        ("I;16", gray(32768, 32767, np.uint16), {}),
        ("P", palette(*BLACK_OR_WHITE), {}),
        ("P", palette(255, 255, 255, 255, 255, 255), {"transparency": 0}),
        ("LA", stacked(CLEAR, WHITE), {}),
        ("LA", stacked(WHITE, CLEAR), {}),
        ("RGB", gray(255, 0).convert("RGB"), {}),
        ("RGBA", stacked(CLEAR, CLEAR, CLEAR, WHITE), {}),
        ("RGBA", stacked(WHITE, WHITE, WHITE, CLEAR), {}),
    ],
)
def test_mask_is_the_white_of_every_png_mode(mode, picture, saved, read, tmp_path):
    picture.save(tmp_path / "mask.png", **saved)
    assert Image.open(tmp_path / "mask.png").mode == mode
    (region,) = read({"mask": "mask.png"}).regions
    assert np.array_equal(region.mask, SHAPE)


def test_background_mask_is_read_like_a_mask(read, tmp_path):
    stacked(WHITE, WHITE, WHITE, CLEAR).save(tmp_path / "mask.png")
    Image.new("RGB", (EDGE, EDGE)).save(tmp_path / "room.png")
    scene = read({"box2d": [0, 0, 9, 9]}, background={"image": "room.png", "mask": "mask.png"})
    assert np.array_equal(scene.paintable, SHAPE)


@pytest.mark.parametrize(
    ("picture", "saved"),
    [
        (stacked(0 * WHITE, CLEAR), {}),
        (stacked(WHITE, WHITE, WHITE, 0 * WHITE), {}),
        (stacked(0 * WHITE, 0 * WHITE, 0 * WHITE, CLEAR), {}),
        (palette(*BLACK_OR_WHITE), {"transparency": 1}),
    ],
)
def test_ambiguous_transparent_mask_is_refused(picture, saved, read, tmp_path):
    picture.save(tmp_path / "mask.png", **saved)
    expected = r"subjects\[0\].mask: mask.png: transparent in part, and no white in the rest"
    with pytest.raises(UserError, match=expected):
        read({"mask": "mask.png"})


def test_background_of_16_bits_is_scaled_to_8(read, tmp_path):
    gray(200 << 8, 1000, np.uint16).save(tmp_path / "room.png")
    background = read({"box2d": [0, 0, 9, 9]}, background={"image": "room.png"}).background
    assert (background[SHAPE] == 200).all()
    assert (background[~SHAPE] == 3).all()


Bounds = tuple[float, float, float, float, float, float]


def seen(*boxes: Bounds) -> np.ndarray:
    """Depth (H, W) of boxes that are parallel to the world's axes, by their least and greatest x,
    y and z there, for a level camera 1.1 m above the ground."""
    focal = EDGE / 2 / np.tan(np.radians(30))
    intrinsics = ((focal, 0.0, 32.0), (0.0, focal, 32.0), (0.0, 0.0, 1.0))
    nearest = np.full((EDGE, EDGE), np.inf)
    for left, right, near, far, low, high in boxes:
        center = ((left + right) / 2, 1.1 - (low + high) / 2, (near + far) / 2)
        size = (right - left, high - low, far - near)
        box = Box3D(center, size, ((1, 0, 0), (0, 1, 0), (0, 0, 1)), estimated=False)
        depth = box3d_region(box, intrinsics, (EDGE, EDGE)).depth
        nearest = np.where(depth > 0, np.minimum(nearest, depth), nearest)
    return np.where(np.isinf(nearest), 0, nearest)


def assert_is(region: Region, depth: np.ndarray) -> None:
    assert np.array_equal(region.mask, depth > 0)
    assert region.depth == pytest.approx(depth, abs=1e-4)


@pytest.fixture(scope="module")
def tower(cache) -> str:
    """A slab 3 m long, with a tower 2 m high on its front end."""
    slab, tower = trimesh.creation.box((1, 3, 0.5)), trimesh.creation.box((1, 1, 2))
    slab.apply_translation((0, 0, 0.25))
    tower.apply_translation((0, -1, 1))
    trimesh.util.concatenate([slab, tower]).export(cache / "tower.stl")
    return str(cache / "tower.stl")


@pytest.mark.parametrize(
    ("pose", "boxes"),
    [
        ({}, [(-0.5, 0.5, 4.5, 7.5, 0, 0.5), (-0.5, 0.5, 4.5, 5.5, 0, 2)]),
        ({"yaw_degrees": 90}, [(-1.5, 1.5, 5.5, 6.5, 0, 0.5), (0.5, 1.5, 5.5, 6.5, 0, 2)]),
        ({"yaw_degrees": -90}, [(-1.5, 1.5, 5.5, 6.5, 0, 0.5), (-1.5, -0.5, 5.5, 6.5, 0, 2)]),
        ({"yaw_degrees": 180}, [(-0.5, 0.5, 4.5, 7.5, 0, 0.5), (-0.5, 0.5, 6.5, 7.5, 0, 2)]),
        (
            {"yaw_degrees": 90, "height": 1.0},
            [(-0.75, 0.75, 5.75, 6.25, 0, 0.25), (0.25, 0.75, 5.75, 6.25, 0, 1)],
        ),
    ],
)
def test_mesh_region_depth_by_pose(pose, boxes, read, tower):
    (region,) = read({"mesh": {"file": tower, "position": [0, 6, 0]} | pose}).regions
    assert_is(region, seen(*boxes))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"file": "gone.stl"}, "gone.stl: no such file"),
        ({"position": (0, float("nan"), 0)}, r"tower.stl: at \[0, nan, 0\].* finite numbers"),
        ({"yaw_degrees": float("inf")}, "yaw inf; expected finite numbers"),
        ({"height": -1.0}, "tower.stl: height -1.0, expected metres"),
        ({"height": float("nan")}, "tower.stl: height nan, expected metres"),
    ],
)
def test_mesh_region_refuses_invalid_arguments(wrong, message, tower, cache):
    camera = camera_above((EDGE, EDGE), fov_degrees=60, height=1.1, pitch_degrees=0)
    given = {"file": tower, "position": (0, 6, 0), "camera": camera, "cache": cache} | wrong
    with pytest.raises(UserError, match=message):
        mesh_region(**given)


def test_mesh_region_depth_of_a_flat_front_is_constant(read, tower):
    (region,) = read({"mesh": {"file": tower, "position": [0, 6, 0]}}).regions
    assert region.mask.any()
    assert region.depth[region.mask] == pytest.approx(4.5)


@pytest.mark.parametrize(
    ("yaw", "bounds"),
    [(0, (-0.5, 0.5, 4.5, 7.5, 0, 0.5)), (90, (-1.5, 1.5, 5.5, 6.5, 0, 0.5))],
)
def test_standing_box_depth_by_yaw(yaw, bounds, read):
    box = {"size": [1, 3, 0.5], "position": [0, 6, 0], "yaw_degrees": yaw}
    (region,) = read({"box3d": box}).regions
    assert_is(region, seen(bounds))


@pytest.mark.parametrize(("yaw", "nearest_is_right"), [(30, True), (-30, False)])
def test_standing_box_yaw_is_counter_clockwise(yaw, nearest_is_right, read):
    box = {"size": [1, 3, 0.5], "position": [0, 6, 0], "yaw_degrees": yaw}
    (region,) = read({"box3d": box}).regions
    depth = np.where(region.mask, region.depth, np.inf)
    assert (depth.min(axis=0).argmin() > EDGE / 2) == nearest_is_right
