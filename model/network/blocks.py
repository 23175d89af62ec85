"""Streams of tokens through the blocks of a diffusers Flux transformer.

The blocks' own ``forward`` gives all tokens the same modulation, applies every adapter to all
tokens, and lets all tokens attend to all. Here each stream has its own modulation and may go
without adapters, and further keys and values can be passed in, so that conditions can be computed
once and kept. With one image stream beside the text the result is the blocks' own, bit for bit (a
test checks that).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one block, each (B, L, heads, head_dim); the keys are already rotated by
their positions."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Tokens with the same modulation, the same weights and the same adapters.

    Attributes:
        tokens: (B, L, D).
        modulation: (B, D), the embedding of timestep, guidance and pooled text.
        rope: cosines and sines, each (L, head_dim).
        text: whether double-stream blocks apply their text weights; otherwise their image weights.
        adapted: whether LoRA applies.
    """

    tokens: Tensor
    modulation: Tensor
    rope: tuple[Tensor, Tensor]
    text: bool
    adapted: bool


def run_blocks(
    transformer: FluxTransformer2DModel,
    streams: Sequence[Stream],
    condition_cache: Sequence[KeyValue] = (),
    compiled: bool = False,
    keep: bool = False,
) -> tuple[list[Stream], list[KeyValue]]:
    """Run all blocks, the double-stream ones first. Every stream attends to every stream.

    Args:
        transformer: whose blocks are run.
        streams: the tokens, in the order of attention.
        condition_cache: further keys and values to attend to, one entry per block; empty for none.
        compiled: run the blocks through torch.compile, one kind of block at a time.
        keep: return the keys and values of every block. At the size of Flux they are tens of GiB.

    Returns:
        The streams after the last block; and, where ``keep`` is set, the keys and values that
        each block attended to.
    """
    states = list(streams)
    kept: list[KeyValue] = []
    double, single = compiled_blocks() if compiled else (_double_block, _single_block)
    blocks = [
        *((double, block) for block in transformer.transformer_blocks),
        *((single, block) for block in transformer.single_transformer_blocks),
    ]
    for i, (run, block) in enumerate(blocks):
        cached = condition_cache[i] if condition_cache else None
        if transformer.gradient_checkpointing and torch.is_grad_enabled():
            states, key_value = checkpoint(run, block, states, cached, use_reentrant=False)
        else:
            states, key_value = run(block, states, cached)
        if keep:
            kept.append(key_value)
    return states, kept


@cache
def compiled_blocks() -> tuple[Any, Any]:
    """The compiled double-stream and single-stream block. Each is compiled at its first call."""
    return torch.compile(_double_block), torch.compile(_single_block)


class _Side(NamedTuple):
    """One side of a double-stream block: the image's or the text's."""

    norm1: nn.Module
    query: nn.Module
    key: nn.Module
    value: nn.Module
    norm_query: nn.Module
    norm_key: nn.Module
    out: nn.Module
    norm2: nn.Module
    feed_forward: Any


def _side(block: Any, text: bool) -> _Side:
    a = block.attn
    if text:
        projections = (a.add_q_proj, a.add_k_proj, a.add_v_proj, a.norm_added_q, a.norm_added_k)
        return _Side(
            block.norm1_context, *projections, a.to_add_out, block.norm2_context, block.ff_context
        )
    projections = (a.to_q, a.to_k, a.to_v, a.norm_q, a.norm_k)
    return _Side(block.norm1, *projections, a.to_out[0], block.norm2, block.ff)


def _double_block(
    block: Any, streams: list[Stream], condition_cache: KeyValue | None
) -> tuple[list[Stream], KeyValue]:
    sides = [_side(block, stream.text) for stream in streams]
    normed, gates = [], []
    for side, stream in zip(sides, streams, strict=True):
        tokens, *rest = side.norm1(stream.tokens, emb=stream.modulation)
        normed.append(tokens)
        gates.append(rest)
    attended, key_value = _attend(block.attn.head_dim, sides, streams, normed, condition_cache)
    done = []
    for side, stream, seen, (gate, shift, scale, mlp_gate) in zip(
        sides, streams, attended, gates, strict=True
    ):
        tokens = stream.tokens + gate[:, None] * _linear(side.out, seen, stream.adapted)
        inner = side.norm2(tokens) * (1 + scale[:, None]) + shift[:, None]
        activation, _, out = side.feed_forward.net
        inner = F.gelu(_linear(activation.proj, inner, stream.adapted), approximate="tanh")
        tokens = tokens + mlp_gate[:, None] * _linear(out, inner, stream.adapted)
        done.append(replace(stream, tokens=tokens))
    return done, key_value


def _single_block(
    block: Any, streams: list[Stream], condition_cache: KeyValue | None
) -> tuple[list[Stream], KeyValue]:
    a = block.attn
    side = _Side(
        block.norm, a.to_q, a.to_k, a.to_v, a.norm_q, a.norm_k, block.proj_out, block.norm, None
    )
    normed, gates = zip(
        *(block.norm(stream.tokens, emb=stream.modulation) for stream in streams), strict=True
    )
    attended, key_value = _attend(
        a.head_dim, [side] * len(streams), streams, normed, condition_cache
    )
    done = []
    for stream, tokens, gate, seen in zip(streams, normed, gates, attended, strict=True):
        inner = F.gelu(_linear(block.proj_mlp, tokens, stream.adapted), approximate="tanh")
        out = _linear(block.proj_out, torch.cat([seen, inner], dim=2), stream.adapted)
        done.append(replace(stream, tokens=stream.tokens + gate[:, None] * out))
    return done, key_value


def _attend(
    head_dim: int,
    sides: Sequence[_Side],
    streams: Sequence[Stream],
    normed: Sequence[Tensor],
    condition_cache: KeyValue | None,
) -> tuple[list[Tensor], KeyValue]:
    """The attention output (B, L, D) of each stream, and the keys and values of all streams and of
    ``condition_cache`` together."""
    queries, keys, values = [], [], []
    for side, stream, tokens in zip(sides, streams, normed, strict=True):
        query, key, value = (
            _linear(projection, tokens, stream.adapted).unflatten(-1, (-1, head_dim))
            for projection in (side.query, side.key, side.value)
        )
        queries.append(apply_rotary_emb(side.norm_query(query), stream.rope, sequence_dim=1))
        keys.append(apply_rotary_emb(side.norm_key(key), stream.rope, sequence_dim=1))
        values.append(value)
    if condition_cache:
        keys, values = [*keys, condition_cache[0]], [*values, condition_cache[1]]
    query, key, value = (torch.cat(parts, dim=1) for parts in (queries, keys, values))
    gathered = _attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    lengths = [stream.tokens.shape[1] for stream in streams]
    seen = gathered.transpose(1, 2).flatten(2).split(lengths, dim=1)
    return list(seen), (key, value)


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention over (B, heads, L, head_dim). On a CPU as two plain matrix products: with torch's
    fused kernel a training step of the tiny preset takes 1.5 times as long there."""
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value)
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return weights.softmax(dim=-1).to(value.dtype) @ value


def _linear(layer: nn.Module, tokens: Tensor, adapted: bool) -> Tensor:
    """Apply ``layer``, without its LoRA adapter where the stream is not adapted."""
    plain = layer if adapted else getattr(layer, "base_layer", layer)
    return plain(tokens)
