"""Small real models: diffusers' own classes, random weights."""

from __future__ import annotations

import torch
from diffusers import FluxTransformer2DModel

from model.network.transformer import Conditions, TextEmbedding, grid_ids, sheet_ids


def transformer(channels: int = 20, guidance: bool = True) -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=channels,
        out_channels=12,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )


def inputs(
    subjects: int = 2, channels: int = 20
) -> tuple[torch.Tensor, torch.Tensor, TextEmbedding, Conditions]:
    """x and its ids, a text, conditions, for a batch of two pictures of 4 x 4 tokens."""
    torch.manual_seed(1)
    ids = torch.cat([sheet_ids(subjects, 2), grid_ids(4, 4)])
    text = TextEmbedding(torch.randn(2, 3, 8), torch.randn(2, 8))
    conditions = Conditions(torch.randn(2, len(ids), channels), ids)
    return torch.randn(2, 16, channels), grid_ids(4, 4), text, conditions
