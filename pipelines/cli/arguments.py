"""What verbs have in common: a parser with an example, typed options, the cache of assets."""

from __future__ import annotations

import argparse
import importlib.util
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from datagen.errors import UserError
from datagen.validation import convert
from pipelines.yaml_file import read_value

CACHE = Path("~/.cache/sigma-set")


class VerbParser(argparse.ArgumentParser):
    """Raises UserError for bad arguments and does not exit: ``main`` reports every mistake.

    Args:
        name: of the verb, as after ``sigma``.
        verb: its function, whose docstring is the description.
        example: a command that works, for the end of the help text.
        usage: what may follow the name, where all of it would be too much.
    """

    def __init__(
        self, name: str, verb: Callable[..., int], example: str, usage: str | None = None
    ) -> None:
        super().__init__(
            prog=f"sigma {name}",
            usage=usage and f"sigma {name} {usage}",
            description=summary(verb),
            epilog=f"example: {example}",
            exit_on_error=False,
            allow_abbrev=False,
            formatter_class=_HelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(message)

    def parse_args(self, arguments: Sequence[str]) -> Namespace:  # type: ignore[override]
        """Raises:
        UserError: an unknown or missing argument, or a value that an option cannot have.
        """
        try:
            return super().parse_args(arguments)
        except argparse.ArgumentError as error:
            raise UserError(f"{error.argument_name}: {error.message}") from None

    def add_cache(self) -> None:
        """``--cache``; ``cache_folder`` reads it."""
        self.add_argument("--cache", default=str(CACHE), help="where prepared assets are kept")


class _HelpFormatter(argparse.HelpFormatter):
    """Room for the dotted names of keys beside their help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)


def summary(verb: Callable[..., int]) -> str:
    """What a verb does, in one line: the docstring of its function."""
    return (verb.__doc__ or "").strip()


def cache_folder(args: Namespace) -> Path:
    """The folder that ``--cache`` names."""
    return Path(args.cache).expanduser()


def option_of(kind: Any) -> Callable[[str], Any]:
    """A ``type`` for an option whose value must be a ``kind``, bounds included."""

    def parse(text: str) -> Any:
        try:
            return convert(read_value(text), kind)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def require_extra(package: str, extra: str) -> None:
    """Raises:
    UserError: ``package`` is not installed; the message names the extra that brings it.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"{package} is not installed; it comes with an extra: uv pip install -e '.[{extra}]'"
        )
