"""First weights of a transformer that is trained from scratch: it learns in minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn


def initialize(transformer: FluxTransformer2DModel) -> None:
    """Set fresh weights in place.

    Modulation starts as the identity and with every gate open, so that all blocks contribute from
    the first step. Half of the attention heads start by attending to tokens at their own row and
    column, as a control image means it: see ``_attend_in_place``.

    Args:
        transformer: a Flux transformer without adapters.
    """
    for layer in transformer.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    width, rope = transformer.inner_dim, transformer.config.axes_dims_rope
    for block in transformer.transformer_blocks:
        for norm in (block.norm1, block.norm1_context):
            _open_gates(norm.linear, gates=(2, 5), width=width)
    for block in transformer.single_transformer_blocks:
        _open_gates(block.norm.linear, gates=(2,), width=width)
    for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
        _attend_in_place(block.attn, rope)
    nn.init.zeros_(transformer.norm_out.linear.weight)
    nn.init.zeros_(transformer.proj_out.weight)


def _attend_in_place(attention: Any, rope: Sequence[int]) -> None:
    """Give the first half of the heads the same bias in queries and keys, which rotary positions
    turn into a preference for tokens of the same row and column.

    The bias is strong, and only in the two fastest channel pairs of the row id and of the column
    id: slower pairs hardly distinguish neighbours. A token of X then has a third of its attention
    on the control token at its own position. With a bias of 1 in all channels it has 1%, twice the
    share of chance, and in the first minutes no subject is bound to its place (docs/recipe.md).
    """
    pattern = torch.cat([torch.zeros(rope[0]), *(_fastest_pairs(size) for size in rope[1:])])
    heads = attention.heads // 2
    for projection in (attention.to_q, attention.to_k):
        projection.bias.data[: heads * len(pattern)] = pattern.repeat(heads)
    for norm in (attention.norm_q, attention.norm_k):
        nn.init.constant_(norm.weight, 2.0)


def _fastest_pairs(size: int) -> Tensor:
    """A bias (size,) that is set in the two channel pairs of the highest rotary frequency."""
    pattern = torch.zeros(size)
    pattern[:4] = 8.0
    return pattern


def _open_gates(linear: nn.Linear, gates: Sequence[int], width: int) -> None:
    """Let ``linear`` output constant gates of 1 and no shift or scale. Its output is cut into
    parts of ``width``, of which ``gates`` are the gates (diffusers' order)."""
    nn.init.zeros_(linear.weight)
    for gate in gates:
        nn.init.ones_(linear.bias[gate * width : (gate + 1) * width])
