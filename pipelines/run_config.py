"""How a folder remembers the configuration that it was begun with.

A dataset or a training run goes on only with the keys that it was begun with: those that decide
what comes out. They are kept in ``config.yaml``, which is also a preset that makes the same again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from datagen.errors import UserError
from datagen.shards.files import Folder

CONFIG = "config.yaml"


def save_config(keys: Mapping[str, Any], folder: str) -> None:
    """Let ``folder`` (a path or an fsspec URL) belong to these keys from now on."""
    Folder(folder).write(CONFIG, encode_config(keys))


def saved_config(folder: str) -> dict[str, Any] | None:
    """The keys that ``folder`` belongs to, None where it belongs to none.

    Raises:
        UserError: the file does not hold a configuration.
    """
    where = f"{folder}/{CONFIG}"
    try:
        keys = yaml.safe_load(Folder(folder).read(CONFIG))
    except FileNotFoundError:
        return None
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(keys, dict):
        raise UserError(f"{where}: expected the configuration that was written there")
    return keys


def refuse_change(keys: Mapping[str, Any], folder: str) -> None:
    """Compare ``keys`` with those that ``folder`` belongs to, if it belongs to any.

    Raises:
        UserError: they differ; the message names the keys that do, with both values.
    """
    before = saved_config(folder)
    if before is not None and (changes := _differences(before, plain(keys))):
        raise UserError(
            f"{folder} was begun with another configuration: {', '.join(changes)}; "
            "go back to it, or choose another --out"
        )


def encode_config(keys: Mapping[str, Any]) -> bytes:
    """YAML of the keys, in their order."""
    text: str = yaml.safe_dump(plain(keys), sort_keys=False)
    return text.encode()


def plain(value: Any) -> Any:
    """Dataclasses and tuples as the dictionaries and lists that YAML reads back."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    old, new = _flat(before), _flat(after)
    return [
        f"{key} {old.get(key, '(absent)')} -> {new.get(key, '(absent)')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _flat(keys: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in keys.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
