"""The training step on a model that is real in everything but size."""

from __future__ import annotations

import copy
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from datagen.errors import UserError
from model.data.batch import Batch
from model.data.curriculum import CurriculumStage
from model.sigma_gen import SigmaGen
from model.training.checkpoint import (
    State,
    checkpoints,
    latest,
    read_state,
    restore,
    write_checkpoint,
)
from model.training.optimizers import Ema, OptimizerConfig, make_optimizers
from model.training.train import NotFinite, TrainConfig, train
from tests.model.untrained import answering, make_batch, model

CONFIG = TrainConfig(
    curriculum=(CurriculumStage(6),),
    optimizer=OptimizerConfig("muon", lr=1e-3, warmup=2, decay=0.5),
    subject_weight=4.0,
    ema=0.9,
    bf16=False,
)
FOLDER_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")


def batches(start: int) -> Iterator[Batch]:
    return map(make_batch, count(start))


def run(sigma, optimizers, ema, start=0, steps=CONFIG.steps, config=CONFIG):
    reports = []
    for report in train(sigma, optimizers, ema, batches, config, start):
        reports.append(report)
        if report.step == steps - 1:
            break
    return reports


def outfit(sigma: SigmaGen, config: TrainConfig = CONFIG):
    return make_optimizers(sigma.backbone, config.optimizer), Ema(sigma.backbone, config.ema)


@pytest.mark.parametrize("name", ["muon", "adamw", "prodigy"])
def test_a_resumed_run_is_the_run_that_never_stopped(name, tmp_path: Path):
    config = replace(CONFIG, optimizer=replace(CONFIG.optimizer, name=name))
    whole = model()
    optimizers, ema = outfit(whole, config)
    expected = run(whole, optimizers, ema, config=config)

    first = model()
    optimizers, average = outfit(first, config)
    reports = run(first, optimizers, average, steps=3, config=config)
    state = State(step=3, data="d", config={"seed": 0})
    folder = write_checkpoint(tmp_path, first, optimizers, average, state, keep=2)

    second = model()
    optimizers, again = outfit(second, config)
    found = read_state(folder)
    restore(folder, found, second, optimizers, again)
    reports += run(second, optimizers, again, start=found.step, config=config)
    assert [r.loss for r in reports] == [r.loss for r in expected]
    assert [r.keys for r in reports] == [r.keys for r in expected]
    for (name, a), (_, b) in zip(
        whole.backbone.named_parameters(), second.backbone.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    assert all(torch.equal(ema.weights[n], again.weights[n]) for n in ema.weights)


def test_it_learns_what_it_sees():
    """One batch, over and over: the loss falls."""
    sigma = model()
    config = replace(CONFIG, curriculum=(CurriculumStage(60),))
    one = next(batches(0))

    def same(start: int) -> Iterator[Batch]:
        while True:
            yield one

    optimizers, _ = outfit(sigma)
    losses = [r.loss for r in train(sigma, optimizers, None, same, config)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_a_loss_that_is_not_finite_stops_before_the_step():
    sigma = model()
    optimizers, _ = outfit(sigma)
    with torch.no_grad():
        sigma.backbone.transformer.proj_out.bias.fill_(float("nan"))
    before = {n: p.clone() for n, p in sigma.backbone.named_parameters()}
    with pytest.raises(NotFinite, match=r"step 0: .* not finite; samples 0\.0, 0\.1"):
        run(sigma, optimizers, None)
    for name, weight in sigma.backbone.named_parameters():
        assert torch.equal(weight, before[name]) or name.endswith("proj_out.bias")


def test_a_step_follows_the_mean_of_its_batches():
    """Through plain gradient descent, from the very inputs that the model was given."""
    sigma = answering()
    before, given = copy.deepcopy(sigma.backbone), []
    sigma.backbone.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    config = TrainConfig(
        (CurriculumStage(1),), optimizer=OptimizerConfig(clip=1e9), accumulation=2, bf16=False
    )
    descent = torch.optim.SGD(sigma.backbone.parameters(), lr=1)
    descent.param_groups[0]["initial_lr"] = 1
    (report,) = train(sigma, [descent], None, batches, config)
    seen = list(islice(batches(0), 2))
    losses = [
        F.mse_loss(before(*inputs), sigma.targets(batch.images))
        for inputs, batch in zip(given, seen, strict=True)
    ]
    mean = torch.stack(losses).mean()
    mean.backward()
    assert report.loss == pytest.approx(mean.item(), rel=1e-5)
    assert report.keys == tuple(key for batch in seen for key in batch.keys)
    for (name, old), new in zip(
        before.named_parameters(), sigma.backbone.parameters(), strict=True
    ):
        torch.testing.assert_close(old - new, old.grad, atol=1e-5, rtol=1e-3, msg=name)


def test_accumulated_batches_are_taken_once_each_and_by_a_resumed_run_too():
    config = replace(CONFIG, curriculum=(CurriculumStage(3),), accumulation=2)
    sigma = model()
    optimizers, _ = outfit(sigma)
    expected = [(*make_batch(i).keys, *make_batch(i + 1).keys) for i in (0, 2, 4)]
    for start in (0, 1):
        reports = train(sigma, optimizers, None, batches, config, start)
        assert [report.keys for report in reports] == expected[start:]


def test_the_last_checkpoints_are_kept(tmp_path: Path):
    sigma = model()
    optimizers, ema = outfit(sigma)
    run(sigma, optimizers, ema, steps=1)
    for step in (1, 2, 3):
        state = State(step=step, data="d", config={})
        write_checkpoint(tmp_path, sigma, optimizers, ema, state, keep=2)
    assert [folder.name for folder in checkpoints(tmp_path)] == ["step-0000002", "step-0000003"]
    assert latest(tmp_path).name == "step-0000003"


def killed(work: Callable[[], object], touch: int) -> bool:
    """Whether a process that does ``work`` lived to its ``touch``-th change of a folder, at which
    it kills itself."""
    process = os.fork()
    if not process:
        touches = count(1)

        def hook(event: str, _: object) -> None:
            if event in FOLDER_CHANGES and next(touches) == touch:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_killed_at_any_moment_of_saving_it_leaves_whole_checkpoints(tmp_path: Path):
    """And what was left by others is gone once one is saved: one was killed while it wrote, one
    while it removed."""
    sigma = model()
    optimizers, ema = outfit(sigma)
    run(sigma, optimizers, ema, steps=1)

    def save(place: Path, step: int) -> None:
        write_checkpoint(place, sigma, optimizers, ema, State(step, "d", {}), keep=2)

    before = tmp_path / "before"
    for step in (1, 2):
        save(before, step)
    whole = files(latest(before))
    for left in (".step-0000000.removed", ".step-0000007.partial"):
        (before / "checkpoints" / left / "model").mkdir(parents=True)
    for touch in count(1):
        place = Path(shutil.copytree(before, tmp_path / "after"))
        interrupted = killed(partial(save, place, 3), touch)
        found = checkpoints(place)
        assert len(found) >= 2
        assert all(files(folder) == whole for folder in found), touch
        restore(found[-1], read_state(found[-1]), sigma, optimizers, ema)
        if not interrupted:
            break
        shutil.rmtree(place)
    left = sorted(path.name for path in (place / "checkpoints").iterdir())
    assert left == ["step-0000002", "step-0000003"]
    assert touch > len(whole), "it was killed while it removed one"


def test_what_cannot_be_saved_leaves_nothing_and_what_was_saved_stays(tmp_path: Path):
    sigma = model()
    optimizers, ema = outfit(sigma)
    run(sigma, optimizers, ema, steps=1)
    first, second = (State(step=step, data="d", config={}) for step in (1, 2))
    write_checkpoint(tmp_path, sigma, optimizers, ema, first, keep=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UserError, match=r"step-0000002: cannot be saved: .*File too large"):
            write_checkpoint(tmp_path, sigma, optimizers, ema, second, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000001"]


def test_a_damaged_file_of_a_checkpoint_is_named(tmp_path: Path):
    sigma = model()
    optimizers, ema = outfit(sigma)
    run(sigma, optimizers, ema, steps=1)
    state = State(step=1, data="d", config={})
    folder = write_checkpoint(tmp_path, sigma, optimizers, ema, state, keep=1)
    found = read_state(folder)
    for name in ("ema.safetensors", "optimizer-0.safetensors", "weights.safetensors"):
        (folder / name).write_bytes((folder / name).read_bytes()[:100])
        with pytest.raises(UserError, match=f"{name}: .*remove this checkpoint"):
            restore(folder, found, sigma, optimizers, ema)
    (folder / "state.json").write_text("")
    with pytest.raises(UserError, match=r"state\.json: .*remove this checkpoint"):
        read_state(folder)
