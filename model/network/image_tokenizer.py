"""Images to tokens and back: by Flux's autoencoder, or as plain patches of pixels.

Given images are (B, C, H, W) uint8 on any device; decoded images are floats in [-1, 1]. Tokens are
floats (B, L, channels) in row-major order, on the device of the tokenizer.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from model.controls.control_image import RoutingEncoding, control_image
from model.controls.regions import mask_region
from model.network.encoder_cache import EncoderCache


class ImageTokenizer(Protocol):
    """Converts the three kinds of image (target, identity sheet, control image) to tokens.

    Attributes:
        pixels: edge of the square that one token covers, in pixels.
        in_channels: channels of a token that the transformer takes. All kinds of image pass
            through the same linear layer, so they have the same number.
        out_channels: channels of a token that the transformer predicts.
    """

    pixels: int
    in_channels: int
    out_channels: int

    def encode(self, images: Tensor) -> Tensor:
        """Tokens (B, L, out_channels) of RGB images (B, 3, H, W) uint8, whose sides are multiples
        of ``pixels``: what the transformer learns to predict."""

    def decode(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """Images (B, 3, rows * pixels, columns * pixels), in about [-1, 1], of tokens
        (B, rows * columns, out_channels): the inverse of ``encode``."""

    def image_tokens(self, tokens: Tensor) -> Tensor:
        """Transformer input (B, L, in_channels) for noisy targets (B, L, out_channels)."""

    def sheet_tokens(self, sheet: Tensor) -> Tensor:
        """Transformer input (B, N * (S / pixels)**2, in_channels) for identity sheets
        (B, 3, N*S, S) uint8, block after block."""

    def control_tokens(self, control: Tensor) -> Tensor:
        """Transformer input (B, L, in_channels) for control images (B, C, H, W) uint8."""


def signed(picture: Tensor) -> Tensor:
    """Convert uint8 to float32 in [-1, 1]."""
    return picture.float() / 127.5 - 1


class PixelTokenizer:
    """Lossless patches of pixels, for models that are small enough to train from scratch.

    Each kind of token has input channels of its own, which are zero for the other kinds, and
    therefore weights of its own: with shared weights only the position distinguishes the kinds. A
    block of the sheet names its subject in the same way as the control image does: the control's
    channels hold that subject's routing values, constant over the block.

    Args:
        patch: edge of a patch, in pixels.
        encoding: how control images encode which subject a pixel belongs to.
        device: where tokens are computed.
    """

    def __init__(self, patch: int, encoding: RoutingEncoding, device: str = "cpu") -> None:
        self.pixels = patch
        self.out_channels = 3 * patch**2
        self.in_channels = 2 * self.out_channels + encoding.channels * patch**2
        self._encoding, self._device = encoding, device

    def encode(self, images: Tensor) -> Tensor:
        # Moved as bytes: a quarter of the transfer to a GPU, where the conversion costs nothing.
        pictures = signed(images.to(self._device))
        return F.pixel_unshuffle(pictures, self.pixels).flatten(2).transpose(1, 2)

    def decode(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), self.pixels)

    def image_tokens(self, tokens: Tensor) -> Tensor:
        return F.pad(tokens, (0, self.in_channels - self.out_channels))

    def sheet_tokens(self, sheet: Tensor) -> Tensor:
        count = sheet.shape[2] // sheet.shape[3]
        tokens = self.encode(sheet)
        tags = _tags(count, self.pixels, self._encoding, tokens.device).to(tokens.dtype)
        tags = tags.repeat_interleave(tokens.shape[1] // count, dim=0).expand(len(tokens), -1, -1)
        return F.pad(torch.cat([tokens, tags], dim=2), (self.out_channels, 0))

    def control_tokens(self, control: Tensor) -> Tensor:
        return F.pad(self.encode(control), (2 * self.out_channels, 0))


@cache
def _tags(count: int, patch: int, encoding: RoutingEncoding, device: torch.device) -> Tensor:
    """Control tokens (count, channels): token i is that of a patch which subject i fills."""
    whole = np.eye(count, dtype=bool)[:, :, None, None]
    planes = [control_image([mask_region(mask) for mask in masks], encoding) for masks in whole]
    intensities = signed(torch.from_numpy(np.stack(planes))).flatten(1)
    return intensities.repeat_interleave(patch**2, dim=1).to(device)


class VaeTokenizer:
    """Flux's autoencoder and its 2 x 2 packing of latents, for all kinds of image, as in the paper.
    The three channels of a control image are encoded as colours.

    The blocks of a sheet are encoded one by one: the autoencoder's attention would mix subjects,
    and so a reference has the same latent whatever the other blocks are, and can be cached.

    Args:
        vae: the autoencoder, frozen.
        cache: latents of targets and sheet blocks that were encoded before, if any. Control
            images are always encoded.
    """

    def __init__(self, vae: AutoencoderKL, cache: EncoderCache | None = None) -> None:
        self.vae, self._cache = vae, cache
        scale = 2 ** (len(vae.config.block_out_channels) - 1)
        self.pixels = 2 * scale
        self.in_channels = self.out_channels = 4 * vae.config.latent_channels

    def encode(self, images: Tensor) -> Tensor:
        if self._cache is None:
            return self._encode(images)
        cached = [self._cache.picture(image) for image in images]
        return torch.stack(
            [
                self._encode(image[None])[0] if tokens is None else tokens.to(self.vae.device)
                for image, tokens in zip(images, cached, strict=True)
            ]
        )

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Tensor:
        config = self.vae.config
        pictures = signed(images.to(self.vae.device)).to(self.vae.dtype)
        latents = self.vae.encode(pictures).latent_dist.mode()
        latents = (latents - config.shift_factor) * config.scaling_factor
        return F.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)

    @torch.no_grad()
    def decode(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        config = self.vae.config
        latents = F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), 2)
        latents = latents / config.scaling_factor + config.shift_factor
        return self.vae.decode(latents.to(self.vae.dtype), return_dict=False)[0]

    def image_tokens(self, tokens: Tensor) -> Tensor:
        return tokens

    def sheet_tokens(self, sheet: Tensor) -> Tensor:
        edge = sheet.shape[3]
        blocks = sheet.unflatten(2, (-1, edge)).transpose(1, 2).flatten(0, 1)
        return self.encode(blocks).unflatten(0, (len(sheet), -1)).flatten(1, 2)

    def control_tokens(self, control: Tensor) -> Tensor:
        return self._encode(control)
