"""The supervised Blender worker: its renderings, and its replacement after failures."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial

from datagen.render.renderer import RenderConfig, Renderer, RenderFailed, WorkerConfig
from datagen.render.rendering import Rendering
from tests.datagen.conftest import Y_UP

pytestmark = pytest.mark.external
TINY = RenderConfig(samples=1, view_samples=1, identity_size=32)


@pytest.fixture
def own_renderer(stage) -> Iterator[Renderer]:
    """A renderer with an idle worker, which the test may kill."""
    renderer = Renderer(TINY, WorkerConfig(timeout=60))
    renderer.render(stage.spec, stage.models, stage.environment_mesh)
    yield renderer
    renderer.close()


def test_image_and_instances_show_the_subjects(rendered: Rendering) -> None:
    assert rendered.image.shape == (120, 160, 3)
    assert set(np.unique(rendered.instances)) == {0, 1, 2}
    red, blue = (rendered.image[rendered.instances == i].mean(axis=0) for i in (1, 2))
    assert red[0] > 2 * red[2]
    assert blue[2] > 2 * blue[0]


def test_depth_is_in_metres_and_0_in_the_sky(rendered: Rendering, stage) -> None:
    nearest = rendered.depth[rendered.instances == 1].min()
    assert 2.0 < nearest < 2.6
    assert (rendered.depth[:2] == 0).any()


def test_identity_views_show_one_subject_on_transparency(rendered: Rendering) -> None:
    assert rendered.views.shape == (2, 2, 64, 64, 4)
    alpha = rendered.views[..., 3]
    assert (alpha[:, :, 0] == 0).all()
    assert (alpha[:, :, 32, 32] == 255).all()
    box_front, box_side = alpha[0, 0] > 127, alpha[0, 1] > 127
    width = [np.flatnonzero(view.any(axis=0)).size for view in (box_front, box_side)]
    assert width[1] > 1.2 * width[0], "the box is deeper than wide: its side is the broader view"


def test_pixels_do_not_depend_on_earlier_scenes(
    renderer: Renderer, rendered: Rendering, stage
) -> None:
    again = Rendering.from_npz(renderer.render(stage.spec, stage.models, stage.environment_mesh))
    with_other_size = replace(
        stage.spec, camera=replace(stage.spec.camera, width=80), subjects=stage.spec.subjects[:1]
    )
    renderer.render(with_other_size, stage.models[:1], stage.environment_mesh)
    third = Rendering.from_npz(renderer.render(stage.spec, stage.models, stage.environment_mesh))
    for name, expected in vars(rendered).items():
        np.testing.assert_array_equal(getattr(again, name), expected, err_msg=name)
        np.testing.assert_array_equal(getattr(third, name), expected, err_msg=name)


@pytest.mark.parametrize(
    ("name", "pixel"),
    [
        ("normalTexture", (230, 128, 204)),  # leans along the texture's u
        ("metallicRoughnessTexture", (0, 20, 255)),  # polished metal
        ("emissiveTexture", (0, 255, 0)),
    ],
)
def test_maps_of_a_model_are_rendered(
    name: str, pixel: tuple[int, int, int], renderer: Renderer, stage, tmp_path: Path
) -> None:
    """A map of one value over the whole ball changes the ball, and the box less."""

    def picture(**maps: Image.Image) -> Rendering:
        ball = trimesh.creation.icosphere(4, 0.3)
        around = np.arctan2(ball.vertices[:, 1], ball.vertices[:, 0]) / np.pi
        material = PBRMaterial(
            baseColorTexture=Image.new("RGB", (4, 4), (90, 90, 90)),
            roughnessFactor=1.0,
            metallicFactor=1.0 if "metallicRoughnessTexture" in maps else 0.0,
            emissiveFactor=[1, 1, 1] if "emissiveTexture" in maps else None,
            **maps,
        )
        uv = np.column_stack([around, ball.vertices[:, 2]])
        ball.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
        ball.apply_translation((0, 0, 0.3))
        ball.apply_transform(Y_UP)
        path = tmp_path / "ball.glb"
        trimesh.Scene(ball).export(path)
        models = (stage.models[0], path)
        return Rendering.from_npz(renderer.render(stage.spec, models, stage.environment_mesh))

    plain, mapped = picture(), picture(**{name: Image.new("RGB", (4, 4), pixel)})
    np.testing.assert_array_equal(mapped.instances, plain.instances)
    change = np.abs(mapped.image.astype(int) - plain.image).mean(axis=2)
    on_ball, on_box = (change[plain.instances == i].mean() for i in (2, 1))
    assert on_ball > 10
    assert on_ball > 2 * on_box  # which has another exposure, and the light of the ball


def test_rendering_from_npz_refuses_pickles(rendered: Rendering) -> None:
    pickled = io.BytesIO()
    np.savez(pickled, **vars(rendered) | {"image": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        Rendering.from_npz(pickled.getvalue())


def test_a_broken_model_fails_only_its_scene(own_renderer: Renderer, stage, tmp_path: Path) -> None:
    broken = tmp_path / "broken.glb"
    broken.write_bytes(b"glTF, but not really")
    before = own_renderer.pid
    with pytest.raises(RenderFailed) as failure:
        own_renderer.render(stage.spec, (broken, stage.models[1]), stage.environment_mesh)
    assert failure.value.reason == "worker error"
    assert failure.value.log_tail
    own_renderer.render(stage.spec, stage.models, stage.environment_mesh)
    assert own_renderer.pid == before, "an error that Blender survives needs no new worker"


def test_a_worker_killed_while_idle_is_replaced(own_renderer: Renderer, stage) -> None:
    victim = psutil.Process(own_renderer.pid)
    victim.kill()
    victim.wait()
    own_renderer.render(stage.spec, stage.models, stage.environment_mesh)
    assert own_renderer.pid != victim.pid


def test_a_worker_killed_while_rendering_fails_one_scene(stage) -> None:
    renderer = Renderer(replace(TINY, samples=4096), WorkerConfig())
    renderer.start()
    victim = psutil.Process(renderer.pid)
    threading.Timer(1.5, victim.kill).start()
    with pytest.raises(RenderFailed) as failure:
        renderer.render(stage.spec, stage.models, stage.environment_mesh)
    assert failure.value.reason == "worker crashed"
    renderer.start()
    assert renderer.pid not in (None, victim.pid)
    renderer.close()


def test_a_hanging_worker_times_out_and_is_replaced(stage) -> None:
    renderer = Renderer(TINY, WorkerConfig(timeout=6))
    renderer.start()
    victim = psutil.Process(renderer.pid)
    victim.suspend()
    begin = time.monotonic()
    with pytest.raises(RenderFailed) as failure:
        renderer.render(stage.spec, stage.models, stage.environment_mesh)
    assert failure.value.reason == "timed out"
    assert time.monotonic() - begin < 20
    assert not victim.is_running()
    renderer.start()
    assert renderer.pid not in (None, victim.pid)
    renderer.close()


def test_worker_is_replaced_after_recycle_after_scenes(stage) -> None:
    renderer = Renderer(TINY, WorkerConfig(recycle_after=1))
    renderer.render(stage.spec, stage.models, stage.environment_mesh)
    first = renderer.pid
    renderer.render(stage.spec, stage.models, stage.environment_mesh)
    second = renderer.pid
    renderer.close()
    assert first != second
    assert not psutil.pid_exists(second)


def test_worker_ends_with_its_supervisor() -> None:
    script = (
        "import time\n"
        "from datagen.render.renderer import *\n"
        "renderer = Renderer(RenderConfig(), WorkerConfig())\n"
        "renderer.start()\n"
        "print(renderer.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as supervisor:
        worker = psutil.Process(int(supervisor.stdout.readline()))
        supervisor.kill()
    worker.wait(timeout=20)
