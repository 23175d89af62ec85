"""Reads the data files of ``assets/``: vocabularies, palettes, grammar, parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")

_PACKAGED = Path(__file__).resolve().with_name("assets")
_CHECKOUT = Path(__file__).resolve().parents[1] / "assets"
ASSETS = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
"""Inside the package where a wheel is installed, beside it in a checkout."""


def words(file: str) -> frozenset[str]:
    """The words of a text file of ``assets/``: one a line, but for lines that begin with "#"."""
    lines = (ASSETS / file).read_text("utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def load(file: str, kind: type[T]) -> T:
    """One YAML file of ``assets/``, decoded strictly as ``kind``.

    Raises:
        msgspec.ValidationError: the file does not have this form. The files ship with the code,
            so this is a fault of the installation and not of the user.
    """
    return msgspec.yaml.decode((ASSETS / file).read_bytes(), type=kind)
