"""A whole model as small as can be, and batches of noise to train it on."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from model.controls.control_image import InputSpec, RoutingEncoding
from model.data.batch import Batch
from model.network.transformer import BackboneConfig
from model.sigma_gen import ModelConfig, ScratchConfig, SigmaGen, build

PATCH = 4
MODEL = ModelConfig(
    base=ScratchConfig(patch=PATCH, heads=2, double_blocks=1, single_blocks=1, rope=(4, 6, 6)),
    format=InputSpec(16, 8, RoutingEncoding("one_hot", slots=3)),
    prediction="x",
    backbone=BackboneConfig(sheet_positions="per_block", rope_theta=100),
)


@cache
def _fresh() -> SigmaGen:
    return build(MODEL, seed=0)


def model() -> SigmaGen:
    """With weights of its own, and the one text encoder: it takes a second to load."""
    return replace(_fresh(), backbone=copy.deepcopy(_fresh().backbone))


def answering() -> SigmaGen:
    """One that predicts something, as fresh ones do not."""
    sigma = model()
    torch.nn.init.normal_(sigma.backbone.transformer.proj_out.weight, std=0.3)
    return sigma


def make_batch(number: int = 0, size: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(number)

    def draw(*shape: int) -> Tensor:
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    return Batch(
        images=draw(size, 3, 16, 16),
        sheets=draw(size, 3, 16, 8),
        controls=draw(size, 4, 16, 16),
        subjects=draw(size, 16, 16) % 3,
        prompts=[("a room", "a lawn")[i % 2] for i in range(size)],
        keys=[f"{number}.{i}" for i in range(size)],
        granularities=[("mask", "box2d")] * size,
        n_subjects=2,
    )
