"""Muon in float32, beside torch's in bfloat16 and beside the mathematics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F
from torch.optim import Muon

from model.training.muon import Float32Muon, orthogonalized

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_orthogonalization_keeps_singular_vectors_and_maps_singular_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrix.double() / matrix.norm(), full_matrices=False)
    a, b, c = COEFFICIENTS
    for _ in range(5):
        values = a * values + b * values**3 + c * values**5
    expected = (u * values) @ v
    found = orthogonalized(matrix, COEFFICIENTS, 5, 1e-7)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)


def test_a_step_is_that_of_torch_up_to_its_rounding():
    ours = torch.nn.ModuleList([torch.nn.Linear(12, 30), torch.nn.Linear(30, 12)])
    theirs = copy.deepcopy(ours)
    settings = {"lr": 1e-2, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    made = [
        kind([layer.weight for layer in model], **settings)
        for kind, model in ((Float32Muon, ours), (Muon, theirs))
    ]
    before = [layer.weight.detach().clone() for layer in ours]
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for mine, other in zip(ours, theirs, strict=True):
            gradient = torch.randn(mine.weight.shape, generator=generator)
            mine.weight.grad, other.weight.grad = gradient, gradient.clone()
        for optimizer in made:
            optimizer.step()
    for mine, other, old in zip(ours, theirs, before, strict=True):
        moved, expected = mine.weight.detach() - old, other.weight.detach() - old
        assert F.cosine_similarity(moved.flatten(), expected.flatten(), dim=0) > 0.999
        assert float(moved.norm()) == pytest.approx(float(expected.norm()), rel=0.02)
        assert not torch.equal(moved, expected)


def test_weights_without_a_gradient_stay():
    layer = torch.nn.Linear(4, 4)
    before = layer.weight.detach().clone()
    Float32Muon([layer.weight], lr=1.0, weight_decay=0.5).step()
    assert torch.equal(layer.weight, before)
