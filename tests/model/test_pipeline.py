"""Sampling: the pipeline's promises, on a small real model with random weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from datagen.errors import UserError
from model.controls.control_image import InputSpec, RoutingEncoding, control_image
from model.controls.identity_sheet import identity_sheet
from model.controls.regions import box2d_region, mask_region
from model.network.flow_matching import mix
from model.network.transformer import BackboneConfig, Conditions, TextEmbedding
from model.pipeline import Insertion, SigmaGenPipeline
from model.sigma_gen import ModelConfig, ScratchConfig, SigmaGen, build
from model.training.checkpoint import CheckpointState, write_checkpoint
from model.training.train_state import TrainState

SIZE = 16
MODEL = ModelConfig(
    base=ScratchConfig(patch=4, heads=2, double_blocks=1, single_blocks=1, rope=(4, 6, 6)),
    format=InputSpec(SIZE, 8, RoutingEncoding("one_hot", slots=3)),
    prediction="x",
    backbone=BackboneConfig("zero", "condition", "independent", "per_block", 100),
)


@cache
def sigma() -> SigmaGen:
    built = build(MODEL, seed=0)
    with torch.no_grad():  # fresh models predict nothing at all
        torch.nn.init.normal_(built.backbone.transformer.proj_out.weight, std=0.3)
    return built


def reference(shade: int) -> np.ndarray:
    picture = np.full((12, 12, 4), shade, np.uint8)
    picture[..., 3] = 255
    return picture


REGIONS = (
    box2d_region((1, 1, 7, 9), (SIZE, SIZE)),
    mask_region(np.tri(SIZE, dtype=bool), np.full((SIZE, SIZE), 2.0)),
)


def paint(pipeline: SigmaGenPipeline | None = None, **options) -> np.ndarray:
    given = {
        "prompt": "a room",
        "num_inference_steps": 4,
        "output_type": "np",
        "references": [reference(30), reference(200)],
    }
    given |= {"regions": REGIONS, "generator": torch.Generator().manual_seed(3)} | options
    picture = (pipeline or SigmaGenPipeline(sigma()))(**given)
    assert isinstance(picture, np.ndarray)
    return picture


def latents(**options) -> list[torch.Tensor]:
    """After each step."""
    left = []

    def watch(pipeline, step, timestep, tensors):
        left.append(tensors["latents"].clone())
        return tensors

    paint(callback_on_step_end=watch, **options)
    return left


def model_input(**options) -> tuple[TextEmbedding, Conditions]:
    """What reaches the transformer."""
    inputs = []
    hook = sigma().backbone.register_forward_pre_hook(lambda _, given: inputs.append(given))
    paint(num_inference_steps=1, **options)
    hook.remove()
    ((_, _, _, text, conditions, *_),) = inputs
    return text, conditions


def test_the_image_has_the_models_size_and_follows_from_the_generator():
    picture = paint()
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, paint())
    assert not np.array_equal(picture, paint(generator=torch.Generator().manual_seed(4)))


def test_references_and_controls_change_the_image():
    swapped = paint(references=[reference(200), reference(30)])
    assert not np.array_equal(paint(), swapped)
    assert not np.array_equal(paint(), paint(regions=REGIONS[::-1]))


def test_background_depth_changes_the_image():
    behind = np.full((SIZE, SIZE), 4.0)
    assert not np.array_equal(paint(), paint(background_depth=behind))


def test_reposing_takes_the_reference_of_one_subject_and_the_control_of_another():
    """The model receives one subject's reference and the other's control, nothing else."""
    chair, mug = reference(30), reference(200)
    mask = np.tri(SIZE, dtype=bool)
    leaning, standing = (mask_region(mask, 1 + slope) for slope in np.indices((SIZE, SIZE)))
    _, reposed = model_input(references=[chair], regions=[standing])
    _, who = model_input(references=[chair], regions=[leaning])
    _, pose = model_input(references=[mug], regions=[standing])
    sheet, structure = 4, 16  # tokens of one block, channels of the last plane in each other
    assert torch.equal(reposed.tokens[:, :sheet], who.tokens[:, :sheet])
    assert torch.equal(reposed.tokens[:, sheet:], pose.tokens[:, sheet:])
    assert not torch.equal(reposed.tokens[:, :sheet], pose.tokens[:, :sheet])
    moved = reposed.tokens != who.tokens
    assert moved[:, sheet:, -structure:].any()
    assert not moved[:, sheet:, :-structure].any()
    poses = [paint(references=[chair], regions=[region]) for region in (leaning, standing)]
    assert not np.array_equal(*poses)


def test_the_prompt_reaches_the_text_encoder_unchanged():
    plain, styled = (
        f"Place these subjects to compose: a {kind} of a chair." for kind in ("photo", "woodcut")
    )
    (without, seen), (text, same) = (model_input(prompt=prompt) for prompt in (plain, styled))
    assert torch.equal(text.tokens, sigma().text([styled]).tokens)
    assert torch.equal(text.pooled, sigma().text([styled]).pooled)
    assert not torch.equal(text.pooled, without.pooled)
    assert torch.equal(seen.tokens, same.tokens)
    assert not np.array_equal(paint(prompt=plain), paint(prompt=styled))


def test_the_condition_cache_does_not_change_the_image():
    assert np.array_equal(paint(), paint(SigmaGenPipeline(sigma(), cache=False)))


def test_a_saved_model_generates_the_same_image(tmp_path):
    SigmaGenPipeline(sigma()).save_pretrained(tmp_path)
    assert np.array_equal(paint(), paint(SigmaGenPipeline.from_pretrained(tmp_path)))


def test_the_default_output_is_a_pil_image():
    picture = SigmaGenPipeline(sigma())(
        "a room", [reference(9)], REGIONS[:1], num_inference_steps=1
    )
    assert isinstance(picture, Image.Image)


def test_the_callback_is_called_after_each_step_as_in_diffusers():
    calls = []

    def watch(pipeline, step, timestep, tensors):
        shapes = {name: tuple(x.shape) for name, x in tensors.items()}
        calls.append((type(pipeline), step, timestep.item(), shapes))
        return tensors

    assert np.array_equal(paint(callback_on_step_end=watch), paint())
    assert calls == [
        (SigmaGenPipeline, i, 1000 - 250 * i, {"latents": (1, 16, 48)}) for i in range(4)
    ]


def test_sampling_continues_with_the_latents_of_the_callback():
    def black(pipeline, step, timestep, tensors):
        return {"latents": torch.full_like(tensors["latents"], -1)} if step == 3 else {}

    assert (paint(callback_on_step_end=black) == 0).all()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType, expected a dict"),
        ({"latents": None}, "latents NoneType"),
        ({"latents": torch.zeros(1, 2)}, r"expected a tensor \(1, 16, 48\)"),
    ],
)
def test_the_error_names_a_wrong_return_value_of_the_callback(returned, message):
    with pytest.raises(UserError, match=message):
        paint(callback_on_step_end=lambda *_: returned)


def test_image_guidance_extrapolates_from_the_prediction_without_conditions():
    """One step from noise, which for a model that predicts pictures is its prediction."""
    zero, one, two = (
        latents(image_guidance_scale=scale, num_inference_steps=1)[0] for scale in (0, 1, 2)
    )
    assert torch.equal(one, latents(num_inference_steps=1)[0]), "the default"
    noise = torch.randn(one.shape, generator=torch.Generator().manual_seed(3))
    sheet = identity_sheet([reference(30), reference(200)], 8)
    control = control_image(REGIONS, MODEL.format.encoding)
    conditions = sigma().conditions(
        *(torch.from_numpy(part).permute(2, 0, 1)[None] for part in (sheet, control))
    )
    for found, tokens in ((zero, 0 * conditions.tokens), (one, conditions.tokens)):
        expected = sigma().backbone(
            sigma().image_tokenizer.image_tokens(noise),
            sigma().position_ids,
            torch.ones(1),
            sigma().text(["a room"]),
            Conditions(tokens, conditions.ids),
        )
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(two, 2 * one - zero, atol=1e-5, rtol=1e-5)
    assert (one - zero).abs().max() > 0.01


def test_insertion_keeps_the_pixels_outside_of_its_mask():
    background = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[5:7, 9:12] = True  # touches one token of 4 x 4 pixels
    background, mask = background[::-1], mask[::-1]  # as arrays may be laid out
    background.flags.writeable = False
    picture = paint(insertion=Insertion(background, mask))
    assert np.array_equal(picture[~mask], background[~mask])
    assert np.abs(picture[mask].astype(int) - background[mask]).max() > 5


def test_insertion_mixes_the_given_image_with_noise_at_every_step():
    """Outside of touched tokens, in the very noise that painting begins with."""
    background = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[5:7, 9] = True
    touched = 4 + 2  # second row, third column
    given = sigma().targets(torch.from_numpy(background).permute(2, 0, 1)[None])
    for seed in (1, 2):
        left = latents(
            insertion=Insertion(background, mask), generator=torch.Generator().manual_seed(seed)
        )
        noise = torch.randn(given.shape, generator=torch.Generator().manual_seed(seed))
        for then, found in zip((0.75, 0.5, 0.25, 0.0), left, strict=True):
            same = (found == mix(given, noise, torch.tensor([then]))).all(dim=2)[0]
            assert same.nonzero().flatten().tolist() == [i for i in range(16) if i != touched]


def test_control_warnings_are_those_at_the_models_size():
    regions = [box2d_region((0, 0, 2, 2), (512, 512)), box2d_region((0, 0, 99, 99), (512, 512))]
    mask = np.zeros((SIZE, SIZE), bool)
    mask[8:] = True
    insertion = Insertion(np.zeros((SIZE, SIZE, 3), np.uint8), mask)
    references = [reference(1), reference(2)]
    found = SigmaGenPipeline(sigma()).control_warnings(regions, references, insertion)
    assert [warning.split(":")[0] for warning in found] == [
        "subject 1",
        "reference of subject 1",
        "reference of subject 2",
        "subject 2",
    ]
    assert "its box2d holds no pixel of 16 x 16 pixels" in found[0]
    assert "outside of where" in found[3]
    stacked = [box2d_region((0, 0, 9, 9 + i), (SIZE, SIZE)) for i in range(3)]
    one_hot = SigmaGenPipeline(sigma()).control_warnings(stacked)
    assert all("heavy" in warning for warning in one_hot)


def test_references_may_be_pil_images():
    pictures = [Image.fromarray(reference(30)), Image.fromarray(reference(200))]
    assert np.array_equal(paint(references=pictures), paint())


def array(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.ones(shape, dtype)


WIDE = [box2d_region((1, 1, 7, 9), (SIZE, 2 * SIZE))] * 2
ROOM, ANYWHERE = array(SIZE, SIZE, 3), array(SIZE, SIZE, dtype=bool)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"references": [reference(1)]}, "1 references, 2 regions"),
        ({"references": [], "regions": []}, "0 references"),
        ({"references": [reference(1), array(4, 4, 3)]}, r"references\[1\]: .* RGB"),
        ({"references": [array(4, 5, 4), reference(1)]}, r"references\[0\]: .* expected a square"),
        ({"regions": WIDE}, "regions: 32 x 16 pixels, expected as wide as high"),
        ({"num_inference_steps": 0}, "num_inference_steps: 0, expected .* at least 1"),
        ({"num_inference_steps": 2.5}, "num_inference_steps: 2.5"),
        ({"guidance_scale": float("nan")}, "guidance_scale: nan"),
        ({"image_guidance_scale": -5}, "image_guidance_scale: -5, expected .* at least 0"),
        ({"output_type": "latent"}, "output_type: 'latent', expected pil or np"),
        ({"prompt": ["a room", "a hall"]}, "prompt: list, expected one str"),
        ({"insertion": Insertion(array(8, 8, 3), ANYWHERE)}, r"insertion.image: uint8 \(8, 8, 3\)"),
        ({"insertion": Insertion(ROOM.astype(float), ANYWHERE)}, "insertion.image: float64"),
        ({"insertion": Insertion(Image.new("RGB", (16, 16)), ANYWHERE)}, "insertion.image: Image"),
        ({"insertion": Insertion(ROOM, array(8, 8, dtype=bool))}, r"mask: bool \(8, 8\)"),
        ({"insertion": Insertion(ROOM, ROOM[..., 0])}, "mask: uint8 .* expected an array of bool"),
        ({"insertion": Insertion(ROOM, ~ANYWHERE)}, "mask: no pixel is set"),
    ],
)
def test_the_error_names_a_wrong_argument(wrong, message):
    with pytest.raises(UserError, match=message):
        paint(**wrong)


def test_from_pretrained_takes_a_run_a_checkpoint_or_a_model(tmp_path):
    state = CheckpointState(3, "data", {})
    checkpoint = write_checkpoint(tmp_path, TrainState(sigma(), []), state, keep=1)
    for place in (tmp_path, checkpoint, checkpoint / "model"):
        assert np.array_equal(paint(SigmaGenPipeline.from_pretrained(place)), paint()), place


@pytest.mark.parametrize("device", ["bogus", "meta", "", "cuda:99", "vulkan"])
def test_the_error_names_a_device_that_is_not_available(device, tmp_path):
    with pytest.raises(UserError, match=f"device: '{device}' is not available"):
        SigmaGenPipeline.from_pretrained(tmp_path, device)


def test_the_error_names_a_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match="neither a run of `sigma train` nor a saved model"):
        SigmaGenPipeline.from_pretrained(tmp_path)


def test_the_error_without_kontext_says_where_to_download_it(tmp_path):
    with pytest.raises(UserError, match=r"FLUX\.1-Kontext-dev \(34 GB, .* downloaded to a folder"):
        build(replace(MODEL, base=str(tmp_path)), seed=0)
