"""Muon with the iterations in float32, for devices without bfloat16 arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Muon


class Float32Muon(Muon):
    """``torch.optim.Muon``, whose orthogonalization computes in the type of the gradients.

    torch's own always converts to bfloat16, which a CPU without bfloat16 arithmetic emulates: a
    step of the preset tiny then takes many times as long. Settings and state are those of torch's,
    with Nesterov momentum and the learning rate adjustment "match_rms_adamw".
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all weights that have a gradient.

        Args:
            closure: computes the loss and the gradients first, if given.

        Returns:
            What ``closure`` returns.
        """
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)
        return loss

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, rate = self.state[weight], group["lr"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        direction = orthogonalized(
            gradient.lerp(average, group["momentum"]),
            group["ns_coefficients"],
            group["ns_steps"],
            group["eps"],
        )
        weight.mul_(1 - rate * group["weight_decay"])
        weight.add_(direction, alpha=-rate * 0.2 * math.sqrt(max(weight.shape)))


def orthogonalized(
    matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """Move the singular values of a matrix to about 1 by Newton-Schulz iterations, as Muon does
    (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

    Args:
        matrix: (m, n); its type is the one that is computed in.
        coefficients: a, b, c of the polynomial a x + b x^3 + c x^5.
        steps: iterations.
        eps: least norm that ``matrix`` is divided by.

    Returns:
        (m, n): the singular vectors of ``matrix``, with singular values in about 0.7..1.2.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
