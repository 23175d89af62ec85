"""Nouns from names of files: only words that name a thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.catalog.looks.colors import color_names
from datagen.catalog.providers.nouns import noun_of_file


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # As libraries name their files: the size, the colour, the number or the state comes last.
        ("barrel_small.glb", "barrel"),
        ("polyhaven_chair_01.glb", "chair"),
        ("ArmChair_01_4k.gltf", "chair"),
        ("wooden_crate_02_1k.gltf", "wooden crate"),
        ("SM_Prop_Crate_02.glb", "crate"),
        ("kitchenFridgeBuiltIn.glb", "kitchen fridge"),
        ("Cup.001.glb", "cup"),
        ("candle_melted.gltf.glb", "candle"),
        ("DamagedHelmet.glb", "helmet"),
        ("WaterBottle.glb", "water bottle"),
        ("Chair_LOD0.glb", "chair"),
        ("Red Sofa.STL", "sofa"),
        ("lamp (2).glb", "lamp"),
        ("TV_01.glb", "TV"),
        ("scissors/5.obj", "pair of scissors"),
        # What a thing is made of may come last, too.
        ("bench_stone.glb", "bench"),
        ("wine_glass.obj", "wine glass"),
        # Of what kind it is.
        ("table_round_A.gltf", "table"),
        ("rugSquare.glb", "rug"),
        # Two words in one.
        ("kitchencounter_straight_B.gltf", "kitchen counter"),
        ("dishrack.gltf", "dish rack"),
        ("cardboard.glb", ""),
        ("skybox.glb", ""),
        # A container, and what is in it.
        ("crate_carrots.gltf", "crate of carrots"),
        ("shelf_books.glb", "shelf of books"),
        ("flower_pot.glb", "flower pot"),
        # The last words only: those before a word that is not known are of the collection.
        ("food_ingredient_onion_chopped.gltf", "onion"),
        ("SM_Office_XK_WoodenBench.glb", "wooden bench"),
        ("office_black_chair.glb", "office chair"),
        # The folder is for files of ids and numbers.
        ("003_cracker_box/google_16k/textured.obj", "cracker box"),
        ("chairs/0007.glb", "chair"),
        ("knives/a1b2c3d4.glb", "knife"),
        ("dishes/0007/model.obj", "dish"),
        # Nothing names a thing.
        ("assets 3.glb", ""),
        ("random_urdfs/0007/0007.obj", ""),
        ("medieval_house_pack/003.obj", ""),
        ("a/d0e1f2a3.ply", ""),
        ("bed0e1face1234.glb", ""),
        ("scan_final_v2.ply", ""),
        ("untitled.obj", ""),
        ("open_large.glb", ""),
        ("kitchen/001.glb", ""),
        ("black.glb", ""),
        ("стул.glb", ""),
        # A part of a thing, and several of them.
        ("chair_leg.glb", ""),
        ("barrel_small_stack.gltf", ""),
        ("", ""),
    ],
)
def test_noun_of_file(path: str, expected: str) -> None:
    assert noun_of_file(path) == expected


@given(st.text(max_size=40))
def test_noun_of_any_path_is_in_words(path: str) -> None:
    found = noun_of_file(path)
    assert all(word.replace("'", "").isalpha() for word in found.split())
    assert not set(found.lower().split()) & set(color_names())
