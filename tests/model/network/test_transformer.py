"""The forward pass: Flux's own where nothing else is asked for, and what each option promises."""

from __future__ import annotations

import gc
from itertools import product

import pytest
import torch
from peft import LoraConfig, get_peft_model

from model.network.transformer import (
    Backbone,
    BackboneConfig,
    Conditions,
    TextEmbedding,
    grid_ids,
    sheet_ids,
)
from tests.model.tiny import inputs, transformer

TIMES = torch.tensor([0.3, 0.9])
GUIDANCE = torch.tensor([1.0, 2.5])
LORA = r".*_blocks\..*(to_[qkv]|to_out\.0|ff\.net\.0\.proj|proj_mlp|proj_out)"
OPTIONS = [
    BackboneConfig(condition_timestep=timestep, lora_scope=scope, attention=attention)
    for timestep, scope, attention in product(
        ("shared", "zero"), ("all", "condition"), ("full", "independent")
    )
]


def stock(model, x, ids, text, conditions, times=TIMES):
    """The same through diffusers' own forward."""
    return model(
        hidden_states=torch.cat([x, conditions.tokens], dim=1),
        encoder_hidden_states=text.tokens,
        pooled_projections=text.pooled,
        timestep=times,
        img_ids=torch.cat([ids, conditions.ids]),
        txt_ids=torch.zeros(text.tokens.shape[1], 3),
        guidance=GUIDANCE,
        return_dict=False,
    )[0][:, : x.shape[1]]


@torch.no_grad()
def test_the_default_forward_pass_equals_diffusers():
    model, (x, ids, text, conditions) = transformer(), inputs()
    ours = Backbone(model, BackboneConfig())(x, ids, TIMES, text, conditions, GUIDANCE)
    torch.testing.assert_close(ours, stock(model, x, ids, text, conditions), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_separate_streams_give_the_same_result_as_one_stream():
    """LoRA for conditions only, without any LoRA, splits the streams and nothing else."""
    model, (x, ids, text, conditions) = transformer(), inputs()
    split = Backbone(model, BackboneConfig(lora_scope="condition"))
    ours = split(x, ids, TIMES, text, conditions, GUIDANCE)
    torch.testing.assert_close(ours, stock(model, x, ids, text, conditions), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_condition_timestep_zero_modulates_conditions_only():
    """At time 0 for all, shared and zero are the same; at another time they are not."""
    model, (x, ids, text, conditions) = transformer(), inputs()
    shared = Backbone(model, BackboneConfig())
    zero = Backbone(model, BackboneConfig(condition_timestep="zero"))
    never = torch.zeros(2)
    torch.testing.assert_close(
        zero(x, ids, never, text, conditions, GUIDANCE),
        shared(x, ids, never, text, conditions, GUIDANCE),
        atol=1e-5,
        rtol=1e-4,
    )
    a, b = (m(x, ids, TIMES, text, conditions, GUIDANCE) for m in (zero, shared))
    assert (a - b).abs().max() > 1e-4


@torch.no_grad()
def test_cached_conditions_give_the_same_prediction():
    config = BackboneConfig(condition_timestep="zero", attention="independent")
    backbone, (x, ids, text, conditions) = Backbone(transformer(), config), inputs()
    condition_cache = backbone.cache_conditions(conditions, text, GUIDANCE)
    for times in (TIMES, torch.tensor([1.0, 0.05])):
        anew = backbone(x, ids, times, text, conditions, GUIDANCE)
        kept = backbone(x, ids, times, text, conditions, GUIDANCE, condition_cache)
        torch.testing.assert_close(anew, kept, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("config", [c for c in OPTIONS if not c.cacheable])
def test_conditions_that_depend_on_the_timestep_are_not_cached(config):
    _, _, text, conditions = inputs()
    with pytest.raises(ValueError, match="depend on the timestep"):
        Backbone(transformer(), config).cache_conditions(conditions, text, GUIDANCE)


@torch.no_grad()
@pytest.mark.parametrize("config", OPTIONS, ids=str)
def test_conditions_attend_to_target_and_text_only_in_full_attention(config):
    model, (x, ids, text, conditions) = transformer(), inputs()
    length, states = len(conditions.ids), list[torch.Tensor]()

    def look(_: object, inputs: object, out: torch.Tensor) -> None:
        if out.shape[1] >= length:  # alone, or behind the target in one stream
            states.append(out[:, -length:])

    model.single_transformer_blocks[-1].proj_out.register_forward_hook(look)
    backbone, other = Backbone(model, config), TextEmbedding(text.tokens + 1, text.pooled)
    for target, words in ((x, text), (x + 1, text), (x, other)):
        backbone(target, ids, TIMES, words, conditions, GUIDANCE)
    base, *changed = states
    blind = config.attention == "independent"
    assert [torch.equal(base, state) for state in changed] == [blind, blind]


@torch.no_grad()
@pytest.mark.parametrize("config", OPTIONS, ids=str)
def test_the_target_attends_to_the_conditions(config):
    backbone, (x, ids, text, conditions) = Backbone(transformer(), config), inputs()
    base = backbone(x, ids, TIMES, text, conditions, GUIDANCE)
    changed = Conditions(conditions.tokens + 1, conditions.ids)
    assert (backbone(x, ids, TIMES, text, changed, GUIDANCE) - base).abs().max() > 1e-4


@pytest.mark.parametrize("config", OPTIONS, ids=str)
def test_lora_applies_to_the_tokens_of_its_scope_and_all_adapters_get_gradients(config):
    model = transformer()
    x, ids, text, conditions = inputs()
    plain = Backbone(model, config)
    with torch.no_grad():
        before = plain(x, ids, TIMES, text, conditions, GUIDANCE)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=LORA, init_lora_weights=False))
    backbone = Backbone(adapted.base_model.model, config)
    after = backbone(x, ids, TIMES, text, conditions, GUIDANCE)
    assert (after - before).abs().max() > 1e-5
    after.square().mean().backward()
    trained = [p for p in adapted.parameters() if p.requires_grad]
    assert trained
    reached = [p for p in trained if p.grad is not None and p.grad.abs().max() > 0]
    assert len(reached) > len(trained) / 2


@torch.no_grad()
def test_lora_for_conditions_does_not_change_text_and_target():
    config = BackboneConfig("zero", "condition", "independent")
    model, (x, ids, text, conditions) = transformer(), inputs()
    plain = Backbone(model, config)
    condition_cache = plain.cache_conditions(conditions, text, GUIDANCE)
    before = plain(x, ids, TIMES, text, conditions, GUIDANCE)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=LORA, init_lora_weights=False))
    backbone = Backbone(adapted.base_model.model, config)
    cached = backbone(x, ids, TIMES, text, conditions, GUIDANCE, condition_cache)
    torch.testing.assert_close(cached, before, atol=1e-6, rtol=1e-6)
    assert (backbone(x, ids, TIMES, text, conditions, GUIDANCE) - before).abs().max() > 1e-3


def test_gradient_checkpointing_gives_the_same_gradients():
    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        model, (x, ids, text, conditions) = transformer(), inputs()
        model.gradient_checkpointing = checkpointing
        Backbone(model, BackboneConfig())(
            x, ids, TIMES, text, conditions, GUIDANCE
        ).square().mean().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    for a, b in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(a, b)


def test_gradient_checkpointing_keeps_no_keys_and_values():
    """Of all blocks they are tens of GiB at the size of Flux."""
    model, (x, ids, text, conditions) = transformer(), inputs()
    model.gradient_checkpointing = True
    alive = list[torch.Size]()

    def look(*_: object) -> None:
        tensors = (found for found in gc.get_objects() if type(found) is torch.Tensor)
        alive.extend(found.shape for found in tensors if found.shape[2:] == (2, 16))

    model.proj_out.register_forward_pre_hook(look)
    Backbone(model, BackboneConfig())(x, ids, TIMES, text, conditions, GUIDANCE)
    assert alive == []


def test_position_ids_differ_far_down_the_sheet():
    ids = grid_ids(320, 2)
    assert ids.dtype == torch.float32
    assert len(torch.unique(ids, dim=0)) == 640


def test_position_ids_of_stacked_and_per_block_sheets():
    assert sheet_ids(2, 2).tolist() == [[1, row, column] for row in range(4) for column in range(2)]
    assert sheet_ids(2, 2, "per_block").tolist() == [
        [block, row, column] for block in (1, 2) for row in range(2) for column in range(2)
    ]
