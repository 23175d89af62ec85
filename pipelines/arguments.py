"""What verbs have in common: parsers with an example, presets, where assets are cached."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from datagen.scene import UserError

if TYPE_CHECKING:
    from pipelines.config import DatasetConfig

CACHE = Path("~/.cache/sigma-set")


def about(verb: Callable[..., int]) -> str:
    """What a verb does, in a line: the docstring of its function."""
    return (verb.__doc__ or "").strip()


class DatasetPreset(ActionConfigFile):
    """``--preset``: the name of a preset of ``kind`` that comes with the package, or a YAML file.
    Raises UserError."""

    kind = "dataset"

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        shipped = resources.files("pipelines") / "presets" / self.kind
        names = sorted(preset.name.removesuffix(".yaml") for preset in shipped.iterdir())
        if values in names:
            values = str(shipped / f"{values}.yaml")
        elif not Path(values).is_file():
            raise UserError(f"--preset: {values} is neither a file nor one of {', '.join(names)}")
        try:
            self.apply_config(parser, cfg, self.dest, values)
        except (OSError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"--preset: {values}: {error}; expected a preset in YAML") from None
        except (argparse.ArgumentError, TypeError) as error:
            raise UserError(f"--preset: {values}: {error}") from None


class TrainingPreset(DatasetPreset):
    kind = "train"


def verb_parser(name: str, verb: Callable[..., int], example: str) -> ArgumentParser:
    """One that raises for bad arguments, and does not exit: ``main`` tells of every mistake."""
    return ArgumentParser(
        prog=f"sigma {name}",
        description=about(verb),
        epilog=f"example: {example}",
        exit_on_error=False,
    )


def dataset_parser(name: str, verb: Callable[..., int], example: str) -> ArgumentParser:
    """With every key of ``DatasetConfig``."""
    from pipelines.config import DatasetConfig

    parser = verb_parser(name, verb, example)
    parser.add_argument(
        "--preset", action=DatasetPreset, help="mini (the default), real, or a YAML file"
    )
    parser.add_argument("--out", help="a folder or an fsspec URL (default: out/NAME)")
    add_cache(parser)
    parser.add_class_arguments(DatasetConfig)
    return parser


def add_cache(parser: ArgumentParser) -> None:
    parser.add_argument("--cache", default=str(CACHE), help="where prepared assets are kept")


def cache_of(args: Namespace) -> Path:
    return Path(args.cache).expanduser()


def parse_dataset(parser: ArgumentParser, arguments: list[str]) -> tuple[Namespace, DatasetConfig]:
    """Of a ``dataset_parser``: what was given, and the configuration that it makes."""
    from pipelines.config import DatasetConfig

    args, made = parse_preset(parser, arguments, "mini")
    fields = DatasetConfig.__dataclass_fields__
    config = DatasetConfig(**{field: made[field] for field in fields})
    args.out = args.out or f"out/{config.name}"
    return args, config


def parse_preset(
    parser: ArgumentParser, arguments: list[str], default: str
) -> tuple[Namespace, Namespace]:
    """What was given, plain and with its dataclasses made."""
    named = any(word.split("=")[0] == "--preset" for word in arguments)
    args = parser.parse_args(arguments if named else ["--preset", default, *arguments])
    return args, parser.instantiate(args)


def need(package: str, extra: str) -> None:
    """Raises UserError where a verb's package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"{package} is not installed; it comes with an extra: uv pip install -e '.[{extra}]'"
        )
