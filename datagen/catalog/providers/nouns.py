"""Derives nouns for captions, and categories, from the names that people give to models.

The words are data: assets/nouns.yaml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from datagen import resources


@dataclass(frozen=True)
class _Words:
    """The content of assets/nouns.yaml."""

    dropped: frozenset[str]
    wholes: dict[str, str]
    proper: frozenset[str]
    singular: frozenset[str]
    measures: frozenset[str]
    generic: frozenset[str]
    categories: dict[str, str]


@cache
def _words() -> _Words:
    return resources.load("nouns.yaml", _Words)


def noun(name: str) -> str:
    """The noun that a caption uses after "a" or "an" for a model of this name; empty where the name
    contains none. "Black Office Chair 2" -> "office chair", "Scissors" -> "pair of scissors"."""
    words = re.sub(r"\(.*?\)|\[.*?\]", " ", name).replace("_", " ").split()
    kept = [_lower(word) for word in words if word.lower() not in _words().dropped]
    while kept and not re.fullmatch(r"[^\W\d_][\w'-]*", kept[-1]):
        kept.pop()
    if not kept or sum(map(str.isalpha, kept[-1])) < 2:
        return ""
    return _countable(" ".join(kept))


def category(noun: str) -> str:
    """The category of a noun in lower case: its head, with one word for all synonyms.
    "office chair" -> "chair", "pair of scissors" -> "scissors", "woman" -> "person"."""
    words = _words()
    head = noun.lower().strip() or "object"
    first, _, rest = head.partition(" of ")
    if rest and first in words.measures:
        head = rest
    head = re.split(r" (?:of|with|and|in|on|for|lying) ", head)[0]
    last = head.split()[-1]
    two = " ".join(head.split()[-2:])
    for known in (noun.lower(), head, two, last):
        if known in words.categories:
            return words.categories[known]
    return two if last in words.generic else last


def _lower(word: str) -> str:
    """The word in lower case, except proper adjectives and words with capitals inside (TV,
    iPhone)."""
    keep = word in _words().proper or word[1:] != word[1:].lower()
    return word if keep else word.lower()


def _countable(noun: str) -> str:
    """The noun as one countable thing: "pair of ...", "set of ..." for plurals."""
    words = _words()
    if " of " in noun:  # "pair of ...", "vase of ..."
        return noun
    *before, last = noun.split()
    if last in words.wholes:
        whole = words.wholes[last]
        start = whole.removesuffix(last)
        return start + noun if start != whole else " ".join([*before, whole])
    plural = re.search(r"[^suia]s$", last) and last not in words.singular
    return f"set of {noun}" if plural else noun
