"""`sigma sample`, from a scene file to a picture, with an untrained model of the real kind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import yaml
from PIL import Image

from datagen.errors import UserError
from datagen.geometry import resize_nearest
from model.controls.control_image import InputSpec, RoutingEncoding, control_image
from model.controls.identity_sheet import identity_sheet
from model.network.lora import LoraConfig
from model.network.transformer import BackboneConfig
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import (
    CONFIG_FILE,
    ModelConfig,
    ScratchConfig,
    SigmaGen,
    TrainingMetadata,
    build,
    save_model,
)
from pipelines.cli.main import main
from pipelines.sampling.scene_file import read_scene
from tests.model.kontext import save_kontext

MODEL = ModelConfig(
    base=ScratchConfig(patch=4, heads=2, double_blocks=1, single_blocks=1, rope=(4, 6, 6)),
    format=InputSpec(32, 16, RoutingEncoding("one_hot", slots=4)),
    prediction="x",
    backbone=BackboneConfig(sheet_positions="per_block", rope_theta=100),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(painter(), folder)
    return folder


def painter(**told) -> SigmaGen:
    """Of random weights: a fresh model's last ones are 0, and it paints the same whatever it is
    told."""
    sigma = build(MODEL, seed=0)
    with torch.no_grad():
        torch.nn.init.normal_(sigma.backbone.transformer.proj_out.weight, std=0.3)
    return replace(sigma, **told)


@pytest.fixture
def scene(tmp_path):
    """A scene of four subjects, one of each kind of control, and its files."""
    reference = np.full((20, 20, 4), 90, np.uint8)
    reference[1:-1, 1:-1, 3] = 255
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


def test_sample_with_every_kind_of_control(scene, write, model, tmp_path, capsys):
    out = tmp_path / "picture.png"
    words = ["sample", str(write(scene)), "--checkpoint", str(model), "--out", str(out)]
    assert main([*words, "--steps", "2", "--cache", str(tmp_path / "cache")]) == 0
    assert Image.open(out).size == (32, 32)
    assert capsys.readouterr().err == ""


def test_read_scene_places_controls_as_in_the_world(scene, write, tmp_path):
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


def test_sample_inserts_subjects_into_a_background(scene, write, model, tmp_path):
    scene["background"] = {"image": "room.png"}
    scene["subjects"] = scene["subjects"][:1]
    out = tmp_path / "picture.png"
    words = ["sample", str(write(scene)), "--checkpoint", str(model), "--out", str(out)]
    assert main([*words, "--steps", "2"]) == 0
    picture = np.array(Image.open(out))
    box = np.zeros((32, 32), bool)
    box[1:15, 1:10] = True  # [2, 3, 20, 30] of 64 pixels, at half the size
    assert (picture[~box] == 200).all()
    assert not (picture[box] == 200).all()


def test_background_depth_reaches_the_model_as_structure(scene, write, model, tmp_path):
    """In metres: nearer than the subject at 1.5 above, farther below."""
    behind = np.linspace(1000, 9000, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(behind).save(tmp_path / "behind.png")
    out = tmp_path / "picture.png"
    path = write(scene | {"background_depth": "behind.png"})
    words = ["sample", str(path), "--checkpoint", str(model), "--out", str(out)]
    assert main([*words, "--steps", "2", "--cache", str(tmp_path / "cache")]) == 0
    read = read_scene(path, tmp_path / "cache")
    pipeline = SigmaGenPipeline.from_pretrained(model)

    def painted(depth: np.ndarray | None) -> np.ndarray:
        control = control_image(read.regions, MODEL.format.encoding, depth)
        sheet = identity_sheet(read.references, MODEL.format.identity_size)
        told = (
            torch.from_numpy(x).permute(2, 0, 1)[None]
            for x in (sheet, resize_nearest(control, (32, 32)))
        )
        seed = torch.Generator().manual_seed(0)
        return pipeline.sample([scene["prompt"]], *told, num_inference_steps=2, generator=seed)[0]

    picture = np.array(Image.open(out))
    assert np.array_equal(picture, painted(behind / np.float32(1000)))
    assert not np.array_equal(picture, painted(None))


@pytest.mark.parametrize(
    ("dropout", "guidance", "warned"),
    [(0.0, "3", True), (0.0, "1", False), (0.1, "3", False), (None, "3", False)],
)
def test_warning_of_image_guidance_without_image_dropout(
    dropout, guidance, warned, scene, write, tmp_path, capsys
):
    save_model(painter(training_metadata=TrainingMetadata(dropout)), tmp_path / "first")
    # What was loaded and saved again still knows.
    SigmaGenPipeline.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "model")
    scene["subjects"] = scene["subjects"][:1]
    words = ["sample", str(write(scene)), "--checkpoint", str(tmp_path / "model"), "--steps", "1"]
    words += ["--image_guidance", guidance, "--out", str(tmp_path / "picture.png")]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert ("image guidance of 3: the model was trained without train.image" in told) == warned
    assert len(told.splitlines()) == warned


def test_model_without_training_metadata_is_accepted(scene, write, tmp_path, capsys):
    save_model(painter(), tmp_path / "model")
    config = tmp_path / "model" / CONFIG_FILE
    keys = json.loads(config.read_text())
    del keys["image_dropout"]
    config.write_text(json.dumps(keys))
    scene["subjects"] = scene["subjects"][:1]
    words = ["sample", str(write(scene)), "--checkpoint", str(tmp_path / "model"), "--steps", "1"]
    words += ["--image_guidance", "3", "--out", str(tmp_path / "picture.png")]
    assert main(words) == 0
    assert capsys.readouterr().err == ""


def test_picture_files_are_rotated_by_exif(scene, write, tmp_path):
    held = np.zeros((64, 64, 3), np.uint8)
    held[:, :32] = 255  # on its side: what is left here is up when it is turned
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by a quarter, clockwise
    Image.fromarray(held).save(tmp_path / "held.png", exif=exif)
    scene["background"] = {"image": "held.png"}
    background = read_scene(write(scene), tmp_path / "cache").background
    assert (background[:32] == 255).all()
    assert (background[32:] == 0).all()


@pytest.mark.parametrize("key", ["prompt: again", "? [a]\n: b\nprompt: again"])
def test_duplicate_keys_are_refused(scene, write, tmp_path, key):
    path = write(scene)
    path.write_text(f"{path.read_text()}{key}\n")
    with pytest.raises(UserError, match=r"scene.yaml: line \d+: prompt is given twice"):
        read_scene(path, tmp_path / "cache")


def test_reference_that_is_not_square_is_padded_on_both_sides(scene, write, tmp_path):
    tall = np.full((31, 10, 4), 255, np.uint8)
    tall[0, 0] = 0
    Image.fromarray(tall).save(tmp_path / "thing.png")
    read = read_scene(write(scene), tmp_path / "cache")
    (padded, *_) = read.references
    assert padded.shape == (31, 31, 4)
    assert np.array_equal(padded[:, 10:20], tall)
    assert not padded[:, :10].any()
    assert not padded[:, 20:].any()
    assert read.warnings == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.update(background_dept="depth.png"),
            "yaml: background_dept: unknown key, expected one of",
        ),
        (
            lambda s: s["camera"].update(fov=3),
            "camera.fov: unknown key, expected one of fov_degrees",
        ),
        (
            lambda s: s["subjects"][2]["box3d"].update(yaw=30),
            "subjects[2].box3d.yaw: unknown key, expected one of size, position, yaw_degrees",
        ),
        (lambda s: s["subjects"][3].update(msk="a"), "subjects[3].msk: unknown key"),
        (lambda s: s["subjects"][3]["mesh"].update(size=1), "subjects[3].mesh.size: unknown key"),
        (lambda s: s.update(background={"picture": 1}), "background.picture: unknown key"),
        (
            lambda s: s["subjects"][0].pop("reference"),
            "subjects[0].reference: missing, expected text",
        ),
        (lambda s: s["subjects"][0].pop("box2d"), "subjects[0].control: none, expected one of"),
        (lambda s: s["subjects"][0].update(mask="mask.png"), "box2d and mask, expected one"),
        (lambda s: s["subjects"][0].update(depth="depth.png"), "depth: beside box2d"),
        (lambda s: s["subjects"][0].update(box2d=[1, 2, 3]), "subjects[0].box2d"),
        (lambda s: s["subjects"][0].update(box2d=[9, 9, 1, 1]), "subjects[0].box2d: [9.0, 9.0"),
        (
            lambda s: s["subjects"][0].update(reference="gone.png"),
            "subjects[0].reference: gone.png: no such file",
        ),
        (lambda s: s["subjects"][0].update(reference="."), "reference: .: Is a directory"),
        (
            lambda s: s["subjects"][0].update(reference="block.glb"),
            "reference: block.glb: not readable, expected a picture",
        ),
        (lambda s: s["subjects"][1].update(reference="cut.png"), "cut.png: not readable"),
        (
            lambda s: s["subjects"][1].update(reference="clear.png"),
            "subjects[1].reference: clear.png: transparent throughout",
        ),
        (
            lambda s: s["subjects"][1].update(mask="thing.png"),
            "subjects[1].mask: thing.png: (20, 20), expected the canvas's (64, 64)",
        ),
        (
            lambda s: s["subjects"][1].update(depth="mask.png"),
            "subjects[1].depth: mask.png: mode L, expected 16-bit depth",
        ),
        (lambda s: s["subjects"][3]["mesh"].update(file="mask.png"), "expected a model file"),
        (
            lambda s: s["subjects"][3]["mesh"].update(file="gone.glb"),
            "subjects[3].mesh.file: {folder}/gone.glb: no such file",
        ),
        (lambda s: s["subjects"][3]["mesh"].update(height=-1.0), "subjects[3].mesh.height"),
        (lambda s: s["subjects"][2]["box3d"].update(size=[1, 0, 1]), "subjects[2].box3d.size[1]"),
        (lambda s: s["subjects"][2]["box3d"].update(yaw_degrees=float("nan")), "yaw_degrees"),
        (
            lambda s: s.update(background={"image": "thing.png"}),
            "background.image: thing.png: (20, 20), expected the canvas's",
        ),
        (
            lambda s: s.update(background={"image": "room.png", "mask": "gone.png"}),
            "background.mask: gone.png: no such file",
        ),
        (
            lambda s: s.update(background={"image": "room.png", "mask": "black.png"}),
            "background.mask: black.png: no white in it",
        ),
        (lambda s: s.update(background_depth="mask.png"), "background_depth: mask.png: mode L"),
        (lambda s: s.update(subjects=[]), "subjects: [], expected 1 to 10 values"),
        (lambda s: s.pop("prompt"), "scene.yaml: prompt: missing, expected text"),
        (
            lambda s: s.update(background="room.png"),
            "background: 'room.png', expected the keys image, mask or null",
        ),
        (
            lambda s: s["subjects"][3]["mesh"].update(file="a" * 300),
            "subjects[3].mesh.file: {folder}/" + "a" * 300 + ": no such file",
        ),
        (
            lambda s: s.update(
                subjects=[
                    {"reference": "thing.png", "box2d": [x, 0, x + 9, 9]} for x in range(0, 50, 10)
                ]
            ),
            "scene.yaml: subjects: 5, expected at most 4",
        ),
        (lambda s: s.update(canvas=[0, 9]), "canvas"),
        (lambda s: s.update(canvas=[64, 48]), "canvas: [64, 48], expected as wide as high"),
        (lambda s: s["camera"].update(fov_degrees=0), "camera.fov_degrees"),
        (lambda s: s["camera"].update(pitch_degrees=90), "camera.pitch_degrees"),
    ],
)
def test_invalid_scene_file_gives_one_line_that_names_the_key(
    change, message, scene, write, model, tmp_path, capsys
):
    Image.new("RGBA", (20, 20), (255, 0, 0, 90)).save(tmp_path / "clear.png")
    Image.new("L", (64, 64)).save(tmp_path / "black.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "thing.png").read_bytes()[:60])
    change(scene)
    words = ["sample", str(write(scene)), "--checkpoint", str(model)]
    assert main([*words, "--cache", str(tmp_path / "cache")]) == 2
    error = capsys.readouterr().err
    assert message.format(folder=tmp_path) in error
    assert "scene.yaml" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("text", ["[1, 2", "- a", "", "x: 2024-13-45", "[" * 5000, "a: \x00"])
def test_file_that_is_no_scene_gives_one_line(text, model, tmp_path, capsys):
    path = tmp_path / "scene.yaml"
    path.write_text(text)
    assert main(["sample", str(path), "--checkpoint", str(model)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: ")
    assert len(error.splitlines()) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(20000, 20000), (10000, 10000), (9000, 100)])
def test_oversized_picture_is_refused_before_it_is_decoded(
    size, scene, write, tmp_path, monkeypatch
):
    """Pillow warns of the second only, and of the third not at all."""
    Image.new("1", size).save(tmp_path / "bomb.png")
    scene["subjects"][0]["reference"] = "bomb.png"
    monkeypatch.setattr(Image.Image, "load", None)
    expected = r"subjects\[0\].reference: bomb.png: .* at most 8192 pixels a side"
    with pytest.raises(UserError, match=expected):
        read_scene(write(scene), tmp_path / "cache")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "steps"),
        (["--steps", "-3"], "steps"),
        (["--seed", "-1"], "seed"),
        (["--seed", str(2**63)], "seed"),
        (["--image_guidance", "-5"], "image_guidance"),
        (["--image_guidance", "inf"], "image_guidance"),
        (["--guidance", "nan"], "guidance"),
        (["--device", "bogus"], "device: 'bogus' is not available"),
        (["--device", "cuda:99"], "device: 'cuda:99' is not available"),
        (["--base", "folder"], "was trained from scratch: leave it out"),
    ],
)
def test_invalid_option_gives_one_line_that_names_it(words, message, scene, write, model, capsys):
    scene["subjects"] = scene["subjects"][:1]
    assert main(["sample", str(write(scene)), "--checkpoint", str(model), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("out", ["x.xyz", "noext", ".", "gone/x.png", "folder.png", ".png"])
def test_invalid_out_is_refused_before_anything_is_read(out, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    assert main(["sample", "no_scene.yaml", "--checkpoint", "no_model", "--out", out]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --out: {out}")
    assert len(error.splitlines()) == 1


def test_warnings_are_for_controls_at_the_size_of_the_model(scene, write, model, tmp_path, capsys):
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.jpg")
    allowed = np.zeros((64, 64), np.uint8)
    allowed[:, 32:] = 255
    Image.fromarray(allowed).save(tmp_path / "allowed.png")
    scene["subjects"] = [
        {"reference": "photo.jpg", "box2d": [50, 50, 60, 60]},
        {"reference": "thing.png", "box2d": [2, 2, 3, 9]},  # between two pixels of 32
        {"reference": "thing.png", "box2d": [2, 2, 20, 20]},
    ]
    scene["background"] = {"image": "room.png", "mask": "allowed.png"}
    path, out = write(scene), tmp_path / "picture.png"
    words = ["sample", str(path), "--checkpoint", str(model), "--out", str(out)]
    assert main([*words, "--steps", "1"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.removeprefix(f"warning: {path}: ").split(",")[0] for line in told] == [
        "subjects[0].reference: photo.jpg: opaque throughout",
        "subject 2: out of frame or too small",
        "subject 3: outside of where the background may be painted on",
    ]


def test_background_without_a_paintable_pixel_is_refused(scene, write, model, capsys):
    scene["subjects"] = [{"reference": "thing.png", "box2d": [2, 2, 3, 9]}]
    scene["background"] = {"image": "room.png"}
    assert main(["sample", str(write(scene)), "--checkpoint", str(model)]) == 2
    assert "background: nothing to paint on" in capsys.readouterr().err


def test_base_option_names_a_moved_pretrained_model(scene, write, tmp_path, capsys):
    base = save_kontext(tmp_path / "hub" / "FLUX.1-Kontext-dev")
    lora = ModelConfig(str(base), InputSpec(32, 16), lora=LoraConfig(rank=2, alpha=4))
    save_model(build(lora, seed=0), tmp_path / "lora")
    scene["subjects"] = scene["subjects"][:1]
    out = tmp_path / "picture.png"
    words = ["sample", str(write(scene)), "--checkpoint", str(tmp_path / "lora"), "--out", str(out)]
    words += ["--steps", "1"]
    assert main(words) == 0
    before = out.read_bytes()
    out.unlink()
    moved = base.rename(tmp_path / "kontext")
    capsys.readouterr()  # bars of what was loaded
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"model.base: '{base}' holds no model_index.json" in line
    assert line.endswith(": --base FOLDER")
    assert main([*words, "--base", str(moved)]) == 0
    assert out.read_bytes() == before


def test_missing_checkpoint_is_refused(scene, write, tmp_path, capsys):
    assert main(["sample", str(write(scene)), "--checkpoint", str(tmp_path)]) == 2
    assert "neither a run of `sigma train` nor a saved model" in capsys.readouterr().err
