"""What a training step changes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch.optim import Optimizer

from model.sigma_gen import SigmaGen
from model.training.optimizers import Ema


@dataclass(frozen=True, eq=False)
class TrainState:
    """A model in training.

    Attributes:
        sigma: the model.
        optimizers: of its trainable weights, each weight in one of them.
        ema: moving average of its trainable weights; None where the run keeps none.
    """

    sigma: SigmaGen
    optimizers: Sequence[Optimizer]
    ema: Ema | None = None

    def averaged(self) -> AbstractContextManager[None]:
        """A context in which the model has its averaged weights, where there are any."""
        return self.ema.applied() if self.ema else nullcontext()
