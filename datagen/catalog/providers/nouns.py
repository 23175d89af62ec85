"""Names that people give to models, made into nouns for captions and kinds for counting.

The words are data: assets/nouns.yaml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from datagen import resources


@dataclass(frozen=True)
class _Words:
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
    """What a caption may call a thing of this name after "a" or "an"; empty when the name says
    nothing. "Black Office Chair 2" -> "office chair", "Scissors" -> "pair of scissors"."""
    words = re.sub(r"\(.*?\)|\[.*?\]", " ", name).replace("_", " ").split()
    kept = [_lowered(word) for word in words if word.lower() not in _words().dropped]
    while kept and not re.fullmatch(r"[^\W\d_][\w'-]*", kept[-1]):
        kept.pop()
    if not kept or sum(map(str.isalpha, kept[-1])) < 2:
        return ""
    return _countable(" ".join(kept))


def category(noun: str) -> str:
    """The kind of thing that a noun names, lower-case: its head, under one name for all its
    synonyms. "office chair" -> "chair", "pair of scissors" -> "scissors", "woman" -> "person"."""
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


def _lowered(word: str) -> str:
    """Lower-case, except proper adjectives and what has capitals inside (TV, iPhone)."""
    keep = word in _words().proper or word[1:] != word[1:].lower()
    return word if keep else word.lower()


def _countable(noun: str) -> str:
    words = _words()
    if " of " in noun:  # a pair of, a vase of
        return noun
    *before, last = noun.split()
    if last in words.wholes:
        whole = words.wholes[last]
        start = whole.removesuffix(last)
        return start + noun if start != whole else " ".join([*before, whole])
    plural = re.search(r"[^suia]s$", last) and last not in words.singular
    return f"set of {noun}" if plural else noun
