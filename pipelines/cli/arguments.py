"""What verbs have in common: parsers with an example, presets, where assets are cached."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace, set_parsing_settings

from datagen.errors import UserError
from pipelines.yaml_file import read_keys

if TYPE_CHECKING:
    from pipelines.dataset.config import DatasetConfig

CACHE = Path("~/.cache/sigma-set")

# Of errors of jsonargparse's, in a line each.
_KEY = re.compile(r'Parser key "([^"]+)": ?')
_DATACLASS = re.compile(r"Problem with given class_path '([\w.]+)'")
_UNION = re.compile(r"Subtypes: \[(?P<kinds>.*?)\] Errors: .* Given value: (?P<value>.*)")
_REWORDED = (
    (r"Expected a <class 'bool'>\. Got value: (.*)", r"\1, expected true or false"),
    (r"Expected a <class 'int'>\. Got value: (.*)", r"\1, expected a whole number"),
    (r"Expected a <class 'float'>\. Got value: (.*)", r"\1, expected a number"),
    (r"Expected a <class 'tuple'>\. Got value: (.*)", r"\1, expected a list"),
    (r"Expected a <class 'dict'>\. Got value: (.*)", r"\1, expected keys with values"),
    (r"Expected a tuple with (\d+) elements\. Got value: (.*)", r"\2, expected \1 values"),
    (r"Expected a typing\.Literal\[(.*)\]\. Got value: (.*)", r"\2, expected one of \1"),
    (r"(\S+) does not conform to restriction (.*)", r"\1, expected a number v with \2"),
    (r"invalid literal for int\(\) with base 10: '(.*)'", r"\1, expected a whole number"),
    (r"could not convert string to float: '(.*)'", r"\1, expected a number"),
)


def about(verb: Callable[..., int]) -> str:
    """What a verb does, in a line: the docstring of its function."""
    return (verb.__doc__ or "").strip()


def shipped_presets(kind: str) -> dict[str, str]:
    """The presets of ``kind``, "dataset" or "train", that come with the package: files by name."""
    files = (resources.files("pipelines") / "presets" / kind).iterdir()
    return {file.name.removesuffix(".yaml"): str(file) for file in sorted(files, key=str)}


class DatasetPreset(ActionConfigFile):
    """``--preset``: the name of a preset of ``kind`` that comes with the package, or a YAML file.
    Raises UserError."""

    kind = "dataset"

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        shipped = shipped_presets(self.kind)
        if values not in shipped and not Path(values).is_file():
            raise UserError(f"--preset: {values} is neither a file nor one of {', '.join(shipped)}")
        file = shipped.get(values, values)
        try:
            read_keys(Path(file), "a preset")
            self.apply_config(parser, cfg, self.dest, file)
            parser.validate(cfg, skip_required=True)
        except UserError as error:
            raise UserError(f"--preset: {file}: {error}") from None
        except RecursionError:
            raise UserError(f"--preset: {file}: a value that holds itself") from None
        except (argparse.ArgumentError, TypeError, KeyError) as error:
            raise UserError(f"--preset: {file}: {explained(error)}") from None


class TrainingPreset(DatasetPreset):
    kind = "train"


def verb_parser(
    name: str, verb: Callable[..., int], example: str, usage: str | None = None
) -> ArgumentParser:
    """One that raises for bad arguments, and does not exit: ``main`` tells of every mistake.
    ``usage``: what may follow the name, where all of it would be too much."""
    return ArgumentParser(
        prog=f"sigma {name}",
        usage=usage and f"sigma {name} {usage}",
        description=about(verb),
        epilog=f"example: {example}",
        exit_on_error=False,
    )


def add_keys(parser: ArgumentParser, config: type) -> None:
    """Every key of the dataclass ``config``; the docstring below a field is its help."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser.add_class_arguments(config)


def dataset_parser(name: str, verb: Callable[..., int], example: str, usage: str) -> ArgumentParser:
    """With every key of ``DatasetConfig``."""
    from pipelines.dataset.config import DatasetConfig

    parser = verb_parser(name, verb, example, usage)
    parser.add_argument(
        "--preset", action=DatasetPreset, help="mini (the default), real, or a YAML file"
    )
    parser.add_argument("--out", help="a folder or an fsspec URL (default: out/NAME)")
    add_cache(parser)
    add_keys(parser, DatasetConfig)
    return parser


def add_cache(parser: ArgumentParser) -> None:
    parser.add_argument("--cache", default=str(CACHE), help="where prepared assets are kept")


def cache_of(args: Namespace) -> Path:
    return Path(args.cache).expanduser()


def parse_dataset(parser: ArgumentParser, arguments: list[str]) -> tuple[Namespace, DatasetConfig]:
    """Of a ``dataset_parser``: what was given, and the configuration that it makes."""
    from pipelines.dataset.config import DatasetConfig

    args, made = parse_preset(parser, arguments, "mini")
    config = DatasetConfig(**{field.name: made[field.name] for field in fields(DatasetConfig)})
    args.out = args.out or f"out/{config.name}"
    return args, config


def parse_preset(
    parser: ArgumentParser, arguments: list[str], default: str
) -> tuple[Namespace, Namespace]:
    """What was given, plain and with its dataclasses made. Raises argparse.ArgumentError."""
    named = any(word.split("=")[0] == "--preset" for word in arguments)
    args = parser.parse_args(arguments if named else ["--preset", default, *arguments])
    return args, parser.instantiate(args)


def explained(error: BaseException) -> str:
    """What is wrong, in a line that begins with the key. jsonargparse wraps an error into another
    one for each dataclass around the value, and for a union into a list of all that the value
    could have been: the innermost of these causes says it."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    told = [" ".join(str(cause).split()) for cause in causes]
    keys = dict.fromkeys(found[1] for words in told if (found := _KEY.match(words)))
    within = [found[1] for words in told if (found := _DATACLASS.match(words))]
    wrong = _KEY.sub("", told[-1])
    if within and wrong.endswith("is not accepted"):
        module, _, name = within[-1].rpartition(".")
        known = fields(getattr(sys.modules[module], name))
        wrong += f", expected {', '.join(field.name for field in known)}"
    elif not within and (union := _UNION.search(told[0])):
        kinds = " or ".join(re.findall(r"(\w+)'>", union["kinds"]))
        wrong = f"{union['value']}, expected {kinds.replace('NoneType', 'null')}"
    else:
        for pattern, words in _REWORDED:
            if found := re.fullmatch(pattern, wrong):
                wrong = found.expand(words)
    return f"{'.'.join(keys)}: {wrong}" if keys else wrong


def need(package: str, extra: str) -> None:
    """Raises UserError where a verb's package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"{package} is not installed; it comes with an extra: uv pip install -e '.[{extra}]'"
        )
