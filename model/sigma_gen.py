"""SIGMA-GEN whole: transformer, codec and text encoder, and what they were made for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from diffusers import AutoencoderKL, FluxKontextPipeline, FluxTransformer2DModel
from safetensors import SafetensorError
from torch import Tensor, nn

from datagen.errors import UserError
from datagen.validation import Count, CountOrZero
from model.controls.regions import Encoding, Format
from model.network.encoder_cache import EncoderCache
from model.network.flow_matching import Prediction
from model.network.image_tokenizer import ImageTokenizer, PixelTokenizer, VaeTokenizer
from model.network.lora import LoraConfig, add_lora, load_lora, save_lora
from model.network.text_encoder import (
    MINILM_WIDTH,
    CachedTextEncoder,
    FluxTextEncoder,
    MemoizedTextEncoder,
    MiniLmEncoder,
    TextEncoder,
)
from model.network.transformer import (
    Backbone,
    BackboneConfig,
    Conditions,
    TextEmbedding,
    grid_ids,
    make_conditions,
)

T = TypeVar("T")

CONFIG_FILE = "sigma_gen.json"
NO_TEXT = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))


@dataclass(frozen=True)
class ScratchConfig:
    """A small transformer in pixel space."""

    patch: Count = 8
    """Pixels along a token."""
    heads: Count = 4
    """Of attention, in each block."""
    double_blocks: CountOrZero = 1
    """Blocks in which text and pictures have weights of their own."""
    single_blocks: CountOrZero = 3
    """Blocks in which they share them."""
    rope: tuple[int, int, int] = (8, 12, 12)
    """The head's channels for each of the three position ids; their sum is the head's width."""


@dataclass(frozen=True)
class ModelConfig:
    """What a model is, apart from its weights."""

    base: ScratchConfig | str
    """A transformer to build, or the folder of a FLUX.1-Kontext-dev in diffusers' layout."""
    format: Format = field(default_factory=Format)
    prediction: Prediction = "v"
    """What the transformer predicts: the velocity, as Flux does, or the picture itself, without
    which a small model learns nothing in pixel space."""
    lora: LoraConfig | None = None
    """Train adapters, and leave the weights of ``base`` as they are."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)


@dataclass(frozen=True)
class TrainingMetadata:
    """What its user should know of a model's training."""

    image_dropout: float | None = None
    """As in ``TrainConfig``; None where that is not known."""


@dataclass(frozen=True, eq=False)
class SigmaGen:
    """All that it takes to train or to sample. Weights are those of ``backbone``; codec and text
    encoder are frozen."""

    config: ModelConfig
    backbone: Backbone
    codec: ImageTokenizer
    encode_text: TextEncoder
    training_metadata: TrainingMetadata = TrainingMetadata()

    @property
    def device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.backbone.parameters()).dtype

    @property
    def guided(self) -> bool:
        """Whether the transformer takes a guidance scale, as distilled Flux models do."""
        return bool(self.backbone.transformer.config.guidance_embeds)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the target's tokens."""
        edge = self.config.format.size // self.codec.pixels
        return edge, edge

    @property
    def position_ids(self) -> Tensor:
        """Of the target's tokens, (L, 3)."""
        return grid_ids(*self.grid, device=self.device)

    def conditions(self, sheets: Tensor, controls: Tensor) -> Conditions:
        """From uint8 sheets (B, 3, N*S, S) and control images (B, C, H, W)."""
        made = make_conditions(self.codec, sheets, controls, self.config.backbone)
        return Conditions(made.tokens.to(self.device, self.dtype), made.ids.to(self.device))

    def targets(self, images: Tensor) -> Tensor:
        """Of uint8 images (B, 3, H, W), (B, L, out_channels)."""
        return self.codec.encode(images).to(self.device, self.dtype)

    def text(self, prompts: Sequence[str]) -> TextEmbedding:
        text = self.encode_text(prompts)
        return TextEmbedding(
            *(part.to(self.device, self.dtype) for part in (text.tokens, text.pooled))
        )


def check_base(config: ModelConfig, option: str = "--model.base") -> None:
    """Raises UserError, with the ``option`` that names another, where there is no such pretrained
    model."""
    base = config.base
    if isinstance(base, str) and not (Path(base) / "model_index.json").is_file():
        raise UserError(
            f"model.base: {base!r} holds no model_index.json; expected FLUX.1-Kontext-dev "
            "(34 GB, from black-forest-labs on the Hugging Face hub, licence to be accepted "
            f"there), downloaded to a folder: {option} FOLDER"
        )


def build(
    config: ModelConfig, seed: int, device: str = "cpu", encoded: EncoderCache | None = None
) -> SigmaGen:
    """A model to train: with fresh weights, or on a pretrained Kontext. ``encoded``: by the
    latter's encoders; those of text are then loaded only for a prompt that is not there. Raises
    UserError."""
    check_base(config)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(config.base, ScratchConfig):
            fresh = _fresh(config.base, config.format.encoding)
            return _from_scratch(config, fresh, device)
        pipeline = _kontext(config.base, **(NO_TEXT if encoded else {}))
        if config.lora:
            add_lora(pipeline.transformer, config.lora)
        return _on_kontext(config, pipeline, device, encoded)


def _fresh(base: ScratchConfig, encoding: Encoding) -> FluxTransformer2DModel:
    codec = PixelTokenizer(base.patch, encoding)
    transformer = FluxTransformer2DModel(
        in_channels=codec.in_channels,
        out_channels=codec.out_channels,
        num_layers=base.double_blocks,
        num_single_layers=base.single_blocks,
        attention_head_dim=sum(base.rope),
        num_attention_heads=base.heads,
        joint_attention_dim=MINILM_WIDTH,
        pooled_projection_dim=MINILM_WIDTH,
        axes_dims_rope=base.rope,
    )
    initialize(transformer)
    return transformer


def initialize(transformer: FluxTransformer2DModel) -> None:
    """Fresh weights that learn in minutes.

    Modulation starts at none with every gate open, so that all blocks are at work from the first
    step. Half of the heads start by attending to the tokens of their own position, which is what
    a control image means: see ``_look_in_place``.
    """
    for layer in transformer.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    width, rope = transformer.inner_dim, transformer.config.axes_dims_rope
    for block in transformer.transformer_blocks:
        for norm in (block.norm1, block.norm1_context):
            _open(norm.linear, gates=(2, 5), width=width)
    for block in transformer.single_transformer_blocks:
        _open(block.norm.linear, gates=(2,), width=width)
    for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
        _look_in_place(block.attn, rope)
    nn.init.zeros_(transformer.norm_out.linear.weight)
    nn.init.zeros_(transformer.proj_out.weight)


def _look_in_place(attention: Any, rope: Sequence[int]) -> None:
    """Give the first half of the heads a bias common to queries and keys, which rotary positions
    turn into a preference for tokens of the same row and column.

    It is strong, and only in the two fastest pairs of channels of either id: slower ones hardly
    tell neighbours apart. A token of X so has a third of its attention on the control at its own
    place. With a bias of 1 in all channels it is 1%, twice what chance gives, and in the first
    minutes no subject is bound to its place (docs/recipe.md).
    """
    pattern = torch.cat([torch.zeros(rope[0]), *(_fastest(size) for size in rope[1:])])
    heads = attention.heads // 2
    for projection in (attention.to_q, attention.to_k):
        projection.bias.data[: heads * len(pattern)] = pattern.repeat(heads)
    for norm in (attention.norm_q, attention.norm_k):
        nn.init.constant_(norm.weight, 2.0)


def _fastest(size: int) -> Tensor:
    pattern = torch.zeros(size)
    pattern[:4] = 8.0
    return pattern


def _open(linear: nn.Linear, gates: Sequence[int], width: int) -> None:
    """``linear`` makes shifts, scales and gates of ``width`` each, in diffusers' order."""
    nn.init.zeros_(linear.weight)
    for gate in gates:
        nn.init.ones_(linear.bias[gate * width : (gate + 1) * width])


def save_model(sigma: SigmaGen, folder: Path) -> None:
    """Configuration and weights in diffusers' layout: the transformer, or its adapters alone."""
    folder.mkdir(parents=True, exist_ok=True)
    told = msgspec.to_builtins(sigma.config) | msgspec.to_builtins(sigma.training_metadata)
    (folder / CONFIG_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2))
    if sigma.config.lora:
        save_lora(sigma.backbone.transformer, folder, str(sigma.config.base))
    else:
        sigma.backbone.transformer.save_pretrained(folder / "transformer")


def read_config(folder: Path) -> ModelConfig:
    """Of what ``save_model`` wrote. Raises UserError."""
    return _told(folder, ModelConfig)


def _told(folder: Path, kind: type[T]) -> T:
    """The keys of ``kind``; the others in the file are another's."""
    try:
        return msgspec.json.decode((folder / CONFIG_FILE).read_bytes(), type=kind)
    except FileNotFoundError:
        raise UserError(f"{folder}: no {CONFIG_FILE} there; expected a trained SIGMA-GEN") from None
    except msgspec.MsgspecError as error:
        raise UserError(f"{folder}/{CONFIG_FILE}: {error}") from None


def load_model(folder: Path, device: str = "cpu", base: str | Path | None = None) -> SigmaGen:
    """What ``save_model`` wrote. ``base``: where the pretrained model lies that it was trained on,
    if not where it lay then. Raises UserError."""
    config = read_config(folder)
    if base is not None:
        if isinstance(config.base, ScratchConfig):
            raise UserError(f"base: {base}, but {folder} was trained from scratch: leave it out")
        config = replace(config, base=os.path.abspath(base))
    check_base(config, "--base")
    return replace(
        _loaded(config, folder, device), training_metadata=_told(folder, TrainingMetadata)
    )


def _loaded(config: ModelConfig, folder: Path, device: str) -> SigmaGen:
    if isinstance(config.base, ScratchConfig):
        return _from_scratch(config, _saved_transformer(folder, torch.float32), device)
    if config.lora:
        pipeline = _kontext(config.base)
        load_lora(pipeline, folder)
    else:
        pipeline = _kontext(config.base, transformer=_saved_transformer(folder, torch.bfloat16))
    return _on_kontext(config, pipeline, device)


def _saved_transformer(folder: Path, dtype: torch.dtype) -> FluxTransformer2DModel:
    with _readable(f"{folder}/transformer", "one that was saved", "save or copy it again"):
        return FluxTransformer2DModel.from_pretrained(
            folder / "transformer", dtype=dtype, use_safetensors=True
        )


def _from_scratch(
    config: ModelConfig, transformer: FluxTransformer2DModel, device: str
) -> SigmaGen:
    assert isinstance(config.base, ScratchConfig)
    codec = PixelTokenizer(config.base.patch, config.format.encoding, device)
    backbone = Backbone(transformer, config.backbone).to(device)
    return SigmaGen(config, backbone, codec, MemoizedTextEncoder(MiniLmEncoder(device)))


def _kontext(folder: str, **parts: Any) -> FluxKontextPipeline:
    with _readable(folder):
        return FluxKontextPipeline.from_pretrained(
            folder, dtype=torch.bfloat16, use_safetensors=True, **parts
        )


@contextmanager
def _readable(
    folder: str, whole: str = "a complete FLUX.1-Kontext-dev", mend: str = "fetch it again"
) -> Iterator[None]:
    """What diffusers, transformers and safetensors raise over files, as a UserError."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: not {whole}: {error}; {mend}") from error


def _on_kontext(
    config: ModelConfig,
    pipeline: FluxKontextPipeline,
    device: str,
    encoded: EncoderCache | None = None,
) -> SigmaGen:
    pipeline.to(device)
    pipeline.vae.requires_grad_(False)
    backbone = Backbone(pipeline.transformer, config.backbone)
    text: TextEncoder = FluxTextEncoder(pipeline)
    if encoded is not None:
        text = CachedTextEncoder(encoded, lambda: load_flux_text_encoder(str(config.base), device))
    return SigmaGen(config, backbone, VaeTokenizer(pipeline.vae, encoded), text)


def load_flux_vae(base: str, device: str) -> AutoencoderKL:
    """The autoencoder of a Kontext, alone."""
    with _readable(base):
        vae = AutoencoderKL.from_pretrained(
            base, subfolder="vae", dtype=torch.bfloat16, use_safetensors=True
        )
    return vae.to(device).requires_grad_(False)


def load_flux_text_encoder(base: str, device: str) -> FluxTextEncoder:
    """The text encoders of a Kontext, alone."""
    return FluxTextEncoder(_kontext(base, transformer=None, vae=None).to(device))
