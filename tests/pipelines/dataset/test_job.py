"""The job as a whole: what it leaves, and what becomes of it when things go wrong."""

from __future__ import annotations

import fcntl
import io
import json
import random
import signal
import time
from functools import partial

import msgspec
import pytest
import s3fs
import yaml
from moto.server import ThreadedMotoServer
from PIL import Image

from datagen.catalog.catalog import CatalogConfig, open_catalog
from datagen.compose.plan import PlanConfig, make_plan, read_plan
from datagen.shards.reader import open_shards
from datagen.shards.verify import verify
from pipelines.dataset.config import DatasetConfig

# So that a job of six small scenes lasts long enough to be disturbed where a test means to.
ONE_AT_A_TIME = ("--job.workers", "1")


def told(job):
    """The reasons of all setbacks so far."""
    events = (job.out / "events").glob("*.json")
    return [json.loads(path.read_text())["reason"] for path in events]


def actors_with_a_blender(running):
    blenders = set(running.blenders())
    return [p for p in running.named("ray::") if blenders & set(p.children())]


def test_it_ends_with_sound_shards_and_a_picture(finished):
    shards = open_shards(str(finished.out / "shards"))
    plan = read_plan(f"{finished.out}/plan.parquet")
    assert sorted(shards.keys()) == [scene.key for scene in plan]
    assert {s.record.key: s.record.split for s in shards} == {s.key: s.split for s in plan}
    assert verify(str(finished.out / "shards")) == ()
    assert (finished.out / "failures.jsonl").read_bytes() == b""
    picture = finished.out / "contact_sheet.png"
    assert picture.stat().st_size > 10_000
    assert Image.open(io.BytesIO(picture.read_bytes())).width > 300


def test_one_scene_is_made_again_by_what_lies_with_the_shards(finished, job_of, tmp_path):
    shards = open_shards(str(finished.out / "shards"))
    key = shards.keys()[-1]
    again = job_of(finished.out / "shards" / "config.yaml", finished.cache, tmp_path / "again")
    code, text = again.run("--only", key)
    assert code == 0, text
    assert "1 of 1 scenes" in text
    made = open_shards(str(again.out / "shards"))
    assert made.keys() == (key,)
    assert made.members(key) == shards.members(key)
    code, text = again.run("--only", "nosuchscene")
    assert code == 2
    assert text.strip().splitlines()[-1].startswith("error: --only: nosuchscene is no scene")


def test_a_finished_job_only_packs_again(finished):
    scenes, shards = finished.scenes(), finished.shards()
    with finished.start() as running:
        while running.driver.poll() is None:
            assert not running.named("raylet")
            time.sleep(0.1)
        code, text = running.result()
    assert code == 0, text
    assert finished.scenes() == scenes
    assert finished.shards() == shards


@pytest.mark.timeout(1800)
def test_killed_anywhere_it_goes_on_to_the_same_bytes(finished, tiny, tmp_path):
    chance = random.Random(27)
    job = tiny(tmp_path)
    moments = [
        (lambda _: (tmp_path / "plan.parquet").exists(), 4, signal.SIGKILL),
        (lambda _: len(job.scenes()) >= 1, 1, signal.SIGKILL),
        (lambda running: running.named("raylet"), 6, signal.SIGTERM),
        (lambda running: running.named("ray::MapWorker"), 4, signal.SIGINT),
        (lambda _: (tmp_path / "shards").exists(), 0.3, signal.SIGKILL),
    ]
    for reached, delay, blow in moments:
        before = job.scenes()
        with job.start(*ONE_AT_A_TIME) as running:
            running.wait_for(partial(reached, running))
            end = time.monotonic() + chance.uniform(0, delay)
            while time.monotonic() < end:
                running.look()
                time.sleep(0.02)
            running.driver.send_signal(blow)
            if blow != signal.SIGKILL:  # what `timeout` does: to the program, and to its group
                running.driver.send_signal(blow)
            code, text = running.result()
        if blow == signal.SIGKILL:
            assert code == -signal.SIGKILL
        else:
            assert code == 130, text
            assert "run the same command to go on" in text
            assert "Traceback" not in text
        assert before.items() <= job.scenes().items()
    code, text = job.run()
    assert code == 0, text
    assert job.shards() == finished.shards()


@pytest.mark.timeout(1200)
def test_frozen_crashed_and_lost_workers_cost_a_retry_and_nothing_else(finished, tiny, tmp_path):
    """Frozen first: a Blender that has delivered a scene is past its start-up, which may last
    longer than a scene may."""
    job = tiny(tmp_path)
    with job.start("--job.worker.timeout", "20", *ONE_AT_A_TIME) as running:
        running.wait_for(lambda: len(job.scenes()) == 1)
        frozen = running.blenders()[0]
        frozen.suspend()
        running.wait_for(lambda: told(job) == ["timed out"])
        running.wait_for(lambda: set(running.blenders()) - {frozen}).pop().kill()
        running.wait_for(lambda: len(told(job)) == 2)
        lost = running.wait_for(lambda: actors_with_a_blender(running))
        for actor in lost:
            actor.kill()
        code, text = running.result()
    assert code == 0, text
    assert set(told(job)) <= {"timed out", "worker crashed", "worker did not start"}
    assert len(lost) == 1
    assert job.shards() == finished.shards()


@pytest.mark.timeout(1200)
def test_scenes_of_a_deadly_asset_are_given_up_and_the_rest_is_made(finished, tiny, tmp_path):
    """Whenever a scene with that asset is before Blender, Blender is killed."""
    plan = read_plan(f"{finished.out}/plan.parquet")
    deadly = next(scene for scene in plan if scene.split == "train").identities[0].asset.id
    doomed = {s.key for s in plan if any(i.asset.id == deadly for i in s.identities)}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    job = tiny(tmp_path / "out")
    with job.start(
        *ONE_AT_A_TIME, "--job.max_attempts", "2", TMPDIR=str(scratch), RAY_TMPDIR="/tmp"
    ) as running:
        while running.driver.poll() is None:
            if any(list(scratch.glob(f"sigma-environment-*/{key}.glb")) for key in doomed):
                for blender in running.blenders():
                    blender.kill()
            time.sleep(0.02)
        code, text = running.result()
    assert code == 0, text
    assert "given up" in text
    given_up = [json.loads(line) for line in (job.out / "failures.jsonl").open()]
    assert {told["key"] for told in given_up} == doomed
    assert {told["attempts"] for told in given_up} == {2}
    assert {told["stage"] for told in given_up} == {"render"}
    assert {told["reason"] for told in given_up} <= {"worker crashed", "worker did not start"}
    assert set(job.scenes()) == {scene.key for scene in plan} - doomed
    assert verify(str(job.out / "shards")) == ()


def test_when_most_scenes_fail_it_stops_and_says_where_to_look(tmp_path, job_of):
    catalog_config = CatalogConfig("procedural", assets=60)
    plan_config = PlanConfig(seed=5, train=20, val=2, test=2, min_subjects=1, max_subjects=2)
    catalog = open_catalog(catalog_config, tmp_path / "cache")
    for scene in make_plan(plan_config, catalog.assets(), 0.5):
        for identity in scene.identities:
            catalog.mesh(identity).write_bytes(b"no longer a model")
    preset = tmp_path / "broken.yaml"
    config = DatasetConfig("broken", catalog_config, plan_config)
    preset.write_text(yaml.safe_dump(msgspec.to_builtins(config)))
    job = job_of(preset, tmp_path / "cache", tmp_path / "out")
    code, text = job.run()
    assert code == 2
    assert "scenes failed" in text
    assert "compose" in text
    assert "sigma status" in text
    assert len(told(job)) < 3 * 24


def test_what_no_scene_can_go_on_without_ends_the_job_at_once(tiny, tmp_path):
    nothing = str(tmp_path / "empty")
    code, text = tiny(tmp_path / "out").run(UV_CACHE_DIR=nothing, UV_OFFLINE="1")
    assert code == 2
    # Ray may still write a line about the actors that end with the job.
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: Blender's environment cannot be made: ")
    assert not (tmp_path / "out" / "events").exists()


def test_where_ray_cannot_start_that_is_said_in_a_line(finished, tiny, tmp_path):
    sockets = tmp_path / ("a" * 100)
    code, text = tiny(tmp_path / "out").run(RAY_TMPDIR=str(sockets))
    assert code == 2
    assert text.splitlines()[-1].startswith("error: Ray does not start: ")
    assert "Traceback" not in text


def test_another_configuration_is_refused_by_its_keys(finished):
    code, text = finished.run("--render.samples", "9", "--plan.seed", "6", "--job.workers", "1")
    assert code == 2
    assert "plan.seed 5 -> 6" in text
    assert "render.samples 4 -> 9" in text
    assert "job" not in text
    assert len(text.splitlines()) == 1


def test_two_jobs_do_not_share_an_output(finished):
    with (finished.out / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, text = finished.run()
    assert code == 2
    assert "another job is at work" in text


@pytest.mark.timeout(1200)
def test_an_output_on_s3_gets_the_same_shards(finished, job_of, monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("NO_PROXY", host)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    fs.mkdir("sigma-jobs")
    root, state = "sigma-jobs/tiny", ("config.yaml", "plan.parquet")
    with job_of(finished.preset, finished.cache, f"s3://{root}").start(*ONE_AT_A_TIME) as running:
        running.wait_for(lambda: fs.glob(f"{root}/scenes/*.tar"))
        fs.rm([f"{root}/{name}" for name in state])
        code, text = running.result()
    assert code == 0, text
    assert "config.yaml and plan.parquet were lost while the job ran; written again" in text
    assert all(fs.exists(f"{root}/{name}") for name in state)
    there = {path.rpartition("/")[2]: fs.cat_file(path) for path in fs.ls("sigma-jobs/tiny/shards")}
    server.stop()
    assert there == finished.shards()
