"""LoRA on a Flux transformer, in and out of the files that stock diffusers reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import peft
import torch
from diffusers import FluxKontextPipeline, FluxTransformer2DModel
from safetensors.torch import load_file

from datagen.validation import Count
from model.network.flow_matching import Prediction
from model.network.transformer import BackboneConfig

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
project.

{stock}"""

STOCK = """\
The adapters alone, in stock diffusers:

    pipeline = FluxKontextPipeline.from_pretrained("{base}")
    pipeline.load_lora_weights("FOLDER")

`{weights}` has the layer names of diffusers and an `.alpha` tensor per layer, as
diffusers and ComfyUI read them: adapter output is scaled by alpha / rank = {scale:g}.
"""

NOT_STOCK = """\
**Only `SigmaGenPipeline` computes this model.** Other programs, such as
`FluxKontextPipeline.load_lora_weights` or ComfyUI, load `{weights}` without an
error, but generate other images than this model does, because in this model:

{differences}
"""


def save_lora(
    transformer: FluxTransformer2DModel,
    folder: Path,
    base: str,
    backbone: BackboneConfig,
    prediction: Prediction,
) -> None:
    """Write adapters that ``FluxKontextPipeline.load_lora_weights(folder)`` reads, and a model
    card.

    Alpha is stored as one ``.alpha`` tensor per layer. diffusers and ComfyUI both read these;
    diffusers would also read the adapter's configuration from the file's metadata, but ComfyUI does
    not, and diffusers refuses a file that has both.

    Args:
        transformer: the adapted transformer.
        folder: where the files are written; it must exist.
        base: folder or name of the pretrained model, for the model card.
        backbone: how the model applies the transformer, for the model card.
        prediction: what the transformer predicts, for the model card.
    """
    config = transformer.peft_config["default"]
    differences = _differences(backbone, prediction)
    (folder / "README.md").write_text(_card(base, config.r, config.lora_alpha, differences))
    weights = peft.get_peft_model_state_dict(transformer)
    layers = {name.rpartition(".lora_")[0] for name in weights}
    alphas = {f"{layer}.alpha": torch.tensor(float(config.lora_alpha)) for layer in layers}
    FluxKontextPipeline.save_lora_weights(folder, transformer_lora_layers=weights | alphas)


def load_lora(transformer: FluxTransformer2DModel, config: LoraConfig, folder: Path) -> None:
    """Add the adapters that ``save_lora`` wrote to ``transformer``, trainable.

    Args:
        transformer: the transformer of the pretrained model.
        config: rank and alpha of the adapters. Alpha is not taken from the file, since files of
            earlier versions have no ``.alpha`` tensors.
        folder: the folder that ``save_lora`` wrote to.

    Raises:
        ValueError: the file has adapters of other layers.
    """
    saved = load_file(folder / WEIGHTS)
    weights = {
        name.removeprefix("transformer."): tensor
        for name, tensor in saved.items()
        if not name.endswith(".alpha")
    }
    with torch.random.fork_rng():
        add_lora(transformer, config)
    if weights.keys() != peft.get_peft_model_state_dict(transformer).keys():
        raise ValueError("adapters of other layers than those of the model")
    peft.set_peft_model_state_dict(transformer, weights)


def _card(base: str, rank: int, alpha: int, differences: Sequence[str]) -> str:
    name = base.rstrip("/").rpartition("/")[2]
    if differences:
        listed = "\n".join(f"- {difference}" for difference in differences)
        stock = NOT_STOCK.format(weights=WEIGHTS, differences=listed)
    else:
        stock = STOCK.format(base=name, weights=WEIGHTS, scale=alpha / rank)
    return CARD.format(base=name, rank=rank, alpha=alpha, stock=stock)


def _differences(backbone: BackboneConfig, prediction: Prediction) -> list[str]:
    """How the model differs from what stock programs compute with its adapters, one line each."""
    stock = BackboneConfig()
    lines = {
        "lora_scope": "the adapters act on the tokens of the conditions (references and controls) "
        "alone, elsewhere on all tokens (`lora_scope: condition`)",
        "condition_timestep": "the conditions have timestep 0 (`condition_timestep: zero`)",
        "attention": "the conditions attend to the conditions alone (`attention: independent`)",
        "rope_theta": f"the rotary embedding has base {backbone.rope_theta} (`rope_theta`)",
    }
    found = [line for key, line in lines.items() if getattr(backbone, key) != getattr(stock, key)]
    if prediction != "v":
        found.append("the transformer predicts the clean image, not the velocity (`prediction: x`)")
    return found
