"""Flow matching: noise to picture along straight lines (paper, section 4; Esser et al., 2024).

``x_t = (1 - t) x_0 + t e``: t = 0 is the picture, t = 1 is noise ``e``. The velocity is
``e - x_0``. All tokens are (B, L, C), times (B,).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Generator, Tensor

Prediction = Literal["v", "x"]
"""What the transformer predicts: the velocity, as Flux does, or the picture itself, without which
a small model learns nothing in pixel space (docs/recipe.md)."""

# The velocity of a predicted picture is (x_t - x_0) / t, and at t near 0 all error.
SMALLEST_TIME = 0.05


def draw_times(count: int, mean: float, generator: Generator) -> Tensor:
    """Logit-normal times in 0..1: ``sigmoid(N(mean, 1))``, on the generator's device."""
    drawn = torch.randn(count, generator=generator, device=generator.device)
    return torch.sigmoid(mean + drawn)


def mix(x: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """``x_t`` of pictures ``x`` and ``noise``."""
    t = times[:, None, None].to(x.dtype)
    return (1 - t) * x + t * noise


def velocity(predicted: Tensor, noisy: Tensor, times: Tensor, prediction: Prediction) -> Tensor:
    """The velocity that a prediction amounts to."""
    if prediction == "v":
        return predicted
    return (noisy - predicted) / times.clamp(min=SMALLEST_TIME)[:, None, None].to(noisy.dtype)


def schedule(steps: int, tokens: int, shift: tuple[float, float] | None) -> list[float]:
    """Times of ``steps`` sampling steps, from 1 down to 0, ``steps`` + 1 of them.

    ``shift``: Flux's shift at 256 and at 4,096 tokens of the target; more tokens need more time
    spent in noise. None leaves the times evenly spaced.
    """
    times = [1 - i / steps for i in range(steps + 1)]
    if shift is None:
        return times
    low, high = shift
    mu = low + (high - low) * (tokens - 256) / (4096 - 256)
    return [math.exp(mu) / (math.exp(mu) + (1 / t - 1)) if t > 0 else 0.0 for t in times]
