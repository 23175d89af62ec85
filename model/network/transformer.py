"""SIGMA-GEN's forward pass: ``[P, X, I_S, I_C]`` through a diffusers Flux transformer.

P is the text, X the noisy target, I_S the identity sheet, I_C the control image (paper, section 4).
The output is a prediction for X only.
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
    """How tokens are positioned, attended to and adapted.

    The paper does not say all of it, and the small presets differ from it. The defaults are those
    of the ``kontext`` preset; "assumed" marks what the paper does not say.
    """

    condition_timestep: Literal["shared", "zero"] = "shared"
    """Timestep that modulates the conditions: the target's ("shared"), or always 0 ("zero").
    Assumed: shared."""
    lora_scope: Literal["all", "condition"] = "all"
    """Tokens that LoRA applies to: all, or the conditions only. Assumed: all."""
    attention: Literal["full", "independent"] = "full"
    """Attention: all tokens attend to all tokens ("full"), or conditions only to conditions
    ("independent"). With independent attention and condition_timestep zero, the keys and values of
    the conditions are the same at every sampling step and are computed once."""
    sheet_positions: Literal["stacked", "per_block"] = "stacked"
    """Position ids of the identity sheet: (1, row, column) over the whole sheet ("stacked"), or
    (i, row, column) in the block of subject i ("per_block")."""
    rope_theta: Count = 10_000
    """Base of the rotary frequencies; small images need a smaller base than Flux's 10,000."""

    @property
    def cacheable(self) -> bool:
        """Whether the conditions' keys and values are the same at every timestep."""
        return self.condition_timestep == "zero" and self.attention == "independent"


@dataclass(frozen=True, eq=False)
class TextEmbedding:
    """Encoded prompts.

    Attributes:
        tokens: (B, L, D), the input of the attention blocks.
        pooled: (B, D'), part of the modulation.
    """

    tokens: Tensor
    pooled: Tensor


@dataclass(frozen=True, eq=False)
class Conditions:
    """I_S and I_C as transformer input.

    Attributes:
        tokens: (B, L, in_channels), the identity sheet's first, then the control image's.
        ids: their position ids (L, 3) float32, the same for the whole batch.
    """

    tokens: Tensor
    ids: Tensor

    def keep(self, rows: Tensor) -> Conditions:
        """Set the tokens of samples to 0, which means no conditions, where ``rows`` (B,) bool is
        False."""
        return Conditions(self.tokens * rows[:, None, None].to(self.tokens), self.ids)


def grid_ids(rows: int, columns: int, first: int = 0, device: Device = "cpu") -> Tensor:
    """Position ids (first, row, column) of a grid of tokens, in row-major order.

    Args:
        rows: height of the grid, in tokens.
        columns: width of the grid, in tokens.
        first: first id of every token.
        device: where the ids are made. A copy to a GPU would wait for all queued work there.

    Returns:
        (rows * columns, 3) float32: bfloat16 cannot represent 257.
    """
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
    """Position ids of an identity sheet's tokens.

    Args:
        subjects: number of blocks.
        edge: edge of a block, in tokens.
        positions: as ``BackboneConfig.sheet_positions``.
        device: where the ids are made.

    Returns:
        (subjects * edge**2, 3) float32.
    """
    if positions == "stacked":
        return grid_ids(subjects * edge, edge, first=1, device=device)
    return torch.cat([grid_ids(edge, edge, i + 1, device) for i in range(subjects)])


def make_conditions(
    tokenizer: ImageTokenizer, sheet: Tensor, control: Tensor, config: BackboneConfig
) -> Conditions:
    """Tokenize identity sheets and control images.

    Args:
        tokenizer: of the model.
        sheet: identity sheets (B, 3, N*S, S) uint8, N subjects each.
        control: control images (B, C, H, W) uint8.
        config: gives the sheet's position ids. A control image has the position ids of X.

    Returns:
        The conditions, on the tokenizer's device.
    """
    height, width = (edge // tokenizer.pixels for edge in control.shape[2:])
    edge = sheet.shape[3] // tokenizer.pixels
    subjects = sheet.shape[2] // sheet.shape[3]
    tokens = torch.cat([tokenizer.sheet_tokens(sheet), tokenizer.control_tokens(control)], dim=1)
    of_sheet = sheet_ids(subjects, edge, config.sheet_positions, tokens.device)
    of_control = grid_ids(height, width, device=tokens.device)
    return Conditions(tokens, torch.cat([of_sheet, of_control]))


class Backbone(torch.nn.Module):
    """SIGMA-GEN's forward pass. It adds no weights to those of the transformer.

    Args:
        transformer: a Flux transformer, with or without LoRA adapters.
        config: positions, attention and adapters.

    Attributes:
        compiled: whether blocks run through torch.compile. False until it is set.
    """

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
        """Predict the velocity or the clean image of noisy targets.

        Args:
            x: noisy targets X as transformer input (B, L, in_channels).
            ids: their position ids (L, 3) float32, the same for the whole batch.
            timestep: (B,) in 0..1, where 1 is noise.
            text: the encoded prompts P, B rows.
            conditions: I_S and I_C, B rows.
            guidance: guidance scale (B,), for transformers that embed one; otherwise None.
            condition_cache: result of ``cache_conditions``, which is used in place of
                ``conditions``. Only where ``config.cacheable``.

        Returns:
            The prediction (B, L, out_channels).
        """
        t = self.transformer
        modulation = self._modulation(timestep, text, guidance)
        text_ids = torch.zeros(text.tokens.shape[1], 3, device=ids.device)
        words = Stream(
            tokens=t.context_embedder(text.tokens),
            modulation=modulation,
            rope=self.pos_embed(text_ids),
            text=True,
            adapted=self.config.lora_scope == "all",
        )
        if self.config.attention == "independent":
            if condition_cache is None:
                condition_cache = self._cache_conditions(conditions, timestep, text, guidance)
            target = self._image(x, ids, modulation, adapted=self.config.lora_scope == "all")
            streams = self._run([words, target], condition_cache)
        elif self._one_stream:
            tokens = torch.cat([x, conditions.tokens], dim=1)
            all_ids = torch.cat([ids, conditions.ids])
            streams = self._run([words, self._image(tokens, all_ids, modulation, True)])
        else:
            target = self._image(x, ids, modulation, adapted=self.config.lora_scope == "all")
            conditioning = self._condition_stream(conditions, timestep, text, guidance)
            streams = self._run([words, target, conditioning])
        target_tokens = streams[1].tokens[:, : x.shape[1]]
        return t.proj_out(t.norm_out(target_tokens, modulation))

    def cache_conditions(
        self, conditions: Conditions, text: TextEmbedding, guidance: Tensor | None = None
    ) -> list[KeyValue]:
        """Compute the keys and values of the conditions in every block, once for all timesteps.

        Args:
            conditions: I_S and I_C, B rows.
            text: the encoded prompts, B rows; their pooled vectors modulate the conditions.
            guidance: as ``forward`` takes it.

        Returns:
            Keys and values, one entry per block.

        Raises:
            ValueError: the conditions depend on the timestep; see ``config.cacheable``.
        """
        if not self.config.cacheable:
            raise ValueError(
                "the conditions depend on the timestep and cannot be cached; expected "
                "condition_timestep zero and attention independent"
            )
        timestep = torch.zeros(len(conditions.tokens), device=conditions.tokens.device)
        return self._cache_conditions(conditions, timestep, text, guidance)

    @property
    def _one_stream(self) -> bool:
        """Whether target and conditions can share a stream, which is faster than two."""
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
