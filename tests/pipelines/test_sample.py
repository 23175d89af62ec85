"""`sigma sample`, from a scene file to a picture, with an untrained model of the real kind."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
import yaml
from PIL import Image

from model.backbone import BackboneConfig
from model.controls import Encoding, Format
from model.sigma import ModelConfig, ScratchConfig, build, save_model
from pipelines.cli import main
from pipelines.scene_file import read_scene

MODEL = ModelConfig(
    base=ScratchConfig(patch=4, heads=2, double_blocks=1, single_blocks=1, rope=(4, 6, 6)),
    format=Format(32, 16, Encoding("one_hot", slots=4)),
    prediction="x",
    backbone=BackboneConfig(sheet_positions="per_block", rope_theta=100),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(build(MODEL, seed=0), folder)
    return folder


@pytest.fixture
def scene(tmp_path):
    """A scene of four subjects, one of each kind of control, and its files."""
    reference = np.full((20, 20, 4), 90, np.uint8)
    reference[..., 3] = 255
    Image.fromarray(reference).save(tmp_path / "thing.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 40:60] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(np.full((64, 64), 1500, np.uint16)).save(tmp_path / "depth.png")
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(tmp_path / "room.png")
    trimesh.creation.box((1, 2, 1)).export(tmp_path / "block.glb")
    return {
        "prompt": "Place these subjects in a room.",
        "canvas": [64, 64],
        "camera": {"fov_degrees": 60, "height": 1.0, "pitch_degrees": 10},
        "subjects": [
            {"reference": "thing.png", "box2d": [2, 3, 20, 30]},
            {"reference": "thing.png", "mask": "mask.png", "depth": "depth.png"},
            {
                "reference": "thing.png",
                "box3d": {"size": [0.5, 0.5, 1.0], "position": [-0.6, 4, 0], "yaw_degrees": 30},
            },
            {
                "reference": "thing.png",
                "mesh": {"file": "block.glb", "position": [0.5, 5, 0], "height": 1.0},
            },
        ],
    }


@pytest.fixture
def write(tmp_path):
    def run(scene):
        path = tmp_path / "scene.yaml"
        path.write_text(yaml.safe_dump(scene))
        return path

    return run


def test_every_kind_of_control_in_one_picture(scene, write, model, tmp_path, capsys):
    out = tmp_path / "picture.png"
    words = ["sample", str(write(scene)), "--checkpoint", str(model), "--out", str(out)]
    assert main([*words, "--steps", "2", "--cache", str(tmp_path / "cache")]) == 0
    assert Image.open(out).size == (32, 32)
    assert capsys.readouterr().err == ""


def test_controls_lie_where_the_world_says(scene, write, tmp_path):
    read = read_scene(write(scene), tmp_path / "cache")
    box2d, masked, box3d, mesh = read.regions
    assert [region.granularity for region in read.regions] == [
        "box2d",
        "mask_depth",
        "box3d",
        "mask_depth",
    ]
    assert box2d.mask.sum() == 18 * 27
    assert np.unique(masked.depth[masked.mask]) == pytest.approx([1.5])
    # The box stands left of the middle, four metres off, and a block of half a metre deep
    # shows its near side.
    assert np.flatnonzero(box3d.mask.any(axis=0)).max() < 32
    assert 3.4 < box3d.depth[box3d.mask].min() < 4.2
    assert np.flatnonzero(mesh.mask.any(axis=0)).min() > 28
    # One metre high at 5 m under 60 degrees: 64 / (2 * 5 * tan 30) = 11 pixels.
    height = np.ptp(np.flatnonzero(mesh.mask.any(axis=1))) + 1
    assert 9 <= height <= 15


def test_subjects_go_into_a_given_picture(scene, write, model, tmp_path):
    scene["background"] = {"image": "room.png"}
    scene["subjects"] = scene["subjects"][:1]
    out = tmp_path / "picture.png"
    words = ["sample", str(write(scene)), "--checkpoint", str(model), "--out", str(out)]
    assert main([*words, "--steps", "2"]) == 0
    picture = np.array(Image.open(out)).astype(int)
    assert np.abs(picture[:, 16:] - 200).max() <= 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("prompt"), "missing required field `prompt`"),
        (lambda s: s["subjects"][0].pop("box2d"), "subjects[0].control: none, expected one of"),
        (lambda s: s["subjects"][0].update(mask="mask.png"), "box2d and mask, expected one"),
        (lambda s: s["subjects"][0].update(depth="depth.png"), "depth: beside box2d"),
        (lambda s: s["subjects"][0].update(box2d=[1, 2, 3]), "subjects[0].box2d"),
        (lambda s: s["subjects"][0].update(reference="gone.png"), "gone.png"),
        (lambda s: s["subjects"][1].update(mask="thing.png"), "expected the canvas's (64, 64)"),
        (lambda s: s["subjects"][1].update(depth="mask.png"), "expected 16-bit depth"),
        (lambda s: s["subjects"][3]["mesh"].update(file="mask.png"), "expected a model file"),
        (lambda s: s.update(subjects=[]), "subjects: 0, expected 1 to 10"),
        (lambda s: s.update(canvas=[0, 9]), "canvas"),
        (lambda s: s["camera"].update(fov_degrees=0), "camera.fov_degrees"),
    ],
)
def test_a_bad_scene_is_one_line_that_names_the_key(
    change, message, scene, write, model, tmp_path, capsys
):
    change(scene)
    words = ["sample", str(write(scene)), "--checkpoint", str(model)]
    assert main([*words, "--cache", str(tmp_path / "cache")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "scene.yaml" in error
    assert len(error.splitlines()) == 1


def test_what_is_odd_about_controls_is_told(scene, write, model, tmp_path, capsys):
    scene["subjects"][0]["box2d"] = [100, 100, 120, 120]
    out = tmp_path / "picture.png"
    words = ["sample", str(write(scene)), "--checkpoint", str(model), "--out", str(out)]
    assert main([*words, "--steps", "1", "--cache", str(tmp_path / "cache")]) == 0
    assert "warning: " in capsys.readouterr().err


def test_no_model_there(scene, write, tmp_path, capsys):
    assert main(["sample", str(write(scene)), "--checkpoint", str(tmp_path)]) == 2
    assert "neither a run of `sigma train` nor a model" in capsys.readouterr().err
