"""YAML that users write: files of keys, and single values on the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from datagen.errors import UserError


def read_keys(path: Path, expected: str) -> dict[Any, Any]:
    """The keys of a file and their values.

    Args:
        path: the file.
        expected: what the file should be, for the error message, such as "a preset".

    Raises:
        UserError: the file cannot be read, is no YAML, holds something else than keys, or a key
            twice. The message does not name the file.
    """
    try:
        data = yaml.load(path.read_text("utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"{error.strerror}; expected {expected} in YAML") from None
    except UnicodeDecodeError:
        raise UserError(f"not UTF-8; expected {expected} in YAML") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"not YAML: {_line(error)}; expected {expected}") from None
    if not isinstance(data, dict):
        found = "empty" if data is None else "no keys in it"
        raise UserError(f"{found}; expected the keys of {expected}, each with its value")
    return data


def read_value(text: str) -> Any:
    """A value as YAML would hold it: ``3`` is a number, ``[3, 4]`` a list, ``null`` None.

    Raises:
        UserError: the text is no YAML. The message does not name the key.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{text}: not YAML: {_line(error)}") from None


def _line(error: Exception) -> str:
    """The problem in one line, without PyYAML's quotation of the text around it."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        place = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
        return f"{place}: {error.problem}"
    return " ".join(str(error).split())


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, where YAML would take the last one and say nothing, and
    a value that contains itself. Reads ``1e-3`` as a number, as YAML 1.2 does and PyYAML does
    not."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._open_anchors = set[str]()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        anchor = getattr(event, "anchor", None)
        if anchor in self._open_anchors:
            line = event.start_mark.line + 1
            raise UserError(f"line {line}: *{anchor} stands inside itself, expected a value")
        if anchor is None or isinstance(event, yaml.AliasEvent):
            return super().compose_node(parent, index)
        self._open_anchors.add(anchor)
        node = super().compose_node(parent, index)
        self._open_anchors.remove(anchor)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                where = f"line {key.start_mark.line + 1}"
                raise UserError(f"{where}: {key.value} is given twice, expected once")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
