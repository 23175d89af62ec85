"""Pictures to tokens and back: Flux's autoencoder, or plain patches of pixels.

Pictures are (B, C, H, W) uint8, wherever they are, painted ones floats in [-1, 1]; tokens
(B, L, channels) floats in row-major order, on the device that the codec works on.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from model.controls.regions import Encoding, control_image, mask_region
from model.network.encoder_cache import EncoderCache


class ImageTokenizer(Protocol):
    """``pixels``: edge of the square that one token covers. ``in_channels``: of what the
    transformer takes; ``out_channels``: of what it predicts. All three kinds of picture enter
    through one linear layer, so they agree in ``in_channels``."""

    pixels: int
    in_channels: int
    out_channels: int

    def encode(self, images: Tensor) -> Tensor:
        """Targets (B, L, out_channels)."""

    def decode(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """Painted pictures (B, 3, H, W) of targets."""

    def image_tokens(self, tokens: Tensor) -> Tensor:
        """Noisy targets as the transformer takes them."""

    def sheet_tokens(self, sheet: Tensor) -> Tensor:
        """Identity sheets (B, 3, N*S, S) as the transformer takes them."""

    def control_tokens(self, control: Tensor) -> Tensor:
        """Control images (B, C, H, W) as the transformer takes them."""


def signed(picture: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]."""
    return picture.float() / 127.5 - 1


class PixelTokenizer:
    """Lossless patches, for models small enough to train from scratch.

    Each kind of token has channels of its own in the input, zero for the others, and so weights
    of its own: through shared ones the kinds are told apart by position alone. A block of the
    sheet says whose it is as the control image says it: by the routing of its subject, all over
    the block, in the control's channels.
    """

    def __init__(self, patch: int, encoding: Encoding, device: str = "cpu") -> None:
        self.pixels = patch
        self.out_channels = 3 * patch**2
        self.in_channels = 2 * self.out_channels + encoding.channels * patch**2
        self._encoding, self._device = encoding, device

    def encode(self, images: Tensor) -> Tensor:
        # Moved as bytes: a quarter of the way to a GPU, where the arithmetic costs nothing.
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
def _tags(count: int, patch: int, encoding: Encoding, device: torch.device) -> Tensor:
    """Tokens (count, channels) of the control image where subject i is all over them."""
    whole = np.eye(count, dtype=bool)[:, :, None, None]
    planes = [control_image([mask_region(mask) for mask in masks], encoding) for masks in whole]
    intensities = signed(torch.from_numpy(np.stack(planes))).flatten(1)
    return intensities.repeat_interleave(patch**2, dim=1).to(device)


class VaeTokenizer:
    """Flux's autoencoder and its 2 x 2 packing of latents. Every kind of picture goes through
    it, as in the paper; the control image by its three channels as colours.

    The blocks of a sheet go through it one by one: the autoencoder's attention would mix subjects,
    and a reference has the same latent in every company, so that it can be ``encoded`` once.
    """

    def __init__(self, vae: AutoencoderKL, encoded: EncoderCache | None = None) -> None:
        self.vae, self._encoded = vae, encoded
        scale = 2 ** (len(vae.config.block_out_channels) - 1)
        self.pixels = 2 * scale
        self.in_channels = self.out_channels = 4 * vae.config.latent_channels

    def encode(self, images: Tensor) -> Tensor:
        if self._encoded is None:
            return self._encode(images)
        kept = [self._encoded.picture(image) for image in images]
        return torch.stack(
            [
                self._encode(image[None])[0] if tokens is None else tokens.to(self.vae.device)
                for image, tokens in zip(images, kept, strict=True)
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
