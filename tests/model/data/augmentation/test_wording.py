"""Words that follow what was done to a picture."""

from __future__ import annotations

import pytest

from datagen.compose.captions import grammar
from model.data.augmentation.wording import colorless, mirrored, plain_prompt


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "In a plaza of gray marble, there are a table, a chair, and a can. The table is to the "
            "right of the can, and the can is to the left of the chair.",
            "In a plaza of gray marble, there are a table, a chair, and a can. The table is to the "
            "left of the can, and the can is to the right of the chair.",
        ),
        ("The lamp on the right in front of a wall", "The lamp on the left in front of a wall"),
        ("Left of the cup, the rightmost plate", "Right of the cup, the leftmost plate"),
        ("a man with his right hand raised", "a man with his left hand raised"),
        ("a cat right behind the sofa", "a cat right behind the sofa"),
        ("the cake left over, right next to a fork", "the cake left over, right next to a fork"),
        ("a bright red kite by a cleft rock", "a bright red kite by a cleft rock"),
    ],
)
def test_mirrored_exchanges_left_and_right_only_where_they_are_sides(
    words: str, expected: str
) -> None:
    assert mirrored(words) == expected
    assert mirrored(expected) == words


def test_mirrored_exchanges_relations_of_the_prompt_grammar() -> None:
    told = {
        kind: words.format(a="the mug", b="the van") for kind, words in grammar().relations.items()
    }
    assert mirrored(told["left"]) == told["right"]
    assert mirrored(told["front"]) == told["front"]
    assert mirrored(told["behind"]) == told["behind"]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red mug with white stripes and a blue handle", "a mug with stripes and a handle"),
        ("an orange vase with purple polka dots", "a vase with polka dots"),
        ("a brown ottoman", "an ottoman"),
        ("a gray hourglass", "an hourglass"),
        ("a teal unicycle", "a unicycle"),
        ("a stool with a blue and teal checked cushion", "a stool with a checked cushion"),
        ("a brown wooden armchair", "a wooden armchair"),
        ("a dark red, white and navy blue flag", "a flag"),
        ("a black-and-white soccer ball", "a soccer ball"),
        ("two pale green bottles", "two bottles"),
        ("a silver-colored kettle", "a kettle"),
        ("a whiteboard by a greenhouse", "a whiteboard by a greenhouse"),
        ("a man", "a man"),
        # What cannot be taken out is what the thing is, or is said of it otherwise.
        ("a rose with green leaves", "a plant"),
        ("an orange and a knife", "a plant"),
        ("a vase striped in red", "a plant"),
    ],
)
def test_colorless_removes_colours_and_nothing_else(caption: str, expected: str) -> None:
    assert colorless(caption, "plant") == expected


def test_colorless_category_gets_its_article() -> None:
    assert colorless("something blue", "armchair") == "an armchair"


def test_plain_prompt_names_all_subjects_in_order_and_the_place() -> None:
    prompt = plain_prompt(["a mug", "an urn", "two cats"], "a hall with teal walls")
    assert prompt.full == "A mug, an urn, and two cats in a hall with teal walls."
    assert prompt.background == "a hall with teal walls"
    assert plain_prompt(["a mug"], "a hall").full == "A mug in a hall."
