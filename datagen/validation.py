"""Plain data to typed values; whatever does not fit becomes one line that names its key.

The bounds of a configuration stand on the fields of its dataclass, as ``msgspec.Meta``. msgspec
checks them, but it names the key last, leaves the value out, speaks of JSON, and ignores keys
that a dataclass does not have. ``convert`` closes these gaps.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, inspect

from datagen.errors import UserError

T = TypeVar("T")

FINITE = sys.float_info.max
"""As an upper bound it refuses infinity; any bound refuses NaN."""

Count = Annotated[int, Meta(ge=1)]
CountOrZero = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0, le=FINITE)]
PositiveOrZero = Annotated[float, Meta(ge=0, le=FINITE)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z",
        description="up to 64 letters, digits, _ and -",
    ),
]

_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`")


def convert(data: Any, kind: type[T], key: str = "") -> T:
    """Build a ``kind`` from plain data, as YAML and JSON hold it.

    Args:
        data: mappings, lists, strings, numbers, booleans and None.
        kind: a dataclass or any other type that msgspec knows.
        key: dotted path of ``data`` in its file, put before every key that an error names.

    Raises:
        UserError: one line, ``KEY: VALUE, expected WHAT``: an unknown or missing key, a value of
            another type or outside its bounds. Also what ``__post_init__`` of ``kind`` raises.
    """
    tree = inspect.type_info(kind)
    for path, name, known in _unknown_keys(data, tree, ""):
        raise UserError(f"{_dotted(key, f'{path}.{name}')}: unknown key, expected {known}")
    try:
        value = msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise UserError(_explained(str(error), data, tree, key)) from None
    for path in _long_integers(data, ""):
        raise UserError(f"{_dotted(key, path)}: expected a whole number of at most 64 bits")
    _store_defaults(value)
    return value


def validate(value: Any, key: str = "") -> None:
    """Check a dataclass that Python code has built as ``convert`` checks its data.

    Raises:
        UserError: as ``convert`` does.
    """
    convert(asdict(value), type(value), key)


def expected(node: inspect.Type, value: Any = msgspec.UNSET) -> str:
    """What a type takes, in words, such as "a whole number, 1 or more".

    Args:
        node: the type, from ``msgspec.inspect``.
        value: what was given instead. A value of the right type is told its bounds alone.
    """
    match node:
        case inspect.Metadata():
            described = (node.extra_json_schema or {}).get("description")
            return described or expected(node.type, value)
        case inspect.UnionType(types=types):
            return " or ".join(expected(member) for member in types)
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(repr, values))}"
        case inspect.IntType() | inspect.FloatType():
            numbers = int if isinstance(node, inspect.IntType) else (int, float)
            fits = isinstance(value, numbers) and not isinstance(value, bool)
            kind = "a whole number" if isinstance(node, inspect.IntType) else "a number"
            bounds = _bounds(node)
            if fits and not math.isfinite(value):
                return ", ".join(filter(None, ("a finite number", bounds)))
            return bounds if fits and bounds else ", ".join(filter(None, (kind, bounds)))
        case inspect.TupleType(item_types=items):
            fits = isinstance(value, (list, tuple))
            return f"{len(items)} values" if fits else f"a list of {len(items)} values"
        case inspect.VarTupleType(min_length=low, max_length=high):
            if low is None or high is None:
                return "a list"
            return f"{low} to {high} values" if isinstance(value, (list, tuple)) else "a list"
        case inspect.DataclassType() | inspect.StructType():
            return f"the keys {', '.join(field.encode_name for field in node.fields)}"
        case inspect.DictType():
            return "keys with values"
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "null"
        case inspect.StrType():
            return "text"
    return type(node).__name__.removesuffix("Type").lower()


def _bounds(node: inspect.IntType | inspect.FloatType) -> str:
    """The bounds of a number in words; the largest float is no bound that a user has to know."""
    highest = None if node.le in (None, FINITE) else f"{node.le:,}".replace(",", "")
    if node.ge is not None and highest:
        return f"{node.ge} to {highest}"
    if node.gt is not None and highest:
        return f"above {node.gt}, at most {highest}"
    if node.ge is not None:
        return f"{node.ge} or more"
    if node.gt is not None:
        return f"above {node.gt}"
    return f"at most {highest}" if highest else ""


def _explained(message: str, data: Any, tree: inspect.Type, key: str) -> str:
    found = _PATH.match(message)
    assert found is not None
    path = found["path"] or ""
    node, value = _at(tree, data, path)
    if missing := _MISSING.search(found["what"]):
        place = f"{path}.{missing[1]}"
        return f"{_dotted(key, place)}: missing, expected {expected(_at(tree, {}, place)[0])}"
    given = [] if value is msgspec.UNSET else [_shown(value)]
    wanted = f"expected {expected(node, value)}"
    return ": ".join(filter(None, (_dotted(key, path), ", ".join([*given, wanted]))))


def _at(tree: inspect.Type, data: Any, path: str) -> tuple[inspect.Type, Any]:
    """The type and the value at a path such as ``.curriculum[0].steps``; the value is UNSET where
    msgspec does not say which key of a mapping it means (``[...]``)."""
    node, value = tree, data
    for name, index in re.findall(r"\.([^.\[]+)|\[([^\]]*)\]", path):
        members = _members(node)
        if name:
            fields = (field for m in members for field in getattr(m, "fields", ()))
            node = next(field.type for field in fields if field.encode_name == name)
            value = value.get(name, msgspec.UNSET) if isinstance(value, Mapping) else msgspec.UNSET
        elif index == "...":
            node = next(m.value_type for m in members if isinstance(m, inspect.DictType))
            value = msgspec.UNSET
        else:
            items = (_item(m, int(index)) for m in members if _is_array(m))
            node = next(item for item in items if item is not None)
            value = value[int(index)] if isinstance(value, (list, tuple)) else msgspec.UNSET
    return node, value


def _unknown_keys(data: Any, node: inspect.Type, path: str) -> Iterator[tuple[str, str, str]]:
    """Path of a mapping, one of its keys that the type does not have, and what is expected."""
    members = _members(node)
    if isinstance(data, Mapping):
        objects = [m for m in members if isinstance(m, (inspect.DataclassType, inspect.StructType))]
        if any(isinstance(m, inspect.DictType) for m in members) or not objects:
            return
        fields = {field.encode_name: field.type for m in objects for field in m.fields}
        for name, value in data.items():
            if name not in fields:
                yield path, str(name), f"one of {', '.join(fields)}"
            else:
                yield from _unknown_keys(value, fields[name], f"{path}.{name}")
    elif isinstance(data, (list, tuple)):
        for array in (m for m in members if _is_array(m)):
            for i, value in enumerate(data):
                if (item := _item(array, i)) is not None:
                    yield from _unknown_keys(value, item, f"{path}[{i}]")


def _long_integers(data: Any, path: str) -> Iterator[str]:
    """Paths of integers past 64 bits, whose bounds msgspec does not check."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from _long_integers(value, f"{path}.{name}")
    elif isinstance(data, (list, tuple)):
        for i, value in enumerate(data):
            yield from _long_integers(value, f"{path}[{i}]")
    elif isinstance(data, int) and not -(2**63) <= data < 2**64:
        yield path


def _store_defaults(value: Any) -> None:
    """Give each dataclass its defaults as attributes of its own. msgspec leaves them to the class,
    and then leaves them out when it encodes the instance."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _store_defaults(item)
    elif is_dataclass(value):
        for field in fields(value):
            inner = getattr(value, field.name)
            object.__setattr__(value, field.name, inner)
            _store_defaults(inner)


def _members(node: inspect.Type) -> tuple[inspect.Type, ...]:
    """The types that a value may be of: those of a union, or the one."""
    if isinstance(node, inspect.Metadata):
        return _members(node.type)
    return node.types if isinstance(node, inspect.UnionType) else (node,)


def _is_array(node: inspect.Type) -> bool:
    return isinstance(node, (inspect.TupleType, inspect.VarTupleType, inspect.ListType))


def _item(node: Any, index: int) -> inspect.Type | None:
    if isinstance(node, inspect.TupleType):
        return node.item_types[index] if index < len(node.item_types) else None
    item: inspect.Type = node.item_type
    return item


def _dotted(key: str, path: str) -> str:
    """A key as a user writes it: ``plan`` and ``.train`` make ``plan.train``."""
    return f"{key}{path}" if key else path.removeprefix(".")


def _shown(value: Any) -> str:
    """A value in one line, text in quotes, as ``'3'`` is no number."""
    text = "null" if value is None else " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
