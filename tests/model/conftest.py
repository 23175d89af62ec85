"""What tests of the model share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Models here are so small that threads would only wait for each other."""
    torch.set_num_threads(1)
