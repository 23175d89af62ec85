"""`sigma train` as a user runs it: real Ray, real processes, real shards; a model too small to
learn anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.pipeline import SigmaGenPipeline
from model.training.checkpoint import checkpoints
from pipelines.cli.main import main
from tests.model.kontext import save_kontext
from tests.model.sets import overwrite

PRESET: dict[str, Any] = {
    "name": "wee",
    "dataset": "mini",
    "model": {
        "base": {
            "patch": 8,
            "heads": 2,
            "double_blocks": 1,
            "single_blocks": 1,
            "rope": [4, 6, 6],
        },
        "format": {
            "size": 32,
            "identity_size": 16,
            "encoding": {"routing": "one_hot", "slots": 3},
        },
        "prediction": "x",
        "backbone": {"sheet_positions": "per_block", "rope_theta": 100},
    },
    "data": {"batch_size": 2, "workers": 0},
    "augment": {"recompose": 0.2},
    "train": {
        "curriculum": [{"steps": 6, "max_subjects": 2}, {"steps": 6}],
        "optimizer": {"name": "muon", "lr": 1e-3},
        "image_dropout": 0.25,
        "ema": 0.9,
        "precision": "bf16",
    },
    "report": {"scenes": 0},
    "job": {"processes": 2, "validate_every": 4, "sample_every": 6, "save_every": 4},
}


@dataclass(frozen=True)
class Run:
    preset: Path
    shards: Path
    out: Path

    def command(self, *more: str) -> list[str]:
        sigma = str(Path(sys.executable).with_name("sigma"))
        places = [str(self.shards), "--preset", str(self.preset), "--out", str(self.out)]
        return [sigma, "train", *places, "--cache", str(self.preset.parent), *more]

    def start(self, *more: str) -> psutil.Popen:
        return psutil.Popen(
            self.command(*more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finish(self, *more: str) -> tuple[int, str]:
        process = self.start(*more)
        text, _ = process.communicate(timeout=500)
        return process.returncode, text

    def events(self, kind: str) -> list[dict[str, Any]]:
        log = self.out / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def losses(self) -> dict[int, float]:
        return {event["step"]: event["loss"] for event in self.events("validation")}

    def logged(self) -> list[int]:
        """The steps of all events, in the log's order."""
        lines = (self.out / "log.jsonl").read_text().splitlines()
        return [json.loads(line)["step"] for line in lines]

    def plotted(self, tag: str) -> list[int]:
        """The steps that TensorBoard shows of a tag."""
        board = EventAccumulator(str(self.out / "tensorboard"), {"scalars": 0})
        board.Reload()
        return [event.step for event in board.Scalars(tag)]

    def trained_weights(self) -> bytes:
        """The last checkpoint's, averaged or not."""
        folder = checkpoints(self.out)[-1]
        return b"".join((folder / f"{n}.safetensors").read_bytes() for n in ("weights", "ema"))

    def steps(self) -> dict[int, float]:
        """Loss by step, counted from 1."""
        found = {}
        for event in self.events("step"):
            first = event["step"] - len(event["losses"]) + 1
            found |= dict(enumerate(event["losses"], start=first))
        return found


@pytest.fixture(scope="session")
def run_of(finished, tmp_path_factory):
    """Makes the run of an output, with other values for some keys of the preset."""

    def made(out: Path, **changes: Any) -> Run:
        preset = tmp_path_factory.mktemp("preset") / "wee.yaml"
        preset.write_text(yaml.safe_dump(PRESET | changes))
        return Run(preset, finished.out / "shards", out)

    return made


@pytest.fixture(scope="session")
def whole(run_of, tmp_path_factory) -> tuple[Run, str]:
    """A run that nobody disturbed, with a report."""
    run = run_of(tmp_path_factory.mktemp("whole"), report={"scenes": 4, "num_inference_steps": 2})
    code, text = run.finish()
    assert code == 0, text
    return run, text


def test_a_run_ends_with_a_model_a_log_and_a_report(whole):
    run, text = whole
    assert "12 steps" in text
    assert "computing in bf16, as train.precision says" in text
    assert run.events("started")[0]["precision"] == "bf16"
    assert "routing/color" in text
    for row in ("model", "untrained", "truth"):
        assert f"| {row} |" in (run.out / "report.md").read_text()
    assert Image.open(run.out / "report.png").width > 300
    assert [event["step"] for event in run.events("saved")] == [4, 8, 12]
    assert sorted(run.losses()) == [4, 8, 12]
    assert sorted(run.steps()) == list(range(1, 13))
    assert not (run.out / "ray").exists()
    assert list((run.out / "tensorboard").glob("events.*"))
    model = SigmaGenPipeline.from_pretrained(run.out / "model").sigma
    assert model.config.format.size == 32
    assert model.training_metadata.image_dropout == 0.25
    assert len(checkpoints(run.out)) == 2


@pytest.mark.timeout(1200)
def test_an_interrupted_run_saves_and_resumes_with_the_same_losses(whole, run_of, tmp_path):
    """By a signal to all of its processes, as `timeout` sends it. More data workers than before
    change nothing."""
    run = run_of(tmp_path, job=PRESET["job"] | {"save_every": 1000})
    process = run.start()
    wait_for(lambda: run.events("step"), process)
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 130, text
    assert "run the same command" not in text
    assert "--resume latest" in text
    assert "Traceback" not in text
    assert len(checkpoints(run.out)) == 1
    assert run.events("saved")[-1]["step"] not in run.losses()  # which would have taken its time
    code, text = run.finish("--resume", "latest", "--data.workers", "1")
    assert code == 0, text
    assert run.losses()[12] == whole[0].losses()[12]
    assert run.steps() == whole[0].steps()


@pytest.mark.timeout(1200)
def test_a_killed_run_can_be_resumed_at_once(whole, run_of, tmp_path):
    """Though processes of the killed driver may write for a while. Steps after the checkpoint,
    which are taken again, are in the log and in TensorBoard once. Nor does it matter that this run
    is looked at after every step."""
    run = run_of(tmp_path, job=PRESET["job"] | {"validate_every": 1, "sample_every": 1})
    process = run.start()
    wait_for(lambda: run.events("saved") and max(run.losses()) > 4, process)
    process.kill()
    process.wait()  # its pipe stays open for as long as it has orphans
    code, text = run.finish("--resume", "latest")
    assert code == 0, text
    assert run.losses()[12] == whole[0].losses()[12]
    assert run.trained_weights() == whole[0].trained_weights()
    assert [path.name for path in checkpoints(run.out)] == ["step-0000008", "step-0000012"]
    assert run.steps() == whole[0].steps()
    assert run.logged() == sorted(run.logged())
    assert [event["step"] for event in run.events("validation")] == list(range(1, 13))
    assert run.plotted("validation/loss") == list(range(1, 13))


def test_a_run_that_was_killed_before_its_last_validation_makes_up_for_it(whole, tmp_path):
    run = replace(whole[0], out=tmp_path / "run")
    shutil.copytree(whole[0].out, run.out)
    log = run.out / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    last = [line for line in lines if '"validation"' in line][-1]
    log.write_text("".join(line for line in lines if line != last))
    code, text = run.finish("--resume", "latest")
    assert code == 0, text
    assert run.losses() == whole[0].losses()


@pytest.mark.timeout(1200)
def test_after_a_process_died_the_run_continues_from_the_last_checkpoint(whole, run_of, tmp_path):
    """Though its steps after the checkpoint are in the log already."""
    run = run_of(tmp_path, job=PRESET["job"] | {"validate_every": 1})
    process = run.start()
    wait_for(lambda: run.events("saved") and max(run.losses()) > 4, process)
    workers = [p for p in process.children(recursive=True) if "RayTrainWorker" in cmdline(p)]
    assert workers
    for worker in workers:
        worker.kill()
    text, _ = process.communicate(timeout=500)
    assert process.returncode == 0, text
    assert len(run.events("started")) == 2
    assert run.logged() == sorted(run.logged())
    assert sum(len(event["losses"]) for event in run.events("step")) == 12
    assert "a process died: continuing from step" in text
    assert run.losses()[12] == whole[0].losses()[12]
    assert run.steps().items() <= whole[0].steps().items()


def test_resuming_a_finished_run_only_writes_the_report_again(whole):
    run, _ = whole
    before, picture = len(run.events("started")), (run.out / "report.png").read_bytes()
    again = ("--resume", "latest", "--report.seed", "1")
    code, text = run.finish(*again, "--report.baselines.twin", str(run.out))
    assert code == 0, text
    assert len(run.events("started")) == before
    assert (run.out / "report.png").read_bytes() != picture
    assert means_of("twin", text)
    assert means_of("twin", text) == means_of("model", text)


def means_of(row: str, text: str) -> list[list[str]]:
    """Of each table of a report."""
    lines = re.findall(rf"^\| {row} \|(.*)$", text, re.MULTILINE)
    return [re.findall(r"(\d\.\d\d) \[", line) for line in lines]


def refused(run: Run, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The one line that it says."""
    assert main(run.command(*more)[1:]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, said
    return said[0]


def test_a_run_is_not_started_twice(whole, capsys):
    assert "holds a run of 12 steps; continue it with --resume latest" in refused(whole[0], capsys)


def test_a_run_is_not_resumed_with_another_configuration(whole, capsys):
    message = refused(whole[0], capsys, "--resume", "latest", "--train.seed", "3")
    assert "train.seed 0 -> 3" in message


def test_a_changed_set_is_refused_without_allow_changed_data(whole, capsys, monkeypatch, tmp_path):
    state = next(checkpoints(whole[0].out)[-1].glob("state.json"))
    kept = state.read_bytes()
    changed = json.loads(kept) | {"data": "another"}
    state.write_text(json.dumps(changed))
    try:
        assert "--allow_changed_data" in refused(whole[0], capsys, "--resume", "latest")
        assert main(whole[0].command("--resume", "latest", "--allow_changed_data")[1:]) == 0
    finally:
        state.write_bytes(kept)


def test_resuming_without_a_checkpoint_is_refused(run_of, tmp_path, capsys):
    assert "no checkpoint there" in refused(run_of(tmp_path), capsys, "--resume", "latest")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--data.batch_size", "3"], "data.batch_size: 3, expected a mult"),
        (["--job.keep", "0"], "job.keep: 0, expected 1 or more"),
        (["--train.curriculum", "[{steps: 2, min_subjects: 9}]"], "the set has no such scene"),
        (
            ["--train.curriculum", "[{steps: 2, min_subjects: 3, max_subjects: 2}]"],
            "train.curriculum: stage 1 has 3 to 2 subjects",
        ),
        (
            ["--report.seed", str(2**63)],
            "report.seed: 9223372036854775808, expected 0 to 9223372036854775807",
        ),
        (
            ["--data.split", "test", "--report.scenes", "4"],
            "data.split: test, which the report measures on",
        ),
        (["--report.baselines.other", "nowhere"], "report.baselines.other: nowhere: neither a run"),
        (["--report.baselines.truth", "nowhere"], "report.baselines.truth: the report has a row"),
        (["--report.baselines.a|b", "nowhere"], "report.baselines.a|b: 'a|b', expected up to"),
    ],
)
def test_what_cannot_be_trained_is_one_line_of_error(run_of, tmp_path, capsys, changes, words):
    assert words in refused(run_of(tmp_path / "out"), capsys, *changes)
    assert not checkpoints(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--job.gpu", "true"], "job.gpu: 99 processes want 1 GPU each, Ray has "),
        (["--job.threads", "50"], "job.processes: 99 processes want 50 CPU each, Ray has "),
    ],
)
def test_missing_cpus_or_gpus_of_this_machine_are_an_error(run_of, tmp_path, changes, words):
    many = ["--job.processes", "99", "--data.batch_size", "99"]
    code, text = run_of(tmp_path / "out").finish(*many, *changes)
    assert code == 2, text
    assert words in text.splitlines()[-1]


def test_damaged_scenes_and_scenes_with_too_many_subjects_are_left_out(run_of, tmp_path, finished):
    """Of 1 to 3 subjects, a model of two slots does so on those of 1 and 2, damaged ones apart."""
    shards = Path(shutil.copytree(finished.out / "shards", tmp_path / "shards"))
    overwrite(shards, "000001", lambda data: data[:-9] + b"damaged!!")
    model = PRESET["model"]
    encoding = {"routing": "one_hot", "slots": 2}
    run = run_of(
        tmp_path / "out",
        model=model | {"format": model["format"] | {"encoding": encoding}},
        train=PRESET["train"] | {"curriculum": [{"steps": 4, "max_subjects": 2}]},
        report={"scenes": 4, "num_inference_steps": 1},
        job={"processes": 1},
        data={"batch_size": 2, "workers": 0},
    )
    code, text = replace(run, shards=shards).finish()
    assert code == 0, text
    assert "N = 3" not in text
    assert "skipped a damaged sample: 000001" in text
    assert "Left out as damaged: 000001" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "kontext"], "downloaded to a folder: --model.base FOLDER"),
        (["--train.curriculum", "[]"], "train.curriculum: no stages"),
        (["--resume", "latest"], "no checkpoint there; leave out --resume"),
        (["--out", "s3://bucket/run"], "--out: s3://bucket/run, expected a folder"),
    ],
)
def test_no_set_is_made_for_a_run_that_cannot_start(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_not_changed(run_of, tmp_path, capsys):
    mine = tmp_path / "model" / "mine.py"
    mine.parent.mkdir()
    mine.write_text("precious")
    assert "holds other files than those of a run" in refused(run_of(tmp_path), capsys)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


@pytest.mark.slow
def test_a_set_that_failed_verification_is_not_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipelines.cli.dataset_verbs.dataset", lambda words: 1)
    assert main(["train", "--job.processes", "1"]) == 1
    assert not (tmp_path / "out").exists()


def test_the_error_names_a_damaged_checkpoint_and_how_to_continue(whole, run_of, tmp_path):
    run = run_of(tmp_path / "out")
    shutil.copytree(whole[0].out, run.out)
    older, newest = checkpoints(run.out)
    shutil.rmtree(newest)
    weights = older / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    code, text = run.finish("--resume", "latest")
    assert code == 2, text
    assert f"{weights.resolve()}: " in text.splitlines()[-1]
    assert "remove this checkpoint" in text.splitlines()[-1]


def test_the_error_names_missing_shards(run_of, tmp_path, capsys):
    run = Run(run_of(tmp_path).preset, tmp_path / "nothing", tmp_path / "out")
    assert "nothing" in refused(run, capsys)


def cmdline(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def wait_for(what, process: psutil.Popen, timeout: float = 500) -> None:
    end = time.monotonic() + timeout
    while not what():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, f"waited {timeout} s"
        time.sleep(0.02)


def kontext_run(run_of, tmp_path, base):
    """Two processes, adapters for conditions alone: some weights have no part in the prediction."""
    model = {
        "base": os.path.relpath(base),
        "format": {"size": 32, "identity_size": 16},
        "lora": {"rank": 2, "alpha": 2},
        "backbone": {"lora_scope": "condition"},
    }
    settings = PRESET["job"] | {"encode": True, "retries": 0}
    train = {"curriculum": [{"steps": 3, "max_subjects": 3}], "precision": "float32"}
    return run_of(tmp_path / "run", model=model, augment=None, train=train, job=settings)


def test_an_encoder_that_cannot_be_loaded_is_one_line_of_error(run_of, tmp_path):
    base = save_kontext(tmp_path / "FLUX.1-Kontext-dev")
    weights = base / "text_encoder_2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    process = kontext_run(run_of, tmp_path, base).start()
    text, _ = process.communicate(timeout=500)
    assert process.returncode == 2, text
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    assert "FLUX.1-Kontext-dev" in line
    assert "Traceback" not in text


def test_the_encoders_of_a_pretrained_base_are_needed_once(run_of, tmp_path):
    """Without ``retries`` a process that looks for the text encoder ends the run."""
    base = save_kontext(tmp_path / "FLUX.1-Kontext-dev")
    run = kontext_run(run_of, tmp_path, base)
    process = run.start()
    marks = run.preset.parent / "encoded"
    while not list(marks.glob("*/done/*")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    (base / "text_encoder_2" / "model.safetensors").unlink()
    text, _ = process.communicate(timeout=500)
    assert process.returncode == 0, text
    assert "scenes encoded" in text
    assert (run.out / "model" / "pytorch_lora_weights.safetensors").exists()
