"""Nouns and categories from names of models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.catalog.looks.colors import color_names
from datagen.catalog.providers.nouns import category, noun


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Chair 2", "chair"),
        ("Black Office Chair 02", "office chair"),
        ("red_sofa", "sofa"),
        ("Scissors", "pair of scissors"),
        ("Woman shoes", "pair of woman shoes"),
        ("Vertical shelves", "vertical shelf unit"),
        ("LED TV", "LED TV"),
        ("Christmas tree", "Christmas tree"),
        ("Tulips", "set of tulips"),
        ("Cactus", "cactus"),
        ("Drinking glass", "drinking glass"),
        ("Lamp (low poly)", "lamp"),
        ("Box 10€", "box"),
        ("White", ""),
        ("3", ""),
        ("", ""),
    ],
)
def test_noun(name: str, expected: str) -> None:
    assert noun(name) == expected


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        ("office chair", "chair"),
        ("pair of scissors", "scissors"),
        ("bowl of fruit", "bowl"),
        ("chair with a cushion", "chair"),
        ("washing machine", "washing machine"),
        ("woman lying on the ground", "person"),
        ("couch", "sofa"),
        ("TV", "television"),
    ],
)
def test_category(thing: str, expected: str) -> None:
    assert category(thing) == expected


@given(st.text(max_size=40))
def test_noun_and_category_of_any_name(name: str) -> None:
    found = noun(name)
    if found:
        assert not set(found.lower().split()) & set(color_names())
        assert category(found)
