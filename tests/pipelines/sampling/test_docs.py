"""docs/sampling.md and the scene of the README, as they stand, on an untrained model."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trimesh
import yaml
from PIL import Image

from model.controls.control_image import InputSpec, RoutingEncoding
from model.controls.control_warnings import control_warnings
from model.controls.regions import resize_region
from model.network.transformer import BackboneConfig
from model.sigma_gen import ModelConfig, ScratchConfig, build, save_model
from pipelines.sampling.control_entries import CONTROL_READERS, Entry
from pipelines.sampling.scene_file import SceneEntry, read_scene

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "sampling.md").read_text()
README = (ROOT / "README.md").read_text()

# Size and slots as `tiny` has them.
MODEL = ModelConfig(
    base=ScratchConfig(patch=8, heads=2, double_blocks=1, single_blocks=1, rope=(4, 6, 6)),
    format=InputSpec(64, 16, RoutingEncoding("one_hot", slots=4)),
    prediction="x",
    backbone=BackboneConfig(sheet_positions="per_block", rope_theta=100),
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Everything that the examples name, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("chair", "mug", "radio", "lamp")):
        reference = np.full((30, 30, 4), 40 * i, np.uint8)
        reference[2:-2, 2:-2, 3] = 255
        Image.fromarray(reference).save(f"{name}.png")
    mask = np.zeros((512, 512), np.uint8)
    mask[260:420, 300:460] = 255
    Image.fromarray(mask).save("mug_mask.png")
    Image.fromarray(np.full((512, 512), 1500, np.uint16)).save("mug_depth.png")
    Image.fromarray(np.full((512, 512), 9000, np.uint16)).save("garden_depth.png")
    Image.fromarray(np.full((512, 512), 255, np.uint8)).save("garden_mask.png")
    Image.new("RGB", (512, 512), (60, 120, 40)).save("garden.png")
    trimesh.creation.box((1, 2, 1)).export("lamp.glb")
    return tmp_path


def scene_in(page: str) -> str:
    (example,) = re.findall(r"```yaml\n(# scene\.yaml\n.*?)```", page, re.S)
    return example


@pytest.mark.parametrize(("page", "subjects"), [(PAGE, 4), (README, 2)])
def test_scene_files_of_the_docs_are_read_without_warnings_at_64_pixels(page, subjects, files):
    (files / "scene.yaml").write_text(scene_in(page))
    scene = read_scene(files / "scene.yaml", files / "cache")
    assert len(scene.regions) == subjects
    assert scene.warnings == ()
    assert control_warnings([resize_region(region, (64, 64)) for region in scene.regions]) == ()


def test_scene_file_of_the_docs_has_every_key():
    def keys(part) -> set[str]:
        if isinstance(part, list):
            return set().union(*map(keys, part))
        return (
            set(part) | set().union(*map(keys, part.values())) if isinstance(part, dict) else set()
        )

    entries = [SceneEntry, *Entry.__subclasses__()]
    known = {field.name for entry in entries for field in msgspec.structs.fields(entry)}
    assert keys(yaml.safe_load(scene_in(PAGE))) == known
    for key in CONTROL_READERS:
        assert f"| `{key}` |" in PAGE


@pytest.mark.slow
def test_python_examples_of_the_docs_run(files, capsys):
    save_model(build(MODEL, seed=0), files / "out/train/tiny")
    scope: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(example, scope)
    assert Image.open("picture.png").size == (64, 64)
    steps = [f"step {i}: timestep {1000 - 250 * i}, (1, 64, 192)" for i in range(4)]
    assert capsys.readouterr().out.splitlines() == steps, "and no warning"
    (files / "scene.yaml").write_text(scene_in(PAGE))
    in_yaml = read_scene(files / "scene.yaml", files / "cache").regions
    for name, region in zip(("flat", "shape_with_depth", "solid", "posed"), in_yaml, strict=True):
        assert scope[name].granularity == region.granularity
        assert np.array_equal(scope[name].mask, region.mask)
        assert scope[name].depth == pytest.approx(region.depth)
