"""LoRA on a Flux transformer, in and out of the files that stock diffusers reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import peft
import torch
from diffusers import FluxKontextPipeline, FluxTransformer2DModel

from datagen.validation import Count

WEIGHTS = "pytorch_lora_weights.safetensors"
"""The name that ``load_lora_weights`` looks for."""

LAYERS = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
    "ff.net.0.proj",
    "ff.net.2",
    "ff_context.net.0.proj",
    "ff_context.net.2",
    "proj_mlp",
    "proj_out",
)
"""The adapted layers, all matrices of the blocks, by the ends of their names. The paper does not
say which layers it adapts: these are the ones of diffusers' own Flux training script, and the MLP
of the single-stream blocks."""


@dataclass(frozen=True)
class LoraConfig:
    """LoRA adapters, with the paper's rank and alpha."""

    rank: Count = 128
    """Rank of the adapters."""
    alpha: Count = 128
    """Adapter output is scaled by alpha / rank."""


def add_lora(transformer: FluxTransformer2DModel, config: LoraConfig) -> None:
    """Freeze ``transformer`` and add trainable adapters, whose output is zero at first. Adapters
    are float32, so that the optimizer's small steps are not lost to rounding."""
    transformer.requires_grad_(False)
    pattern = "|".join(layer.replace(".", r"\.") for layer in LAYERS)
    transformer.add_adapter(
        peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            init_lora_weights="gaussian",
            target_modules=rf".*_blocks\.\d+\.({pattern})",
        )
    )
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


CARD = """\
---
base_model: {base}
library_name: diffusers
license: other
license_name: flux-1-dev-non-commercial-license
tags: [flux, lora, subject-driven, sigma-gen]
---
# SIGMA-GEN, a LoRA for {base}

Places several given subjects in one picture, each where a box, a mask or depth says (arXiv
2510.06469). Rank {rank}, alpha {alpha}. A derivative of {base}, under that model's licence.

The whole model, with references and controls: `SigmaGenPipeline.from_pretrained(FOLDER)` of this
project. The adapters alone, in stock diffusers:

    pipeline = FluxKontextPipeline.from_pretrained("{base}")
    pipeline.load_lora_weights("FOLDER")
"""


def save_lora(transformer: FluxTransformer2DModel, folder: Path, base: str) -> None:
    """Write adapters that ``FluxKontextPipeline.load_lora_weights(folder)`` reads, and a model
    card.

    Args:
        transformer: the adapted transformer.
        folder: where the files are written; it must exist.
        base: folder or name of the pretrained model, for the model card.
    """
    config = transformer.peft_config["default"]
    name = base.rstrip("/").rpartition("/")[2]
    text = CARD.format(base=name, rank=config.r, alpha=config.lora_alpha)
    (folder / "README.md").write_text(text)
    FluxKontextPipeline.save_lora_weights(
        folder,
        transformer_lora_layers=peft.get_peft_model_state_dict(transformer),
        transformer_lora_adapter_metadata=config.to_dict(),
    )


def load_lora(pipeline: FluxKontextPipeline, folder: Path) -> None:
    """Add the adapters that ``save_lora`` wrote to the transformer of ``pipeline``, trainable."""
    pipeline.load_lora_weights(folder, weight_name=WEIGHTS, adapter_name="default")
