"""YAML files that users write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from datagen.errors import UserError


def read_keys(path: Path, expected: str) -> dict[Any, Any]:
    """The keys of a file and their values. Raises UserError, which says what was ``expected`` and
    not which file, for one that cannot be read, that is no YAML, that holds something else than
    keys, or a key twice."""
    try:
        data = yaml.load(path.read_text("utf-8"), _Once)
    except OSError as error:
        raise UserError(f"{error.strerror}; expected {expected} in YAML") from None
    except UnicodeDecodeError:
        raise UserError(f"not UTF-8; expected {expected} in YAML") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"not YAML: {reason}; expected {expected}") from None
    if not isinstance(data, dict):
        held = "empty" if data is None else "no keys in it"
        raise UserError(f"{held}; expected the keys of {expected}, each with its value")
    return data


class _Once(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML would take the last, and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                where = f"line {key.start_mark.line + 1}"
                raise UserError(f"{where}: {key.value} is given twice, expected once")
            seen.add(key.value)
        return super().construct_mapping(node, deep)
