"""SIGMA-GEN's forward pass: ``[P, X, I_S, I_C]`` through a diffusers Flux transformer.

P is the text, X the noisy target, I_S the identity sheet, I_C the control image (paper,
section 4). Only X is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux import FluxPosEmbed
from torch import Tensor

from datagen.validation import Count
from model.network.blocks import KeyValue, Stream, run_blocks
from model.network.image_tokenizer import ImageTokenizer

Device = torch.device | str


@dataclass(frozen=True)
class BackboneConfig:
    """What the paper leaves open or the small presets do otherwise.

    The defaults are the ``kontext`` preset's, those marked so assumed.
    """

    condition_timestep: Literal["shared", "zero"] = "shared"
    """Conditions are modulated by the target's timestep, or always by 0 (assumed: shared)."""
    lora_scope: Literal["all", "condition"] = "all"
    """LoRA applies to all tokens, or to conditions only (assumed: all)."""
    attention: Literal["full", "independent"] = "full"
    """All tokens attend to all, or conditions among themselves only; with timestep zero their keys
    and values are then the same at every sampling step."""
    sheet_positions: Literal["stacked", "per_block"] = "stacked"
    """Ids (1, row, col) down the tall sheet, or (i, row, col) in the block of subject i."""
    rope_theta: Count = 10_000
    """Base of the rotary frequencies; a small picture needs a smaller one than Flux's 10,000."""

    @property
    def cacheable(self) -> bool:
        """Whether conditions stay the same at every timestep."""
        return self.condition_timestep == "zero" and self.attention == "independent"


@dataclass(frozen=True, eq=False)
class TextEmbedding:
    """A prompt, encoded: ``tokens`` (B, L, D), ``pooled`` (B, D')."""

    tokens: Tensor
    pooled: Tensor


@dataclass(frozen=True, eq=False)
class Conditions:
    """I_S and I_C as the transformer takes them: ``tokens`` (B, L, in_channels), ``ids`` (L, 3)."""

    tokens: Tensor
    ids: Tensor

    def keep(self, rows: Tensor) -> Conditions:
        """With tokens of 0 where ``rows`` (B,) is False: no conditions, in as many tokens."""
        return Conditions(self.tokens * rows[:, None, None].to(self.tokens), self.ids)


def grid_ids(rows: int, columns: int, first: int = 0, device: Device = "cpu") -> Tensor:
    """Ids (rows * columns, 3): (first, row, column). In float32: bfloat16 has no 257. Made where
    they are wanted: a copy to a GPU would wait for all that it has still to do."""
    row, column = torch.meshgrid(
        torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
    )
    return torch.stack([torch.full_like(row, first), row, column], dim=-1).flatten(0, 1).float()


def sheet_ids(
    subjects: int,
    edge: int,
    positions: Literal["stacked", "per_block"] = "stacked",
    device: Device = "cpu",
) -> Tensor:
    """Ids of the identity sheet's tokens; ``edge``: tokens along a block."""
    if positions == "stacked":
        return grid_ids(subjects * edge, edge, first=1, device=device)
    return torch.cat([grid_ids(edge, edge, i + 1, device) for i in range(subjects)])


def make_conditions(
    codec: ImageTokenizer, sheet: Tensor, control: Tensor, config: BackboneConfig
) -> Conditions:
    """``sheet`` (B, 3, N*S, S) and ``control`` (B, C, H, W) uint8; I_C has the ids of X."""
    height, width = (edge // codec.pixels for edge in control.shape[2:])
    edge = sheet.shape[3] // codec.pixels
    subjects = sheet.shape[2] // sheet.shape[3]
    tokens = torch.cat([codec.sheet_tokens(sheet), codec.control_tokens(control)], dim=1)
    of_sheet = sheet_ids(subjects, edge, config.sheet_positions, tokens.device)
    of_control = grid_ids(height, width, device=tokens.device)
    return Conditions(tokens, torch.cat([of_sheet, of_control]))


class Backbone(torch.nn.Module):
    """One forward pass. Adds no weights to ``transformer``, with or without peft's adapters.
    ``compiled``: whether torch compiles its blocks, off until it is set."""

    def __init__(self, transformer: FluxTransformer2DModel, config: BackboneConfig) -> None:
        super().__init__()
        self.transformer = transformer
        self.config = config
        self.compiled = False
        self.pos_embed = FluxPosEmbed(config.rope_theta, transformer.pos_embed.axes_dim)

    def forward(
        self,
        x: Tensor,
        ids: Tensor,
        timestep: Tensor,
        text: TextEmbedding,
        conditions: Conditions,
        guidance: Tensor | None = None,
        condition_cache: list[KeyValue] | None = None,
    ) -> Tensor:
        """What the model predicts of ``x`` (B, L, in_channels), whose position ids are ``ids``
        (L, 3): (B, L, out_channels).

        ``timestep`` (B,) in 0..1, 1 is noise. ``guidance`` (B,), where the transformer embeds it.
        ``condition_cache``: of ``cache_conditions``, instead of computing the conditions again.
        """
        t = self.transformer
        modulation = self._modulation(timestep, text, guidance)
        blank = torch.zeros(text.tokens.shape[1], 3, device=ids.device)
        words = Stream(
            tokens=t.context_embedder(text.tokens),
            modulation=modulation,
            rope=self.pos_embed(blank),
            text=True,
            adapted=self.config.lora_scope == "all",
        )
        if self.config.attention == "independent":
            if condition_cache is None:
                condition_cache = self._cache_conditions(conditions, timestep, text, guidance)
            target = self._image(x, ids, modulation, adapted=self.config.lora_scope == "all")
            streams = self._run([words, target], condition_cache)
        elif self._alike:
            both = torch.cat([x, conditions.tokens], dim=1)
            everywhere = torch.cat([ids, conditions.ids])
            streams = self._run([words, self._image(both, everywhere, modulation, True)])
        else:
            target = self._image(x, ids, modulation, adapted=self.config.lora_scope == "all")
            conditioning = self._condition_stream(conditions, timestep, text, guidance)
            streams = self._run([words, target, conditioning])
        seen = streams[1].tokens[:, : x.shape[1]]
        return t.proj_out(t.norm_out(seen, modulation))

    def cache_conditions(
        self, conditions: Conditions, text: TextEmbedding, guidance: Tensor | None = None
    ) -> list[KeyValue]:
        """Keys and values of the conditions in every block, good for every timestep. Only where
        ``config.cacheable``; raises ValueError elsewhere."""
        if not self.config.cacheable:
            raise ValueError("conditions change with the timestep: nothing can be kept")
        timestep = torch.zeros(len(conditions.tokens), device=conditions.tokens.device)
        return self._cache_conditions(conditions, timestep, text, guidance)

    @property
    def _alike(self) -> bool:
        """Whether conditions are treated as the target is: one stream is faster than two."""
        return self.config.condition_timestep == "shared" and self.config.lora_scope == "all"

    def _cache_conditions(
        self, conditions: Conditions, timestep: Tensor, text: TextEmbedding, guidance: Tensor | None
    ) -> list[KeyValue]:
        stream = self._condition_stream(conditions, timestep, text, guidance)
        return run_blocks(self.transformer, [stream], compiled=self.compiled, keep=True)[1]

    def _run(
        self, streams: Sequence[Stream], condition_cache: Sequence[KeyValue] = ()
    ) -> list[Stream]:
        return run_blocks(self.transformer, streams, condition_cache, self.compiled)[0]

    def _condition_stream(
        self, conditions: Conditions, timestep: Tensor, text: TextEmbedding, guidance: Tensor | None
    ) -> Stream:
        if self.config.condition_timestep == "zero":
            timestep = torch.zeros_like(timestep)
        modulation = self._modulation(timestep, text, guidance)
        return self._image(conditions.tokens, conditions.ids, modulation, adapted=True)

    def _image(self, tokens: Tensor, ids: Tensor, modulation: Tensor, adapted: bool) -> Stream:
        embedded = self.transformer.x_embedder(tokens)
        return Stream(embedded, modulation, self.pos_embed(ids), text=False, adapted=adapted)

    def _modulation(self, timestep: Tensor, text: TextEmbedding, guidance: Tensor | None) -> Tensor:
        dtype = text.pooled.dtype
        scaled = [1000 * timestep.to(dtype)]
        if guidance is not None:
            scaled.append(1000 * guidance.to(dtype))
        return self.transformer.time_text_embed(*scaled, text.pooled)
