"""Pictures to tokens and back."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, FluxKontextPipeline
from hypothesis import given
from hypothesis import strategies as st

from model.codecs import PixelCodec, VaeCodec


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.sampled_from([2, 4]))
def test_patches_lose_nothing(count, rows, columns, patch):
    codec = PixelCodec(patch, control_channels=3)
    images = torch.randn(count, 3, rows * patch, columns * patch)
    tokens = codec.encode(images)
    assert tokens.shape == (count, rows * columns, codec.out_channels)
    assert torch.equal(codec.decode(tokens, rows, columns), images)


def test_kinds_of_tokens_share_no_channel():
    codec = PixelCodec(4, control_channels=11)
    kinds = [
        codec.image_tokens(codec.encode(torch.ones(1, 3, 8, 8))),
        codec.sheet_tokens(torch.ones(1, 3, 16, 8)),
        codec.control_tokens(torch.ones(1, 11, 8, 8)),
    ]
    used = [kind.abs().sum((0, 1)) > 0 for kind in kinds]
    assert [kind.shape[2] for kind in kinds] == [codec.in_channels] * 3
    assert not any((used[i] & used[j]).any() for i, j in ((0, 1), (0, 2), (1, 2)))


def test_blocks_of_a_sheet_are_tagged_by_subject():
    codec = PixelCodec(4, control_channels=3)
    tokens = codec.sheet_tokens(torch.zeros(2, 3, 24, 8))
    tags = [tokens[:, 4 * i : 4 * i + 4] for i in range(3)]
    assert all((tag == tag[:1, :1]).all() for tag in tags)
    assert not any(torch.equal(tags[i], tags[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.36,
        shift_factor=0.12,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def test_latents_are_packed_as_the_kontext_pipeline_packs_them(vae):
    codec = VaeCodec(vae)
    images = torch.rand(2, 3, 64, 32) * 2 - 1
    tokens = codec.encode(images)
    latents = vae.encode(images).latent_dist.mode()
    latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
    theirs = FluxKontextPipeline._pack_latents(latents, 2, 4, 8, 4)
    torch.testing.assert_close(tokens, theirs)
    assert codec.pixels == 16
    assert codec.in_channels == 16
    unpacked = FluxKontextPipeline._unpack_latents(theirs, 64, 32, 8)
    decoded = vae.decode(unpacked / vae.config.scaling_factor + vae.config.shift_factor).sample
    torch.testing.assert_close(codec.decode(tokens, 4, 2), decoded)
