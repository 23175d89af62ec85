"""A model as it is before it has learned anything."""

from __future__ import annotations

import pytest
import torch

from model.controls.control_image import InputSpec, RoutingEncoding
from model.network.text_encoder import MemoizedTextEncoder, MiniLmEncoder
from model.network.transformer import BackboneConfig, TextEmbedding
from model.sigma_gen import ModelConfig, ScratchConfig, build

TINY = ModelConfig(
    ScratchConfig(),
    InputSpec(64, 32, RoutingEncoding("one_hot", slots=4)),
    prediction="x",
    backbone=BackboneConfig(sheet_positions="per_block", rope_theta=100),
)


@pytest.fixture(scope="module")
def sigma():
    return build(TINY, seed=0)


def test_a_fresh_model_attends_to_the_control_at_its_own_position(sigma):
    """What it paints somewhere depends on the control there, ten times as much as elsewhere."""
    torch.manual_seed(0)
    torch.nn.init.normal_(sigma.backbone.transformer.proj_out.weight)
    sheets = torch.randint(0, 256, (1, 3, 64, 32), dtype=torch.uint8)
    conditions = sigma.conditions(sheets, torch.zeros(1, 5, 64, 64, dtype=torch.uint8))
    tokens = conditions.tokens.requires_grad_()
    x = sigma.image_tokenizer.image_tokens(torch.randn(1, 64, sigma.image_tokenizer.out_channels))
    out = sigma.backbone(
        x, sigma.position_ids, torch.tensor([0.7]), sigma.text(["a room"]), conditions
    )
    here, elsewhere = [], []
    for place in range(0, 64, 9):
        (gradient,) = torch.autograd.grad(out[0, place].square().sum(), tokens, retain_graph=True)
        strength = gradient[0, -64:].norm(dim=1)
        here.append(strength[place])
        elsewhere.append((strength.sum() - strength[place]) / 63)
    assert torch.stack(here).mean() > 10 * torch.stack(elsewhere).mean()
    torch.nn.init.zeros_(sigma.backbone.transformer.proj_out.weight)


def test_fresh_weights_follow_from_the_seed(sigma):
    again, other = build(TINY, seed=0), build(TINY, seed=1)
    for name, weight in sigma.backbone.named_parameters():
        assert torch.equal(weight, dict(again.backbone.named_parameters())[name]), name
    pairs = zip(sigma.backbone.parameters(), other.backbone.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_a_prompt_is_encoded_once(sigma):
    first = sigma.text(["a room", "a lawn", "a room"])
    again = sigma.text(["a lawn", "a room"])
    assert torch.equal(first.pooled[0], first.pooled[2])
    assert torch.equal(first.pooled[[1, 0]], again.pooled)
    assert not torch.equal(first.pooled[0], first.pooled[1])


def test_the_embedding_of_a_prompt_does_not_depend_on_the_other_prompts():
    """Or a resumed run, which remembers other prompts, would not be the one that never stopped."""
    encode = MiniLmEncoder()
    prompts = ["a room", "a red chair left of a small green teapot, in a tiled room", "a lawn"]
    together = encode(prompts).pooled
    assert torch.equal(together, torch.cat([encode([prompt]).pooled for prompt in prompts]))


def test_memoized_prompts_are_limited_in_number(monkeypatch):
    """Augmentation makes new prompts for as long as a run lasts."""
    asked = []

    def encode(prompts):
        asked.extend(prompts)
        rows = torch.tensor([[float(len(prompt))] for prompt in prompts])
        return TextEmbedding(rows[:, None], rows)

    monkeypatch.setattr(MemoizedTextEncoder, "MAX_PROMPTS", 3)
    remembered = MemoizedTextEncoder(encode)
    for prompts in (["a", "bb"], ["bb", "ccc"], ["bb", "dddd"], ["dddd"]):
        lengths = [[float(len(prompt))] for prompt in prompts]
        assert remembered(prompts).pooled.tolist() == lengths
    assert asked == ["a", "bb", "ccc", "bb", "dddd"]
