"""Flow matching: from noise to image along straight lines (paper, section 4; Esser et al., 2024).

``x_t = (1 - t) x_0 + t e``: t = 0 is the image ``x_0``, t = 1 is the noise ``e``. The velocity is
``e - x_0``. Tokens are (B, L, C), times (B,) in 0..1.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Generator, Tensor

Prediction = Literal["v", "x"]
"""What the transformer predicts: the velocity ("v"), as Flux does, or the clean image ("x"),
without which a small model learns nothing in pixel space (docs/recipe.md)."""


def sample_times(count: int, mean: float, generator: Generator) -> Tensor:
    """Sample logit-normal times.

    Args:
        count: number of times.
        mean: of the normal distribution; its standard deviation is 1.
        generator: its device is where the times are made.

    Returns:
        ``sigmoid(N(mean, 1))``, (count,) float32 in 0..1.
    """
    normal = torch.randn(count, generator=generator, device=generator.device)
    return torch.sigmoid(mean + normal)


def mix(x: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Mix clean tokens with noise.

    Args:
        x: clean tokens ``x_0`` (B, L, C).
        noise: ``e``, of the same shape.
        times: (B,) in 0..1, where 1 is pure noise.

    Returns:
        ``x_t`` (B, L, C) of x's dtype.
    """
    t = times[:, None, None].to(x.dtype)
    return (1 - t) * x + t * noise


def velocity(predicted: Tensor, noisy: Tensor, times: Tensor, prediction: Prediction) -> Tensor:
    """Convert a prediction to a velocity.

    The error of a predicted image is divided by t in its velocity, (x_t - x_0) / t, but not in the
    result of an Euler step: from t to s this is ``(s / t) x_t + (1 - s / t) x_0``, a weighted mean,
    and at s = 0 the predicted image itself. Hence no lower bound of t: it would leave noise in the
    image.

    Args:
        predicted: the transformer's output (B, L, C).
        noisy: ``x_t`` (B, L, C), the transformer's input, in float32.
        times: (B,), above 0 and at most 1, float32.
        prediction: what ``predicted`` is.

    Returns:
        The velocity ``e - x_0``, (B, L, C).
    """
    if prediction == "v":
        return predicted
    return (noisy - predicted) / times[:, None, None]


def schedule(steps: int, tokens: int, shift: tuple[float, float] | None) -> list[float]:
    """The times between sampling steps.

    Args:
        steps: number of sampling steps.
        tokens: length of the target, in tokens.
        shift: Flux's timestep shift at 256 and at 4,096 tokens; longer targets need more steps at
            high noise. None leaves the times evenly spaced.

    Returns:
        ``steps + 1`` times, falling from 1 to 0.
    """
    times = [1 - i / steps for i in range(steps + 1)]
    if shift is None:
        return times
    low, high = shift
    mu = low + (high - low) * (tokens - 256) / (4096 - 256)
    return [math.exp(mu) / (math.exp(mu) + (1 / t - 1)) if t > 0 else 0.0 for t in times]
