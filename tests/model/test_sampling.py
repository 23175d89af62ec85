"""Sampling: the pipeline's promises, on a small real model with random weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from datagen.scene import UserError
from model.backbone import BackboneConfig
from model.controls import Encoding, Format, box2d_region, mask_region
from model.sampling import Insertion, SigmaGenPipeline
from model.sigma import ModelConfig, ScratchConfig, SigmaGen, build

SIZE = 16
MODEL = ModelConfig(
    base=ScratchConfig(patch=4, heads=2, double_blocks=1, single_blocks=1, rope=(4, 6, 6)),
    format=Format(SIZE, 8, Encoding("one_hot", slots=3)),
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
        "num_inference_steps": 4,
        "output_type": "np",
        "references": [reference(30), reference(200)],
    }
    given |= {"regions": REGIONS, "generator": torch.Generator().manual_seed(3)} | options
    picture = (pipeline or SigmaGenPipeline(sigma()))("a room", **given)
    assert isinstance(picture, np.ndarray)
    return picture


def test_a_picture_of_the_models_size_that_follows_the_generator():
    picture = paint()
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, paint())
    assert not np.array_equal(picture, paint(generator=torch.Generator().manual_seed(4)))


def test_references_and_controls_matter():
    swapped = paint(references=[reference(200), reference(30)])
    assert not np.array_equal(paint(), swapped)
    assert not np.array_equal(paint(), paint(regions=REGIONS[::-1]))


def test_the_cache_changes_nothing():
    assert np.array_equal(paint(), paint(SigmaGenPipeline(sigma(), cache=False)))


def test_a_model_that_was_saved_paints_the_same(tmp_path):
    SigmaGenPipeline(sigma()).save_pretrained(tmp_path)
    assert np.array_equal(paint(), paint(SigmaGenPipeline.from_pretrained(tmp_path)))


def test_pil_is_the_default():
    picture = SigmaGenPipeline(sigma())(
        "a room", [reference(9)], REGIONS[:1], num_inference_steps=1
    )
    assert isinstance(picture, Image.Image)


def test_each_step_is_told():
    told = []
    paint(callback_on_step_end=lambda step, time, x: told.append((step, time, tuple(x.shape))))
    assert told == [(i, pytest.approx(0.75 - i / 4), (1, 16, 48)) for i in range(4)]


def test_guidance_of_one_is_none_and_more_changes_the_picture():
    assert np.array_equal(paint(), paint(image_guidance_scale=1.0))
    assert not np.array_equal(paint(), paint(image_guidance_scale=3.0))


def test_insertion_keeps_what_may_not_be_painted():
    background = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[5:7, 9] = True  # touches one token of 4 x 4 pixels
    picture = paint(insertion=Insertion(background, mask))
    kept = np.ones((SIZE, SIZE), bool)
    kept[4:8, 8:12] = False
    assert np.abs(picture[kept].astype(int) - background[kept]).max() <= 1
    assert np.abs(picture[~kept].astype(int) - background[~kept]).max() > 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"references": [reference(1)]}, "1 references, 2 regions"),
        ({"references": [], "regions": []}, "0 references"),
        (
            {"insertion": Insertion(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool))},
            r"background: \(8, 8, 3\)",
        ),
    ],
)
def test_a_mistake_is_said(wrong, message):
    with pytest.raises(UserError, match=message):
        paint(**wrong)


def test_a_folder_without_a_model_is_said(tmp_path):
    with pytest.raises(UserError, match=r"no sigma_gen\.json there"):
        SigmaGenPipeline.from_pretrained(tmp_path)


def test_without_kontext_it_says_which_model_and_where_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"FLUX\.1-Kontext-dev \(34 GB, .* downloaded to a folder"):
        build(replace(MODEL, base=str(tmp_path)), seed=0)
