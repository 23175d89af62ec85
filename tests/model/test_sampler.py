"""The Euler steps of the pipeline: with an oracle in place of the transformer, which predicts the
true image at every step, sampling must end in the true image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.network.flow_matching import Prediction
from model.network.transformer import BackboneConfig
from model.pipeline import Insertion, SigmaGenPipeline
from model.sigma_gen import SigmaGen
from tests.model import untrained

STEPS = (*range(1, 41), *range(50, 251, 25))
EDGE = untrained.MODEL.format.size
TRUTH = np.random.default_rng(0).integers(0, 256, (EDGE, EDGE, 3), dtype=np.uint8)


def true_tokens(sigma: SigmaGen) -> Tensor:
    """(1, L, C) float32."""
    return sigma.image_tokenizer.encode(torch.from_numpy(TRUTH).permute(2, 0, 1)[None])


class Oracle(nn.Module):
    """In place of ``Backbone``: knows the true image. It answers in the type of its input, as the
    transformer does.

    Args:
        sigma: the model whose backbone the oracle replaces.
        prediction: what the oracle predicts.
        offset: error of the prediction without conditions, which guidance must move away from.
    """

    def __init__(self, sigma: SigmaGen, prediction: Prediction, offset: float = 0.0) -> None:
        super().__init__()
        self.transformer = sigma.backbone.transformer
        self.config = sigma.backbone.config
        self.prediction, self.offset = prediction, offset
        self.truth = true_tokens(sigma)

    def forward(self, x, ids, timestep, text, conditions, guidance=None, condition_cache=None):
        noisy = x[..., : self.truth.shape[2]].float()
        clean = self.truth if conditions.tokens.any() else self.truth + self.offset
        predicted = clean if self.prediction == "x" else (noisy - clean) / timestep[:, None, None]
        return predicted.expand(len(x), -1, -1).to(x.dtype)


def oracle_pipeline(
    prediction: Prediction, dtype: torch.dtype = torch.float32, offset: float = 0.0
) -> SigmaGenPipeline:
    sigma = untrained.model()
    sigma.backbone.to(dtype)
    backbone = Oracle(sigma, prediction, offset)
    config = replace(sigma.config, prediction=prediction, backbone=BackboneConfig())
    return SigmaGenPipeline(replace(sigma, config=config, backbone=backbone))


def sampled_tokens(pipeline: SigmaGenPipeline, steps: int, **options) -> tuple[np.ndarray, Tensor]:
    """The image (H, W, 3), and the tokens (1, L, C) that it was decoded from."""
    batch, last = untrained.make_batch(size=1), []

    def watch(_, step, timestep, tensors):
        last[:] = [tensors["latents"]]
        return tensors

    (image,) = pipeline.sample(
        batch.prompts,
        batch.sheets,
        batch.controls,
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(steps),
        callback_on_step_end=watch,
        **options,
    )
    return image, last[0]


def worst_error(tokens: Tensor, pipeline: SigmaGenPipeline) -> float:
    """Greatest difference from the true image, before rounding, in units of 1/255."""
    return float((tokens - true_tokens(pipeline.sigma)).abs().max() * 127.5)


@pytest.mark.parametrize("prediction", ["v", "x"])
def test_the_sampler_ends_in_the_predicted_image_after_any_number_of_steps(prediction):
    pipeline = oracle_pipeline(prediction)
    for steps in STEPS:
        image, tokens = sampled_tokens(pipeline, steps)
        assert worst_error(tokens, pipeline) < 0.01, steps
        assert np.array_equal(image, TRUTH), steps


@pytest.mark.parametrize(
    ("prediction", "steps", "bound"),
    [
        ("x", 1, 0.26),
        ("x", 28, 0.26),
        ("x", 250, 0.26),
        ("v", 1, 2.0),
        ("v", 10, 0.6),
        ("v", 28, 0.6),
        ("v", 250, 0.6),
    ],
)
def test_in_bfloat16_only_the_rounding_of_the_last_prediction_is_left(prediction, steps, bound):
    """Values of an image, -1..1, are rounded by at most 0.25 of 255. A velocity is larger than an
    image, so its rounding is, too, which with a single step is all in the result."""
    pipeline = oracle_pipeline(prediction, torch.bfloat16)
    assert worst_error(sampled_tokens(pipeline, steps)[1], pipeline) < bound


@pytest.mark.parametrize("prediction", ["v", "x"])
@pytest.mark.parametrize("steps", [1, 20, 28, 100, 250])
def test_guidance_ends_in_the_extrapolated_image(prediction, steps):
    """Twice the way from the image without conditions, which is 0.1 brighter."""
    pipeline = oracle_pipeline(prediction, offset=0.1)
    _, tokens = sampled_tokens(pipeline, steps, image_guidance_scale=2.0)
    assert worst_error(tokens + 0.1, pipeline) < 0.01


@pytest.mark.parametrize("prediction", ["v", "x"])
@pytest.mark.parametrize("steps", [1, 20, 28, 100, 250])
def test_insertion_ends_in_the_predicted_image_inside_and_the_given_one_outside(prediction, steps):
    given = 255 - TRUTH
    mask = np.zeros((EDGE, EDGE), bool)
    mask[3:9, 5:14] = True
    pipeline = oracle_pipeline(prediction)
    image, _ = sampled_tokens(pipeline, steps, insertion=Insertion(given, mask))
    assert np.array_equal(image, np.where(mask[..., None], TRUTH, given))
