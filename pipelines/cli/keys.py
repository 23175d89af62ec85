"""The keys of a configuration on the command line: a preset, and ``--KEY VALUE`` over it.

A key is a field of the configuration's dataclass, by its dotted path: ``--plan.train 100``. Its
docstring is the help text. Values are YAML. What a key may be is checked in one place,
``datagen.validation``, when preset and options have been merged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import msgspec
from docstring_parser import parse_from_object
from msgspec import inspect

from datagen.errors import UserError
from datagen.validation import convert
from pipelines.cli.arguments import VerbParser
from pipelines.run_config import encode_config, plain
from pipelines.yaml_file import read_keys, read_value

T = TypeVar("T")


@dataclass(frozen=True)
class Key:
    """One key that may be set: its dotted path, its help text, its type and its default."""

    path: str
    help: str
    type: inspect.Type
    default: str | None

    @property
    def is_text(self) -> bool:
        """Whether every value is text, so that ``3`` and ``null`` are text, too."""
        node = self.type.type if isinstance(self.type, inspect.Metadata) else self.type
        return isinstance(node, inspect.StrType)


def shipped_presets(kind: str) -> dict[str, Path]:
    """The presets that come with the package, by name.

    Args:
        kind: "dataset" or "train".
    """
    files = (resources.files("pipelines") / "presets" / kind).iterdir()
    paths = sorted(Path(str(file)) for file in files)
    return {path.stem: path for path in paths}


def add_keys(parser: VerbParser, kind: type, presets: str, default: str) -> None:
    """Add ``--preset``, ``--print_config`` and every key of the dataclass ``kind``.

    Args:
        parser: the verb's.
        kind: dataclass of the configuration.
        presets: which shipped presets it takes, "dataset" or "train".
        default: name of the preset that is taken where none is named.
    """
    names = ", ".join(shipped_presets(presets))
    parser.add_argument(
        "--preset", default=default, help=f"{names}, or a YAML file (default: {default})"
    )
    parser.add_argument(
        "--print_config", action="store_true", help="print the configuration as a preset, and end"
    )
    for title, keys in key_groups(kind):
        group = parser.add_argument_group(title.rstrip("."))
        for key in keys:
            default_text = "" if key.default is None else f" (default: {key.default})"
            group.add_argument(
                f"--{key.path}",
                dest=key.path,
                action="append",
                default=argparse.SUPPRESS,
                metavar=_metavar(key),
                help=(key.help + default_text).replace("%", "%%"),
            )


def parse_with_keys(
    parser: VerbParser, arguments: Sequence[str], kind: type[T], presets: str
) -> tuple[argparse.Namespace, T]:
    """Parse the arguments of a parser that has the keys of ``kind`` (``add_keys``).

    Returns:
        The verb's own options, and the configuration.

    Raises:
        UserError: a bad argument or preset; an unknown key; a value that a key cannot have.
        SystemExit: the configuration was printed (``--print_config``), or the help was.
    """
    keys = {key.path: key for _, group in key_groups(kind) for key in group}
    args = parser.parse_args(list(_known_options(arguments, keys)))
    data = _read_preset(args.preset, kind, presets)
    for path, texts in vars(args).items():
        for text in texts if path in keys else ():
            data = _merged(data, path.split("."), _value(keys[path], text))
    try:
        config = convert(data, kind)
    except UserError as error:
        if ": missing, " in str(error):  # a preset has to be complete; options add to it
            raise UserError(f"--preset: {args.preset}: {error}") from None
        raise
    if args.print_config:
        print(encode_config(plain(config)).decode(), end="")
        parser.exit()
    return args, config


def key_groups(kind: type, path: str = "") -> Iterator[tuple[str, tuple[Key, ...]]]:
    """Every key of a dataclass, one group per dataclass: the first line of its docstring, and its
    own keys."""
    fields = inspect.type_info(kind).fields  # type: ignore[attr-defined]
    docs = _field_docs(kind)
    yield (
        _title(kind),
        tuple(
            Key(f"{path}{field.name}", docs[field.name], field.type, _default(field))
            for field in fields
        ),
    )
    for field in fields:
        for inner in _dataclasses(field.type):
            yield from key_groups(inner, f"{path}{field.name}.")


def _metavar(key: Key) -> str:
    """The choices of a key that has some, else its name."""
    if isinstance(key.type, inspect.LiteralType):
        return f"{{{','.join(map(str, key.type.values))}}}"
    return key.path.rpartition(".")[2].upper()


def _field_docs(kind: type) -> dict[str, str]:
    """The docstring below each field of a dataclass and of its bases, in one line. A field without
    one that holds a dataclass has the title of that dataclass."""
    docs = {
        field.name: " or ".join(map(_title, _dataclasses(field.type)))
        for field in inspect.type_info(kind).fields  # type: ignore[attr-defined]
    }
    for owner in reversed(kind.__mro__[:-1]):
        for field in parse_from_object(owner).params:
            docs[field.arg_name] = " ".join((field.description or "").split())
    return docs


def _title(kind: type) -> str:
    return (kind.__doc__ or "").split("\n")[0]


def _default(field: inspect.Field) -> str | None:
    """The default as YAML in one line; None where there is none, or where it is a dataclass, whose
    keys have defaults of their own."""
    if field.default is msgspec.NODEFAULT:
        return None
    return json.dumps(msgspec.to_builtins(field.default))


def _dataclasses(node: inspect.Type) -> list[type]:
    members = node.types if isinstance(node, inspect.UnionType) else (node,)
    return [member.cls for member in members if isinstance(member, inspect.DataclassType)]


def _known_options(arguments: Sequence[str], keys: Mapping[str, Key]) -> Iterator[str]:
    """The arguments; an entry of a mapping, ``--report.baselines.NAME VALUE``, as the mapping's
    own option. Raises UserError for a dotted option that is no key."""
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        path = option.removeprefix("--")
        if word == "--" or not option.startswith("--") or "." not in path or path in keys:
            yield word
            continue
        parent, _, name = path.rpartition(".")
        if parent not in keys or not isinstance(keys[parent].type, inspect.DictType):
            same_name = [key for key in keys if key.endswith(f".{name}")]
            near = get_close_matches(path, keys, n=1, cutoff=0.8) or same_name
            hint = f"did you mean {near[0]}?" if near else "--help lists the keys"
            raise UserError(f"{path}: unknown key; {hint}")
        text = value if equals else next(words, None)
        if text is None:
            raise UserError(f"{option}: expected one argument")
        yield f"--{parent}"
        yield json.dumps({name: text})


def _read_preset(name: str, kind: type, presets: str) -> dict[str, Any]:
    shipped = shipped_presets(presets)
    if name not in shipped and not Path(name).is_file():
        raise UserError(f"--preset: {name} is neither a file nor one of {', '.join(shipped)}")
    path = shipped.get(name, Path(name))
    try:
        preset = read_keys(path, "a preset")
        _check_partial(preset, kind, "")
    except UserError as error:
        raise UserError(f"--preset: {path}: {error}") from None
    return preset


def _check_partial(preset: Mapping[str, Any], kind: type, path: str) -> None:
    """Check what a preset holds, so that a mistake is reported with its file. What it leaves out
    may still come from the command line. Raises UserError."""
    kinds = get_type_hints(kind, include_extras=True)
    for name, value in preset.items():
        if name not in kinds:
            raise UserError(f"{path}{name}: unknown key, expected one of {', '.join(kinds)}")
        if is_dataclass(kinds[name]) and isinstance(value, Mapping):
            _check_partial(value, cast(type, kinds[name]), f"{path}{name}.")
        else:
            convert(value, kinds[name], f"{path}{name}")


def _value(key: Key, text: str) -> Any:
    if key.is_text:
        return text
    try:
        return read_value(text)
    except UserError as error:
        raise UserError(f"{key.path}: {error}") from None


def _merged(data: Any, path: Sequence[str], value: Any) -> dict[str, Any]:
    """``data`` with ``value`` at ``path``. A mapping is merged into the one that is there."""
    merged = dict(data) if isinstance(data, Mapping) else {}
    name, *rest = path
    if rest:
        merged[name] = _merged(merged.get(name), rest, value)
    elif isinstance(value, Mapping) and isinstance(merged.get(name), Mapping):
        merged[name] = dict(merged[name]) | dict(value)
    else:
        merged[name] = value
    return merged
