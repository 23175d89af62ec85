"""YAML that users write: what is read as what, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagen.errors import UserError
from pipelines.yaml_file import read_keys, read_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-5", -5),
        ("1e-3", 0.001),
        ("2E6", 2_000_000.0),
        ("2.0e-3", 0.002),
        ("[30, 60]", [30, 60]),
        ("{flip: 0.5}", {"flip": 0.5}),
        ("null", None),
        ("true", True),
        ("muon", "muon"),
        ("12e", "12e"),
    ],
)
def test_a_value_is_read_as_yaml_1_2_has_it(text: str, value: object) -> None:
    read = read_value(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text", ["[1, 2", "{a: 1, a: 2}", "&a [*a]", "!!python/object:os.system x"]
)
def test_what_is_no_value_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as caught:
        read_value(text)
    assert "\n" not in str(caught.value)


def test_an_anchor_may_be_used_after_its_value_and_not_inside_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("a: &size [3, 4]\nb: *size\n")
    assert read_keys(path, "a preset") == {"a": [3, 4], "b": [3, 4]}
    path.write_text("a: &size\n  b: *size\n")
    with pytest.raises(UserError, match=r"line 2: \*size stands inside itself"):
        read_keys(path, "a preset")
