"""What is learned, held against answers that are known: ``x_t = (1 - t) x_0 + t e``, and the
velocity is ``e - x_0``."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from model.data.batch import Batch
from model.network.flow_matching import Prediction
from model.network.transformer import Backbone, Conditions
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import SigmaGen
from model.training.train import TrainConfig, flow_loss
from tests.model.untrained import MODEL, PATCH, answering, make_batch


@cache
def sigma() -> SigmaGen:
    return answering()


class Oracle(Backbone):
    """Knows the pictures, as tokens (B, L, C), and is wrong by ``error``, (B, L, 1)."""

    def __init__(
        self, clean: Tensor, prediction: Prediction = "x", error: Tensor | float = 0.0
    ) -> None:
        super().__init__(sigma().backbone.transformer, MODEL.backbone)
        self.clean, self.prediction, self.error = clean, prediction, error
        self.conditions: Conditions | None = None

    def forward(self, x, ids, timestep, text, conditions, guidance=None, condition_cache=None):
        self.conditions = conditions
        if self.prediction == "x":
            return self.clean + self.error
        noisy = x[..., : self.clean.shape[2]]
        return (noisy - self.clean) / timestep[:, None, None] + self.error


def knowing(oracle: Oracle) -> SigmaGen:
    config = replace(MODEL, prediction=oracle.prediction)
    return replace(sigma(), config=config, backbone=oracle)


@torch.no_grad()
def loss(asked: SigmaGen, given: Batch, **options: float) -> float:
    generator = torch.Generator().manual_seed(1)
    return float(flow_loss(asked, given, TrainConfig(**options), generator))


@pytest.mark.parametrize("prediction", ["x", "v"])
def test_the_loss_is_0_for_the_right_prediction_and_else_the_squared_error(prediction):
    given = make_batch()
    clean = sigma().targets(given.images)
    for error in (0.0, 0.5):
        found = loss(knowing(Oracle(clean, prediction, error)), given)
        assert found == pytest.approx(error**2, abs=1e-6)


@pytest.mark.parametrize("prediction", ["x", "v"])
def test_the_right_prediction_leads_from_noise_straight_to_the_image(prediction):
    given = make_batch()
    clean = sigma().targets(given.images)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    left = []

    def watch(pipeline, step, timestep, tensors):
        left.append((float(timestep) / 1000, tensors["latents"]))
        return tensors

    painted = SigmaGenPipeline(knowing(Oracle(clean, prediction))).sample(
        given.prompts,
        given.sheets,
        given.controls,
        num_inference_steps=5,
        generator=torch.Generator().manual_seed(2),
        callback_on_step_end=watch,
    )
    then = [now for now, _ in left[1:]] + [0.0]
    assert left[0][0] == 1
    for t, (_, latents) in zip(then, left, strict=True):
        torch.testing.assert_close(latents, (1 - t) * clean + t * noise, atol=1e-5, rtol=1e-5)
    assert (torch.from_numpy(painted).permute(0, 3, 1, 2) == given.images).all()


def test_subject_weight_weights_the_pixels_of_subjects():
    """Beside one of the background; wrong in some tokens, of which subjects cover some in part."""
    given = make_batch()
    given.subjects[:, :6, :10] = 0
    given.subjects[0, 8:, :] = 2
    clean = sigma().targets(given.images)
    error = torch.rand(*clean.shape[:2], 1, generator=torch.Generator().manual_seed(3))
    asked = knowing(Oracle(clean, "x", error))
    wrong = error.unflatten(1, (4, 4))[..., 0] ** 2
    wrong = wrong.repeat_interleave(PATCH, dim=1).repeat_interleave(PATCH, dim=2)
    for weight in (1.0, 4.0, 0.25):
        counts = torch.where(given.subjects > 0, weight, 1.0)
        expected = float((counts * wrong).sum() / counts.sum())
        assert loss(asked, given, subject_weight=weight) == pytest.approx(expected, rel=1e-5)


def test_image_dropout_drops_only_sheet_and_control():
    given = make_batch()
    for other in (
        replace(given, sheets=255 - given.sheets),
        replace(given, controls=255 - given.controls),
    ):
        dropped, received = (
            [loss(sigma(), one, image_dropout=share) for one in (given, other)]
            for share in (1.0, 0.0)
        )
        assert dropped[0] == dropped[1]
        assert received[0] != received[1]
    elsewhere = replace(given, prompts=["a lawn"] * 2)
    assert loss(sigma(), elsewhere, image_dropout=1.0) != loss(sigma(), given, image_dropout=1.0)


def test_image_dropout_drops_its_share_of_samples():
    given = make_batch(size=400)
    oracle = Oracle(sigma().targets(given.images))
    loss(knowing(oracle), given, image_dropout=0.25)
    received, whole = (
        oracle.conditions.tokens,
        sigma().conditions(given.sheets, given.controls).tokens,
    )
    gone, kept = ((received == tokens).all(dim=2).all(dim=1) for tokens in (0 * whole, whole))
    assert (gone ^ kept).all()
    assert float(gone.float().mean()) == pytest.approx(0.25, abs=0.06)
