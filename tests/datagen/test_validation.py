"""Plain data that does not fit a dataclass is refused in one line that names key and value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.errors import UserError
from datagen.validation import Count, Name, Positive, Seed, Share, convert, validate


@dataclass(frozen=True)
class Part:
    size: Count
    shares: tuple[Share, Share] = (0.5, 0.5)


@dataclass(frozen=True)
class Whole:
    name: Name = "whole"
    rate: Positive = 1.0
    seed: Seed = 0
    on: bool = False
    kind: Literal["b", "a"] = "a"
    part: Part | str | None = None
    parts: tuple[Part, ...] = ()
    rows: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "3, expected the keys name, rate, seed, on, kind, part, parts, rows"),
        ({"nmae": "x"}, "nmae: unknown key, expected one of name, rate"),
        ({"name": "../x"}, "name: '../x', expected up to 64 letters, digits, _ and -"),
        ({"name": "x\n"}, "name: 'x\\n', expected up to 64 letters, digits, _ and -"),
        ({"name": 3}, "name: 3, expected up to 64 letters"),
        ({"rate": "fast"}, "rate: 'fast', expected a number, above 0"),
        ({"rate": 0}, "rate: 0, expected above 0"),
        ({"rate": float("nan")}, "rate: nan, expected a finite number, above 0"),
        ({"rate": float("inf")}, "rate: inf, expected a finite number, above 0"),
        ({"seed": 2**63}, f"seed: {2**63}, expected 0 to {2**63 - 1}"),
        ({"seed": 2**80}, f"seed: {2**80}, expected 0 to {2**63 - 1}"),
        ({"seed": True}, "seed: True, expected a whole number"),
        ({"seed": None}, "seed: null, expected a whole number"),
        ({"on": "yes"}, "on: 'yes', expected true or false"),
        ({"kind": "c"}, "kind: 'c', expected one of 'a', 'b'"),
        ({"part": 3}, "part: 3, expected the keys size, shares or text or null"),
        ({"part": {}}, "part.size: missing, expected a whole number, 1 or more"),
        ({"part": {"size": 0}}, "part.size: 0, expected 1 or more"),
        (
            {"part": {"size": 1, "depth": 2}},
            "part.depth: unknown key, expected one of size, shares",
        ),
        (
            {"parts": [{"size": 1}, {"size": 1, "shares": [0, 2]}]},
            "parts[1].shares[1]: 2, expected",
        ),
        ({"parts": [{"size": 1, "shares": [0]}]}, "parts[0].shares: [0], expected 2 values"),
        ({"parts": {"size": 1}}, "parts: {'size': 1}, expected a list"),
        ({"rows": {"a": 3}}, "rows[...]: expected text"),
        ({"rows": 3}, "rows: 3, expected keys with values"),
    ],
)
def test_what_does_not_fit_is_refused_with_key_value_and_expectation(
    data: Any, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        convert(data, Whole)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_prefix_stands_before_every_key() -> None:
    with pytest.raises(UserError, match=r"^model\.part\.size: missing"):
        convert({"part": {}}, Whole, "model")
    with pytest.raises(UserError, match=r"^model: 3, expected the keys"):
        convert(3, Whole, "model")


def test_an_integer_past_64_bits_is_refused_where_no_bound_names_it() -> None:
    with pytest.raises(UserError, match="size: expected a whole number of at most 64 bits"):
        convert({"size": 2**80}, Part)


def test_a_dataclass_that_python_built_is_checked_as_data_is() -> None:
    validate(Whole(part=Part(3)), "x")
    with pytest.raises(UserError, match=r"x\.part\.size: 0, expected 1 or more"):
        validate(Whole(part=Part(0)), "x")


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
parts = st.builds(Part, st.integers(1, 2**62), st.tuples(st.floats(0, 1), st.floats(0, 1)))
wholes = st.builds(
    Whole,
    name=names,
    rate=st.floats(0, exclude_min=True, allow_infinity=False),
    seed=st.integers(0, 2**63 - 1),
    part=st.none() | names | parts,
    parts=st.lists(parts).map(tuple),
    rows=st.dictionaries(names, names),
)


@given(wholes)
def test_what_fits_comes_back_with_all_its_defaults(whole: Whole) -> None:
    data = msgspec.json.decode(msgspec.json.encode(whole))
    made = convert(data, Whole)
    assert made == whole
    assert vars(made).keys() == asdict(made).keys()
