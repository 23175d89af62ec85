"""The supervised Blender worker: what it renders, and what becomes of it when it dies."""

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

from datagen.render.renderer import RenderConfig, Renderer, RenderFailed, WorkerConfig
from datagen.render.rendering import Rendering

TINY = RenderConfig(samples=1, view_samples=1, identity_size=32)


@pytest.fixture
def own(stage) -> Iterator[Renderer]:
    """A worker to be killed, up and idle."""
    renderer = Renderer(TINY, WorkerConfig(timeout=60))
    renderer.render(stage.spec, stage.models, stage.environment_mesh)
    yield renderer
    renderer.close()


def test_renders_what_was_planned(rendered: Rendering) -> None:
    assert rendered.image.shape == (120, 160, 3)
    assert set(np.unique(rendered.instances)) == {0, 1, 2}
    red, blue = (rendered.image[rendered.instances == i].mean(axis=0) for i in (1, 2))
    assert red[0] > 2 * red[2]
    assert blue[2] > 2 * blue[0]


def test_depth_is_metric_and_absent_in_the_sky(rendered: Rendering, stage) -> None:
    nearest = rendered.depth[rendered.instances == 1].min()
    assert 2.0 < nearest < 2.6
    assert (rendered.depth[:2] == 0).any()


def test_views_show_one_subject_against_transparency(rendered: Rendering) -> None:
    assert rendered.views.shape == (2, 2, 64, 64, 4)
    alpha = rendered.views[..., 3]
    assert (alpha[:, :, 0] == 0).all()
    assert (alpha[:, :, 32, 32] == 255).all()
    box_front, box_side = alpha[0, 0] > 127, alpha[0, 1] > 127
    width = [np.flatnonzero(view.any(axis=0)).size for view in (box_front, box_side)]
    assert width[1] > 1.2 * width[0], "the box is deeper than wide: its side is the broader view"


def test_same_pixels_whatever_came_before(renderer: Renderer, rendered: Rendering, stage) -> None:
    again = Rendering.from_npz(renderer.render(stage.spec, stage.models, stage.environment_mesh))
    with_other_size = replace(
        stage.spec, camera=replace(stage.spec.camera, width=80), subjects=stage.spec.subjects[:1]
    )
    renderer.render(with_other_size, stage.models[:1], stage.environment_mesh)
    third = Rendering.from_npz(renderer.render(stage.spec, stage.models, stage.environment_mesh))
    for name, expected in vars(rendered).items():
        np.testing.assert_array_equal(getattr(again, name), expected, err_msg=name)
        np.testing.assert_array_equal(getattr(third, name), expected, err_msg=name)


def test_nothing_in_a_rendering_is_unpickled(rendered: Rendering) -> None:
    pickled = io.BytesIO()
    np.savez(pickled, **vars(rendered) | {"image": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        Rendering.from_npz(pickled.getvalue())


def test_a_broken_model_costs_its_scene_alone(own: Renderer, stage, tmp_path: Path) -> None:
    broken = tmp_path / "broken.glb"
    broken.write_bytes(b"glTF, but not really")
    before = own.pid
    with pytest.raises(RenderFailed) as failure:
        own.render(stage.spec, (broken, stage.models[1]), stage.environment_mesh)
    assert failure.value.reason == "worker error"
    assert failure.value.log_tail
    own.render(stage.spec, stage.models, stage.environment_mesh)
    assert own.pid == before, "an error that Blender survives needs no new worker"


def test_a_worker_killed_while_idle_is_replaced_unnoticed(own: Renderer, stage) -> None:
    victim = psutil.Process(own.pid)
    victim.kill()
    victim.wait()
    own.render(stage.spec, stage.models, stage.environment_mesh)
    assert own.pid != victim.pid


def test_a_worker_killed_at_work_costs_one_failure(stage) -> None:
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


def test_a_stopped_worker_is_timed_out_and_replaced(stage) -> None:
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


def test_recycled_after_so_many_scenes(stage) -> None:
    renderer = Renderer(TINY, WorkerConfig(recycle_after=1))
    renderer.render(stage.spec, stage.models, stage.environment_mesh)
    first = renderer.pid
    renderer.render(stage.spec, stage.models, stage.environment_mesh)
    second = renderer.pid
    renderer.close()
    assert first != second
    assert not psutil.pid_exists(second)


def test_no_worker_outlives_its_supervisor() -> None:
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
