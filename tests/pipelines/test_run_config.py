"""A folder remembers the configuration that it was begun with, and refuses another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagen.errors import UserError
from pipelines.run_config import refuse_change, save_config, saved_config

KEYS = {"name": "mini", "plan": {"train": 4, "rate": 1e-5}, "sizes": (3.0, 4.0)}


def test_a_folder_without_a_configuration_refuses_none(tmp_path: Path) -> None:
    assert saved_config(str(tmp_path)) is None
    refuse_change(KEYS, str(tmp_path))


def test_saved_keys_come_back_and_are_no_change(tmp_path: Path) -> None:
    save_config(KEYS, str(tmp_path))
    assert saved_config(str(tmp_path)) == KEYS | {"sizes": [3.0, 4.0]}
    refuse_change(KEYS, str(tmp_path))


def test_every_key_that_differs_is_named_with_both_values(tmp_path: Path) -> None:
    save_config(KEYS, str(tmp_path))
    changed = {"name": "mini", "plan": {"train": 5, "seed": 1}, "sizes": (3.0, 4.0)}
    with pytest.raises(UserError) as caught:
        refuse_change(changed, str(tmp_path))
    message = str(caught.value)
    assert "plan.rate 1e-05 -> (absent), plan.seed (absent) -> 1, plan.train 4 -> 5" in message
    assert "name" not in message.partition("configuration:")[2].partition(";")[0]


@pytest.mark.parametrize("text", ["- a list\n", "a: [1\n", ""])
def test_a_file_that_is_no_configuration_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml"):
        refuse_change(KEYS, str(tmp_path))
