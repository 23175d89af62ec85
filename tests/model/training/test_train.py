"""The training step on a model that is real in everything but size."""

from __future__ import annotations

import copy
import os
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
from model.network.text_encoder import MemoizedTextEncoder, MiniLmEncoder, TextEncoder
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import SigmaGen
from model.training.checkpoint import (
    CheckpointState,
    checkpoints,
    latest,
    read_state,
    restore,
    write_checkpoint,
)
from model.training.optimizers import Ema, OptimizerConfig, make_optimizers
from model.training.precision import choose_precision
from model.training.train import NotFinite, StepResult, TrainConfig, held_out_loss, train
from model.training.train_state import TrainState
from tests.limits import largest_file
from tests.model.untrained import answering, make_batch, model

CONFIG = TrainConfig(
    curriculum=(CurriculumStage(6),),
    optimizer=OptimizerConfig("muon", lr=1e-3, warmup=2, decay=0.5),
    subject_weight=4.0,
    ema=0.9,
    precision="float32",
)
FOLDER_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")


def batches(start: int) -> Iterator[Batch]:
    return map(make_batch, count(start))


def run(state: TrainState, start=0, steps=CONFIG.steps, config=CONFIG) -> list[StepResult]:
    results = []
    for result in train(state, batches, config, start):
        results.append(result)
        if result.step == steps - 1:
            break
    return results


def fresh(config: TrainConfig = CONFIG) -> TrainState:
    sigma = model()
    optimizers = make_optimizers(
        sigma.backbone, config.optimizer, choose_precision(config.precision, sigma.device)
    )
    return TrainState(sigma, optimizers, Ema(sigma.backbone, config.ema))


@pytest.mark.parametrize(
    ("name", "precision"),
    [("muon", "float32"), ("muon", "bf16"), ("adamw", "float32"), ("prodigy", "float32")],
)
def test_a_resumed_run_equals_the_uninterrupted_run(name, precision, tmp_path: Path):
    config = replace(CONFIG, optimizer=replace(CONFIG.optimizer, name=name), precision=precision)
    whole = fresh(config)
    expected = run(whole, config=config)

    first = fresh(config)
    results = run(first, steps=3, config=config)
    state = CheckpointState(step=3, data="d", config={"seed": 0})
    folder = write_checkpoint(tmp_path, first, state, keep=2)

    second = fresh(config)
    found = read_state(folder)
    restore(folder, found, second)
    results += run(second, start=found.step, config=config)
    assert [r.loss for r in results] == [r.loss for r in expected]
    assert [r.keys for r in results] == [r.keys for r in expected]
    for (name, a), (_, b) in zip(
        whole.sigma.backbone.named_parameters(),
        second.sigma.backbone.named_parameters(),
        strict=True,
    ):
        assert torch.equal(a, b), name
    assert all(torch.equal(whole.ema.weights[n], second.ema.weights[n]) for n in whole.ema.weights)


def painted(sigma: SigmaGen) -> None:
    """Sample from a model in the middle of training, as a run does to show pictures."""
    batch = make_batch(0)
    SigmaGenPipeline(sigma).sample(
        batch.prompts, batch.sheets, batch.controls, num_inference_steps=1
    )


def test_looking_at_a_run_changes_no_bit_of_it():
    """Neither pictures, in float32, of a run in bf16 nor the loss of held-out batches. The prompts
    are the same, and the text encoder remembers those that it has encoded."""
    config = replace(CONFIG, precision="bf16")
    ends = []
    for looked in (False, True):
        state = fresh(config)
        state = replace(state, sigma=replace(state.sigma, encode_text=forgetful(state.sigma)))
        results = train(state, batches, config)
        if looked:
            painted(state.sigma)
            held_out_loss(state.sigma, [make_batch(0)], config)
        losses = [result.loss for result in results]
        weights = [weight.detach() for weight in state.sigma.backbone.parameters()]
        ends.append((losses, weights))
    (losses, weights), (others, other_weights) = ends
    assert losses == others
    assert all(map(torch.equal, weights, other_weights))


def forgetful(sigma: SigmaGen) -> TextEncoder:
    """The text encoder of a model, with nothing remembered yet."""
    return MemoizedTextEncoder(MiniLmEncoder(str(sigma.device)))


def test_the_loss_falls_on_one_batch_trained_over_and_over():
    config = replace(CONFIG, curriculum=(CurriculumStage(60),))
    one = next(batches(0))

    def same(start: int) -> Iterator[Batch]:
        while True:
            yield one

    losses = [r.loss for r in train(replace(fresh(), ema=None), same, config)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_a_loss_that_is_not_finite_stops_before_the_step():
    state = replace(fresh(), ema=None)
    sigma = state.sigma
    with torch.no_grad():
        sigma.backbone.transformer.proj_out.bias.fill_(float("nan"))
    before = {n: p.clone() for n, p in sigma.backbone.named_parameters()}
    with pytest.raises(NotFinite, match=r"step 0: .* not finite; samples 0\.0, 0\.1"):
        run(state)
    for name, weight in sigma.backbone.named_parameters():
        assert torch.equal(weight, before[name]) or name.endswith("proj_out.bias")


def test_accumulated_gradients_are_the_mean_over_the_batches_of_a_step():
    """By plain gradient descent, from the same inputs as the model was given."""
    sigma = answering()
    before, given = copy.deepcopy(sigma.backbone), []
    sigma.backbone.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    config = TrainConfig(
        (CurriculumStage(1),),
        optimizer=OptimizerConfig(clip=1e9),
        accumulation=2,
        precision="float32",
    )
    descent = torch.optim.SGD(sigma.backbone.parameters(), lr=1)
    descent.param_groups[0]["initial_lr"] = 1
    (result,) = train(TrainState(sigma, [descent]), batches, config)
    seen = list(islice(batches(0), 2))
    losses = [
        F.mse_loss(before(*inputs), sigma.targets(batch.images))
        for inputs, batch in zip(given, seen, strict=True)
    ]
    mean = torch.stack(losses).mean()
    mean.backward()
    assert result.loss == pytest.approx(mean.item(), rel=1e-5)
    assert result.keys == tuple(key for batch in seen for key in batch.keys)
    for (name, old), new in zip(
        before.named_parameters(), sigma.backbone.parameters(), strict=True
    ):
        torch.testing.assert_close(old - new, old.grad, atol=1e-5, rtol=1e-3, msg=name)


def test_accumulated_batches_are_used_once_each_also_by_a_resumed_run():
    config = replace(CONFIG, curriculum=(CurriculumStage(3),), accumulation=2)
    state = replace(fresh(), ema=None)
    expected = [(*make_batch(i).keys, *make_batch(i + 1).keys) for i in (0, 2, 4)]
    for start in (0, 1):
        results = train(state, batches, config, start)
        assert [result.keys for result in results] == expected[start:]


def test_only_the_last_checkpoints_are_kept(tmp_path: Path):
    train_state = fresh()
    run(train_state, steps=1)
    for step in (1, 2, 3):
        state = CheckpointState(step=step, data="d", config={})
        write_checkpoint(tmp_path, train_state, state, keep=2)
    assert [folder.name for folder in checkpoints(tmp_path)] == ["step-0000002", "step-0000003"]
    assert latest(tmp_path).name == "step-0000003"


def killed(work: Callable[[], object], touch: int) -> bool:
    """Run ``work`` in a process that kills itself at its ``touch``-th change of a folder. Returns
    whether it got that far."""
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


@pytest.mark.slow
def test_a_process_killed_while_saving_leaves_complete_checkpoints(tmp_path: Path):
    """The next save removes what killed processes left: one that was writing, one that was
    removing."""
    train_state = fresh()
    run(train_state, steps=1)

    def save(place: Path, step: int) -> None:
        write_checkpoint(place, train_state, CheckpointState(step, "d", {}), keep=2)

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
        restore(found[-1], read_state(found[-1]), train_state)
        if not interrupted:
            break
        shutil.rmtree(place)
    left = sorted(path.name for path in (place / "checkpoints").iterdir())
    assert left == ["step-0000002", "step-0000003"]
    assert touch > len(whole), "it was also killed while it removed one"


def test_a_checkpoint_that_cannot_be_saved_leaves_nothing_and_older_ones_stay(tmp_path: Path):
    train_state = fresh()
    run(train_state, steps=1)
    first, second = (CheckpointState(step=step, data="d", config={}) for step in (1, 2))
    write_checkpoint(tmp_path, train_state, first, keep=1)
    message = r"step-0000002: cannot be saved: .*File too large"
    with largest_file(20_000), pytest.raises(UserError, match=message):
        write_checkpoint(tmp_path, train_state, second, keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000001"]


def test_the_error_names_a_damaged_file_of_a_checkpoint(tmp_path: Path):
    train_state = fresh()
    run(train_state, steps=1)
    state = CheckpointState(step=1, data="d", config={})
    folder = write_checkpoint(tmp_path, train_state, state, keep=1)
    found = read_state(folder)
    for name in ("ema.safetensors", "optimizer-0.safetensors", "weights.safetensors"):
        (folder / name).write_bytes((folder / name).read_bytes()[:100])
        with pytest.raises(UserError, match=f"{name}: .*remove this checkpoint"):
            restore(folder, found, train_state)
    (folder / "state.json").write_text("")
    with pytest.raises(UserError, match=r"state\.json: .*remove this checkpoint"):
        read_state(folder)
