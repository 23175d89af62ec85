"""A SIGMA-GEN model: transformer, image tokenizer, text encoder and their configuration."""

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
from torch import Tensor

from datagen.errors import UserError
from datagen.validation import Count, CountOrZero
from model.controls.control_image import InputSpec, RoutingEncoding
from model.network.encoder_cache import EncoderCache
from model.network.flow_matching import Prediction
from model.network.image_tokenizer import ImageTokenizer, PixelTokenizer, VaeTokenizer
from model.network.initialization import initialize
from model.network.lora import WEIGHTS, LoraConfig, add_lora, load_lora, save_lora
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
WITHOUT_TEXT_ENCODERS = dict.fromkeys(
    ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
)


@dataclass(frozen=True)
class ScratchConfig:
    """A small transformer in pixel space, trained from scratch."""

    patch: Count = 8
    """Edge of a token, in pixels."""
    heads: Count = 4
    """Attention heads per block."""
    double_blocks: CountOrZero = 1
    """Blocks in which text and images have separate weights."""
    single_blocks: CountOrZero = 3
    """Blocks in which text and images share weights."""
    rope: tuple[int, int, int] = (8, 12, 12)
    """Channels of a head for each of the three position ids; their sum is the width of a head."""


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a model and its input."""

    base: ScratchConfig | str
    """A transformer to train from scratch, or the folder of a FLUX.1-Kontext-dev in diffusers'
    layout."""
    format: InputSpec = field(default_factory=InputSpec)
    prediction: Prediction = "v"
    """What the transformer predicts: the velocity (v), as Flux does, or the clean image (x),
    without which a small model learns nothing in pixel space."""
    lora: LoraConfig | None = None
    """LoRA adapters to train, while the weights of a pretrained base stay frozen; null trains all
    weights, in float32."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)


@dataclass(frozen=True)
class TrainingMetadata:
    """Facts about a model's training that sampling depends on."""

    image_dropout: float | None = None
    """As in ``TrainConfig``; None where it is not known."""


@dataclass(frozen=True, eq=False)
class SigmaGen:
    """The parts of a model that training and sampling need.

    Attributes:
        config: architecture and input.
        backbone: the transformer, whose weights are the model's.
        image_tokenizer: frozen.
        encode_text: the text encoder, frozen.
        training_metadata: facts about the model's training.
    """

    config: ModelConfig
    backbone: Backbone
    image_tokenizer: ImageTokenizer
    encode_text: TextEncoder
    training_metadata: TrainingMetadata = TrainingMetadata()

    @property
    def device(self) -> torch.device:
        """Device of the transformer."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the transformer's weights and input."""
        return next(self.backbone.parameters()).dtype

    @property
    def guided(self) -> bool:
        """Whether the transformer embeds a guidance scale, as guidance-distilled Flux models do."""
        return bool(self.backbone.transformer.config.guidance_embeds)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the target's tokens."""
        edge = self.config.format.size // self.image_tokenizer.pixels
        return edge, edge

    @property
    def position_ids(self) -> Tensor:
        """Position ids of the target's tokens, (L, 3)."""
        return grid_ids(*self.grid, device=self.device)

    def conditions(self, sheets: Tensor, controls: Tensor) -> Conditions:
        """Tokenize the conditions, on the transformer's device.

        Args:
            sheets: identity sheets (B, 3, N*S, S) uint8, all of N subjects.
            controls: control images (B, C, H, W) uint8.
        """
        with self._own_precision():
            made = make_conditions(self.image_tokenizer, sheets, controls, self.config.backbone)
        return Conditions(made.tokens.to(self.device, self.dtype), made.ids.to(self.device))

    def targets(self, images: Tensor) -> Tensor:
        """Tokenize target images (B, 3, H, W) uint8, to (B, L, out_channels) on the transformer's
        device."""
        with self._own_precision():
            return self.image_tokenizer.encode(images).to(self.device, self.dtype)

    def text(self, prompts: Sequence[str]) -> TextEmbedding:
        """Encode B prompts, to B rows on the transformer's device."""
        with self._own_precision():
            text = self.encode_text(prompts)
        return TextEmbedding(
            *(part.to(self.device, self.dtype) for part in (text.tokens, text.pooled))
        )

    def _own_precision(self) -> torch.autocast:
        """A context without autocast. What the frozen encoders output is remembered and cached, so
        it must not depend on who asks first: training in bfloat16, or sampling."""
        return torch.autocast(self.device.type, enabled=False)


def check_base(config: ModelConfig, option: str = "--model.base") -> None:
    """Check that a pretrained base is where ``config`` says.

    Args:
        config: of the model.
        option: the command line option that names another folder, for the error message.

    Raises:
        UserError: the folder holds no pipeline in diffusers' layout.
    """
    base = config.base
    if isinstance(base, str) and not (Path(base) / "model_index.json").is_file():
        raise UserError(
            f"model.base: {base!r} holds no model_index.json; expected FLUX.1-Kontext-dev "
            "(34 GB, from black-forest-labs on the Hugging Face hub, licence to be accepted "
            f"there), downloaded to a folder: {option} FOLDER"
        )


def build(
    config: ModelConfig, seed: int, device: str = "cpu", cache: EncoderCache | None = None
) -> SigmaGen:
    """Make a model to train: with fresh weights, or on a pretrained Kontext.

    Args:
        config: architecture and input.
        seed: of the fresh weights or adapters.
        device: where the model is put.
        cache: outputs of the pretrained base's encoders. Given a cache, the text encoders are
            loaded only when the first prompt is missing in it.

    Raises:
        UserError: the pretrained base is absent or incomplete.
    """
    check_base(config)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(config.base, ScratchConfig):
            transformer = _fresh_transformer(config.base, config.format.encoding)
            return _from_scratch(config, transformer, device)
        pipeline = _load_kontext(config.base, **(WITHOUT_TEXT_ENCODERS if cache else {}))
        if config.lora:
            add_lora(pipeline.transformer, config.lora)
        else:
            # A bfloat16 weight has 8 bits: an optimizer's steps would be lost in rounding.
            pipeline.transformer.float()
        return _on_kontext(config, pipeline, device, cache)


def save_model(sigma: SigmaGen, folder: Path) -> None:
    """Write configuration and weights in diffusers' layout: the transformer, or its adapters alone.

    Args:
        sigma: the model.
        folder: made if absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = msgspec.to_builtins(sigma.config) | msgspec.to_builtins(sigma.training_metadata)
    (folder / CONFIG_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(keys), indent=2))
    if sigma.config.lora:
        config, transformer = sigma.config, sigma.backbone.transformer
        save_lora(transformer, folder, str(config.base), config.backbone, config.prediction)
    else:
        sigma.backbone.transformer.save_pretrained(folder / "transformer")


def read_config(folder: Path) -> ModelConfig:
    """Read the configuration of a model that ``save_model`` wrote.

    Raises:
        UserError: ``folder`` holds no such model.
    """
    return _read_keys(folder, ModelConfig)


def load_model(folder: Path, device: str = "cpu", base: str | Path | None = None) -> SigmaGen:
    """Load a model that ``save_model`` wrote.

    Args:
        folder: of the model.
        device: where the model is put.
        base: folder of the pretrained model that it was trained on, if that has moved since.

    Returns:
        The model. LoRA adapters are trainable.

    Raises:
        UserError: ``folder`` holds no model, a file is damaged, the pretrained base is absent, or
            ``base`` is given for a model that was trained from scratch.
    """
    config = read_config(folder)
    if base is not None:
        if isinstance(config.base, ScratchConfig):
            raise UserError(f"base: {base}, but {folder} was trained from scratch: leave it out")
        config = replace(config, base=os.path.abspath(base))
    check_base(config, "--base")
    metadata = _read_keys(folder, TrainingMetadata)
    return replace(_load(config, folder, device), training_metadata=metadata)


def load_flux_vae(base: str, device: str) -> AutoencoderKL:
    """Load only the autoencoder of the Kontext in the folder ``base``, frozen.

    Raises:
        UserError: it is absent or damaged.
    """
    with _readable(base):
        vae = AutoencoderKL.from_pretrained(
            base, subfolder="vae", dtype=torch.bfloat16, use_safetensors=True
        )
    return vae.to(device).requires_grad_(False)


def load_flux_text_encoder(base: str, device: str) -> FluxTextEncoder:
    """Load only the text encoders of the Kontext in the folder ``base``.

    Raises:
        UserError: they are absent or damaged.
    """
    return FluxTextEncoder(_load_kontext(base, transformer=None, vae=None).to(device))


def _fresh_transformer(base: ScratchConfig, encoding: RoutingEncoding) -> FluxTransformer2DModel:
    tokenizer = PixelTokenizer(base.patch, encoding)
    transformer = FluxTransformer2DModel(
        in_channels=tokenizer.in_channels,
        out_channels=tokenizer.out_channels,
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


def _read_keys(folder: Path, kind: type[T]) -> T:
    """Read the keys of the dataclass ``kind`` from the model's file, which has others, too."""
    try:
        return msgspec.json.decode((folder / CONFIG_FILE).read_bytes(), type=kind)
    except FileNotFoundError:
        raise UserError(f"{folder}: no {CONFIG_FILE} there; expected a trained SIGMA-GEN") from None
    except msgspec.MsgspecError as error:
        raise UserError(f"{folder}/{CONFIG_FILE}: {error}") from None


def _load(config: ModelConfig, folder: Path, device: str) -> SigmaGen:
    if isinstance(config.base, ScratchConfig):
        return _from_scratch(config, _load_transformer(folder), device)
    if config.lora:
        pipeline = _load_kontext(config.base)
        with _readable(f"{folder}/{WEIGHTS}", "saved adapters", "save or copy it again"):
            load_lora(pipeline.transformer, config.lora, folder)
    else:
        pipeline = _load_kontext(config.base, transformer=_load_transformer(folder))
    return _on_kontext(config, pipeline, device)


def _load_transformer(folder: Path) -> FluxTransformer2DModel:
    """All its weights were trained, in float32; in bfloat16 much of what they learned is lost."""
    with _readable(f"{folder}/transformer", "a saved transformer", "save or copy it again"):
        return FluxTransformer2DModel.from_pretrained(
            folder / "transformer", dtype=torch.float32, use_safetensors=True
        )


def _load_kontext(folder: str, **parts: Any) -> FluxKontextPipeline:
    with _readable(folder):
        return FluxKontextPipeline.from_pretrained(
            folder, dtype=torch.bfloat16, use_safetensors=True, **parts
        )


@contextmanager
def _readable(
    folder: str,
    expected: str = "a complete FLUX.1-Kontext-dev",
    remedy: str = "download it again",
) -> Iterator[None]:
    """Turn what diffusers, transformers and safetensors raise over files into a UserError."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: not {expected}: {error}; {remedy}") from error


def _from_scratch(
    config: ModelConfig, transformer: FluxTransformer2DModel, device: str
) -> SigmaGen:
    assert isinstance(config.base, ScratchConfig)
    tokenizer = PixelTokenizer(config.base.patch, config.format.encoding, device)
    backbone = Backbone(transformer, config.backbone).to(device)
    return SigmaGen(config, backbone, tokenizer, MemoizedTextEncoder(MiniLmEncoder(device)))


def _on_kontext(
    config: ModelConfig,
    pipeline: FluxKontextPipeline,
    device: str,
    cache: EncoderCache | None = None,
) -> SigmaGen:
    pipeline.to(device)
    pipeline.vae.requires_grad_(False)
    backbone = Backbone(pipeline.transformer, config.backbone)
    text: TextEncoder = FluxTextEncoder(pipeline)
    if cache is not None:
        text = CachedTextEncoder(cache, lambda: load_flux_text_encoder(str(config.base), device))
    return SigmaGen(config, backbone, VaeTokenizer(pipeline.vae, cache), text)
