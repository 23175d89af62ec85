"""The way of the ``kontext`` preset, from a pretrained pipeline on disk to a LoRA that stock
diffusers loads."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline, FluxTransformer2DModel
from PIL import Image
from safetensors.torch import load_file, save_file

from datagen.errors import UserError
from model.controls.control_image import InputSpec
from model.controls.regions import box2d_region
from model.data.curriculum import CurriculumStage
from model.network import blocks
from model.network.lora import WEIGHTS, LoraConfig
from model.network.transformer import Backbone, BackboneConfig, Conditions, TextEmbedding
from model.pipeline import SigmaGenPipeline
from model.sigma_gen import ModelConfig, SigmaGen, build, load_model, save_model
from model.training.checkpoint import CheckpointState, read_state, restore, write_checkpoint
from model.training.optimizers import OptimizerConfig, make_optimizers
from model.training.train import TrainConfig, train
from model.training.train_state import TrainState
from tests.model.kontext import SHEET, SIZE, random_batch, save_kontext


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_kontext(tmp_path_factory.mktemp("hub") / "FLUX.1-Kontext-dev")


@pytest.fixture(scope="module")
def config(base: Path) -> ModelConfig:
    return ModelConfig(str(base), InputSpec(SIZE, SHEET), lora=LoraConfig(rank=4, alpha=8))


def batches(start: int):
    generator = torch.Generator().manual_seed(0)

    while True:
        yield random_batch(generator)


def trained(config: ModelConfig, steps: int = 3, **more) -> tuple[TrainState, list[float]]:
    """A model after some steps, and the losses."""
    sigma = build(config, seed=0)
    training = TrainConfig(
        (CurriculumStage(steps),), optimizer=OptimizerConfig("adamw", lr=1e-2), **more
    )
    if training.gradient_checkpointing:
        sigma.backbone.transformer.enable_gradient_checkpointing()
    sigma.backbone.compiled = training.compile
    state = TrainState(sigma, make_optimizers(sigma.backbone, training.optimizer))
    return state, [result.loss for result in train(state, batches, training)]


@pytest.fixture(scope="module")
def after(config: ModelConfig) -> tuple[TrainState, list[float]]:
    return trained(config)


def test_only_adapters_are_trained_in_float32(after):
    learned = {n: p for n, p in after[0].sigma.backbone.named_parameters() if p.requires_grad}
    assert learned
    assert all("lora_" in name for name in learned)
    assert {p.dtype for p in learned.values()} == {torch.float32}
    assert any((p != 0).any() for name, p in learned.items() if "lora_B" in name)


@pytest.mark.slow
def test_compiled_blocks_have_no_graph_break_and_give_the_same_losses(config, after, monkeypatch):
    """Traced and differentiated, without the minutes of C++ that follow."""
    quick = partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", quick)
    blocks.compiled_blocks.cache_clear()
    again = trained(config, compile=True)[1]
    blocks.compiled_blocks.cache_clear()
    assert again == pytest.approx(after[1], rel=1e-2)


def test_gradient_checkpointing_gives_the_same_losses(config, after):
    again = trained(config, gradient_checkpointing=True)[1]
    assert again == pytest.approx(after[1], rel=1e-3)


@pytest.fixture(scope="module")
def saved(after, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_model(after[0].sigma, folder)
    return folder


@pytest.fixture(scope="module")
def stock(saved, base) -> FluxKontextPipeline:
    """Of diffusers alone, with what was saved, in float32: what is compared is not rounded."""
    pipeline = FluxKontextPipeline.from_pretrained(base, dtype=torch.float32)
    pipeline.load_lora_weights(saved)
    return pipeline


@pytest.fixture(scope="module")
def model_inputs(after) -> dict[str, Any]:
    """Arguments of ``Backbone``, in float32."""
    sigma, batch = after[0].sigma, next(batches(0))
    text, conditions = sigma.text(batch.prompts), sigma.conditions(batch.sheets, batch.controls)
    return {
        "x": torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0)),
        "ids": sigma.position_ids,
        "timestep": torch.tensor([0.3, 0.9]),
        "text": TextEmbedding(text.tokens.float(), text.pooled.float()),
        "conditions": Conditions(conditions.tokens.float(), conditions.ids),
        "guidance": torch.tensor([1.0, 2.5]),
    }


@torch.no_grad()
def prediction_of(backbone: Backbone, inputs: dict[str, Any]) -> torch.Tensor:
    return copy.deepcopy(backbone).float()(**inputs)


@torch.no_grad()
def stock_prediction(
    transformer: FluxTransformer2DModel, x, ids, timestep, text, conditions, guidance
) -> torch.Tensor:
    return transformer(
        hidden_states=torch.cat([x, conditions.tokens], dim=1),
        encoder_hidden_states=text.tokens,
        pooled_projections=text.pooled,
        timestep=timestep,
        img_ids=torch.cat([ids, conditions.ids]),
        txt_ids=torch.zeros(text.tokens.shape[1], 3),
        guidance=guidance,
        return_dict=False,
    )[0][:, : x.shape[1]]


def test_stock_diffusers_with_the_saved_lora_predicts_the_same(after, stock, model_inputs):
    """With rank and alpha that differ: an alpha that was lost would halve the adapters."""
    ours = prediction_of(after[0].sigma.backbone, model_inputs)
    theirs = stock_prediction(stock.transformer, **model_inputs)
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)
    stock.transformer.disable_adapters()
    without = stock_prediction(stock.transformer, **model_inputs)
    stock.transformer.enable_adapters()
    assert (without - ours).abs().max() > 0.1


def test_a_program_that_knows_alpha_tensors_only_predicts_the_same(
    after, saved, base, model_inputs
):
    """As ComfyUI merges adapters (comfy/weight_adapter/lora.py): ``up @ down`` times alpha / rank,
    or times 1 where there is no alpha tensor."""
    tensors = load_file(saved / WEIGHTS)
    transformer = FluxTransformer2DModel.from_pretrained(
        base, subfolder="transformer", dtype=torch.float32
    )
    for name in [name for name in tensors if name.endswith(".lora_A.weight")]:
        layer = name.removesuffix(".lora_A.weight")
        down, up = tensors.pop(name), tensors.pop(f"{layer}.lora_B.weight")
        alpha = tensors.pop(f"{layer}.alpha", torch.tensor(float(len(down))))
        weight = transformer.get_submodule(layer.removeprefix("transformer.")).weight
        weight.data += up @ down * (alpha.item() / len(down))
    assert not tensors
    merged = stock_prediction(transformer, **model_inputs)
    ours = prediction_of(after[0].sigma.backbone, model_inputs)
    torch.testing.assert_close(merged, ours, atol=1e-5, rtol=1e-4)


def test_a_lora_file_of_earlier_versions_without_alpha_tensors_is_read(
    after, saved, tmp_path, model_inputs
):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    tensors = {k: v for k, v in load_file(saved / WEIGHTS).items() if "alpha" not in k}
    save_file(tensors, tmp_path / WEIGHTS)
    again = prediction_of(load_model(tmp_path).backbone, model_inputs)
    assert torch.equal(again, prediction_of(after[0].sigma.backbone, model_inputs))


def test_the_error_names_a_damaged_lora_file(saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / WEIGHTS).write_bytes((saved / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(
        UserError, match=f"{WEIGHTS}: not saved adapters: .*; save or copy it again"
    ):
        load_model(tmp_path)


def test_stock_diffusers_samples_with_the_saved_lora(stock):
    def sampled() -> np.ndarray:
        return stock(
            Image.new("RGB", (SIZE, SIZE), "red"),
            "place a chair in a room",
            height=SIZE,
            width=SIZE,
            max_area=SIZE**2,
            num_inference_steps=1,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
            _auto_resize=False,
        ).images[0]

    picture = sampled()
    assert picture.shape == (SIZE, SIZE, 3)
    stock.disable_lora()
    assert np.abs(picture - sampled()).max() > 0.05
    stock.enable_lora()


def test_the_model_card_of_a_lora_names_its_base(after, tmp_path):
    save_model(after[0].sigma, tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "base_model: FLUX.1-Kontext-dev\n" in card
    assert "Rank 4, alpha 8." in card
    assert 'pipeline.load_lora_weights("FOLDER")' in card


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"lora_scope": "condition"}, "lora_scope: condition"),
        ({"condition_timestep": "zero"}, "condition_timestep: zero"),
        ({"attention": "independent"}, "attention: independent"),
        ({"rope_theta": 100}, "`rope_theta`"),
    ],
)
def test_the_card_says_where_stock_programs_compute_something_else(
    after, stock, tmp_path, model_inputs, options, named
):
    sigma = after[0].sigma
    backbone = BackboneConfig(**options)
    save_model(replace(sigma, config=replace(sigma.config, backbone=backbone)), tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "Only `SigmaGenPipeline` computes this model" in card
    assert named in card
    assert "FluxKontextPipeline.from_pretrained" not in card
    ours = prediction_of(Backbone(sigma.backbone.transformer, backbone), model_inputs)
    assert (stock_prediction(stock.transformer, **model_inputs) - ours).abs().max() > 1e-3


def paint(sigma: SigmaGen, prompt: str = "place a chair in a room", **options) -> np.ndarray:
    reference = np.full((16, 16, 4), 200, np.uint8)
    region = box2d_region((4, 4, 20, 28), (SIZE, SIZE))
    return SigmaGenPipeline(sigma)(
        prompt,
        [reference],
        [region],
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **options,
    )


def test_the_guidance_scale_is_passed_to_a_guidance_distilled_model(after):
    pictures = [paint(after[0].sigma, guidance_scale=scale) for scale in (1.0, 2.5, 2.5, 8.0)]
    assert np.array_equal(pictures[1], pictures[2])
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[2], pictures[3])


def test_a_long_prompt_is_not_truncated(after):
    """Where a style may stand: T5 has room for 512 tokens, CLIP for 77."""
    scene = "place these subjects in a room " * 20
    chair, room = (paint(after[0].sigma, scene + last) for last in ("chair", "room"))
    assert not np.array_equal(chair, room)


def test_a_saved_lora_generates_the_same_image(after, tmp_path):
    save_model(after[0].sigma, tmp_path)
    picture = paint(after[0].sigma)
    assert picture.shape == (SIZE, SIZE, 3)
    assert np.array_equal(paint(load_model(tmp_path)), picture)


def test_lora_training_resumes_from_a_checkpoint(config, after, tmp_path):
    state, _ = trained(config, steps=2)
    folder = write_checkpoint(tmp_path, state, CheckpointState(2, "d", {}), keep=1)
    assert not (folder / "model" / "transformer").exists()
    again = build(config, seed=1)
    made = make_optimizers(again.backbone, OptimizerConfig("adamw", lr=1e-2))
    resumed = TrainState(again, made)
    restore(folder, read_state(folder), resumed)
    training = TrainConfig((CurriculumStage(3),), optimizer=OptimizerConfig("adamw", lr=1e-2))

    def rest(start: int):
        remaining = batches(0)
        for _ in range(start):
            next(remaining)
        return remaining

    results = list(train(resumed, rest, training, start=2))
    assert [result.loss for result in results] == after[1][2:]


def test_the_error_names_the_missing_base_of_a_lora(after, config, tmp_path):
    save_model(replace(after[0].sigma, config=replace(config, base="gone")), tmp_path)
    with pytest.raises(UserError, match=r"model.base: 'gone' holds no model_index.json"):
        load_model(tmp_path)
