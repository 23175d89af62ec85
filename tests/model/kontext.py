"""A FLUX.1-Kontext-dev in its layout on disk: diffusers' and transformers' own classes and files,
with few channels and random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from model.data.batch import Batch

WIDTH = 32
SIZE, SHEET = 32, 16
"""Pixels of the side of an image, and of an identity view, in ``random_batch``."""
WORDS = ["<pad>", "</s>", "<unk>", "a", "chair", "in", "room", "place", "these", "subjects"]


def save_kontext(folder: Path) -> Path:
    """What ``from_pretrained`` expects of the real one, 34 GB smaller."""
    torch.manual_seed(0)
    pipeline = FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            base_shift=0.5, max_shift=1.15, use_dynamic_shifting=True
        ),
        vae=AutoencoderKL(
            latent_channels=4,
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            use_quant_conv=False,
            use_post_quant_conv=False,
            scaling_factor=0.3611,
            shift_factor=0.1159,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=300,
                hidden_size=WIDTH,
                intermediate_size=WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                projection_dim=WIDTH,
                bos_token_id=0,
                eos_token_id=2,
            )
        ),
        tokenizer=_clip_tokenizer(folder.parent / "clip"),
        text_encoder_2=T5EncoderModel(
            T5Config(
                vocab_size=len(WORDS), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2
            )
        ),
        tokenizer_2=_t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        ),
    )
    pipeline.to(torch.bfloat16).save_pretrained(folder)
    return folder


def _clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Of single bytes, merging none."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        vocab_file=str(folder / "vocab.json"),
        merges_file=str(folder / "merges.txt"),
        model_max_length=77,
    )


def _t5_tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )


def random_batch(generator: torch.Generator) -> Batch:
    """Two samples of two subjects, of noise."""

    def draw(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    return Batch(
        images=draw(2, 3, SIZE, SIZE),
        sheets=draw(2, 3, 2 * SHEET, SHEET),
        controls=draw(2, 3, SIZE, SIZE),
        subjects=draw(2, SIZE, SIZE) % 3,
        prompts=["place these subjects in a room"] * 2,
        keys=["a", "b"],
        granularities=[("mask", "mask")] * 2,
        n_subjects=2,
    )
