"""Pictures to tokens and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FluxKontextPipeline
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from model.controls.control_image import RoutingEncoding, control_image
from model.controls.regions import mask_region
from model.network.encoder_cache import EncoderCache
from model.network.image_tokenizer import PixelTokenizer, VaeTokenizer, signed


def drawn(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def white(*shape: int) -> torch.Tensor:
    return torch.full(shape, 255, dtype=torch.uint8)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.sampled_from([2, 4]))
def test_pixel_tokenizer_is_lossless(count, rows, columns, patch):
    codec = PixelTokenizer(patch, RoutingEncoding())
    images = drawn(count, 3, rows * patch, columns * patch)
    tokens = codec.encode(images)
    assert tokens.shape == (count, rows * columns, codec.out_channels)
    assert torch.equal(codec.decode(tokens, rows, columns), signed(images))


def test_kinds_of_image_have_separate_input_channels():
    codec = PixelTokenizer(4, RoutingEncoding("one_hot", slots=10))
    kinds = [
        codec.image_tokens(codec.encode(white(1, 3, 8, 8))),
        codec.sheet_tokens(white(1, 3, 16, 8))[..., : 2 * codec.out_channels],
        codec.control_tokens(white(1, 11, 8, 8)),
    ]
    used = [(F.pad(k, (0, codec.in_channels - k.shape[2])) != 0).any(0).any(0) for k in kinds]
    assert kinds[0].shape[2] == kinds[2].shape[2] == codec.in_channels
    assert not any((used[i] & used[j]).any() for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("encoding", [RoutingEncoding(), RoutingEncoding("one_hot", slots=4)])
def test_a_sheet_block_carries_the_routing_values_of_its_subject(encoding):
    codec = PixelTokenizer(4, encoding)
    tags = codec.sheet_tokens(white(2, 3, 24, 8))[..., 2 * codec.out_channels :]
    for i in range(3):
        whole = [mask_region(np.full((8, 8), k == i)) for k in range(3)]
        control = torch.from_numpy(control_image(whole, encoding)).permute(2, 0, 1)[None]
        routed = codec.control_tokens(control)[..., 2 * codec.out_channels :]
        assert torch.equal(tags[:, 4 * i : 4 * i + 4], routed.expand(2, -1, -1))


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
    codec = VaeTokenizer(vae)
    images = drawn(2, 3, 64, 32)
    tokens = codec.encode(images)
    latents = vae.encode(signed(images)).latent_dist.mode()
    latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
    theirs = FluxKontextPipeline._pack_latents(latents, 2, 4, 8, 4)
    torch.testing.assert_close(tokens, theirs)
    assert codec.pixels == 16
    assert codec.in_channels == 16
    unpacked = FluxKontextPipeline._unpack_latents(theirs, 64, 32, 8)
    decoded = vae.decode(unpacked / vae.config.scaling_factor + vae.config.shift_factor).sample
    torch.testing.assert_close(codec.decode(tokens, 4, 2), decoded)


def test_the_latent_of_a_reference_does_not_depend_on_the_other_blocks(vae):
    codec = VaeTokenizer(vae)
    one, other = drawn(2, 3, 32, 32)
    together = codec.sheet_tokens(torch.cat([one, other], dim=1)[None])[0]
    torch.testing.assert_close(together, torch.cat(list(codec.encode(torch.stack([one, other])))))


def test_a_cached_latent_is_not_encoded_again(vae, tmp_path):
    encoded = EncoderCache(tmp_path)
    known, unknown = drawn(2, 3, 32, 32)
    tokens = torch.full((4, 16), 7.0)
    encoded.keep_picture(known, tokens)
    found = VaeTokenizer(vae, encoded).encode(torch.stack([known, unknown]))
    assert torch.equal(found[0], tokens)
    torch.testing.assert_close(found[1], VaeTokenizer(vae).encode(unknown[None])[0])
    assert encoded.picture(known.flip(2)) is None
    assert encoded.picture(known.flatten(1)[..., None]) is None
