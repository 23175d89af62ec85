"""Derives nouns for captions, and categories, from the names that people give to models.

A catalogue states what its models are, and its words are believed (``noun``). The name of a file
often means something else ("assets 3", "SM_Prop_02"): of it, only words are used that name a thing
(``noun_of_file``). The words are data: assets/nouns.yaml and assets/things.txt.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from itertools import takewhile

from datagen import resources


@dataclass(frozen=True)
class _Words:
    """The content of assets/nouns.yaml."""

    things: frozenset[str]
    not_things: frozenset[str]
    materials: frozenset[str]
    compounds: frozenset[str]
    containers: frozenset[str]
    several_or_part: frozenset[str]
    modifiers: frozenset[str]
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


def noun_of_file(path: str) -> str:
    """The noun of a model from the name of its file, or else of the nearest folder whose name is
    that of a thing; empty where no name is. "props/barrel_small.glb" -> "barrel",
    "mugs/0007.obj" -> "mug", "assets 3.glb" -> "".

    The noun is the last word that names a thing, with up to two words just before it that are known
    to qualify things: names put a size, a colour or a number last. A folder is named for what is in
    it only if its name ends with the thing: "chairs", but not "chair pack".
    """
    *folders, file = os.path.splitext(path)[0].split("/")
    words = _words_of(file)
    while words and not _is_thing(words):
        last = words.pop().lower()
        if words and last in _words().several_or_part:
            return ""
    for folder in reversed(folders):
        if words:
            break
        words = [word for word in _words_of(folder) if word.lower() not in _words().dropped]
        words = [*words[:-1], _singular(words[-1])] if _is_thing(words) else []
    if not words:
        return ""
    before = [word for word in reversed(words[:-1]) if word.lower() not in _words().dropped]
    known = [*takewhile(_qualifies, before)][1::-1]
    if known and known[-1].lower() in _words().containers and _is_plural(words[-1]):
        return f"{noun(' '.join(known))} of {words[-1].lower()}"
    return noun(" ".join([*known, words[-1]]))


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
    one = _singular(last)
    for known in (noun.lower(), head, two, last, one):
        if known in words.categories:
            return words.categories[known]
    return two if last in words.generic else one


@cache
def _things() -> frozenset[str]:
    return (resources.words("things.txt") | _words().things) - _words().not_things


def _words_of(name: str) -> list[str]:
    """The words of a file's name without its numbers: "officeChair-02" -> "office", "Chair". A word
    with digits before letters is probably a generated id, and is left out."""
    text = re.sub(r"\(.*?\)|\[.*?\]", " ", name)
    tokens = [token for token in re.split(r"[\W_]+", text) if not re.search(r"\d[^\W\d]", token)]
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", " ".join(tokens))
    words = [word for word in re.sub(r"\d+", " ", spaced).split() if word.isalpha()]
    return [part for word in words for part in _parted(word)]


def _parted(word: str) -> list[str]:
    """The two known words of which an unknown word consists ("kitchencounter" -> "kitchen",
    "counter"), or else the word."""
    lower = word.lower()
    if word.isupper() or _is_known(lower) or _singular(lower) in _things():
        return [word]
    shortest = 3
    for end in range(shortest, len(lower) - shortest + 1):
        first, last = lower[:end], lower[end:]
        if _singular(last) in _things() and _qualifies(first):
            return [first, last]
    return [word]


def _is_known(word: str) -> bool:
    """Whether a word, in lower case, is known as another word than the name of a thing."""
    words = _words()
    known = (
        words.not_things,
        words.several_or_part,
        words.dropped,
        words.modifiers,
        words.materials,
    )
    return any(word in some for some in known)


def _is_thing(words: list[str]) -> bool:
    """Whether the last word is the head of a noun: it names a thing, and does not only say of
    what material or kind the thing before it is ("table_round")."""
    if not words:
        return False
    last = _singular(words[-1])
    if last in _words().dropped or not ({last, words[-1].lower()} & _things()):
        return False
    stands_after_thing = len(words) > 1 and _singular(words[-2]) in _things()
    compound = stands_after_thing and f"{words[-2]} {words[-1]}".lower() in _words().compounds
    says_how = last in _words().materials or last in _words().modifiers
    return compound or not (stands_after_thing and says_how)


def _qualifies(word: str) -> bool:
    """Whether a noun keeps this word before its head."""
    words, lower = _words(), word.lower()
    known = (words.modifiers, words.materials, words.proper, _things())
    return any(lower in some or word in some for some in known)


def _is_plural(word: str) -> bool:
    """Whether the word is the plural of the name of a thing."""
    return _singular(word) != word.lower()


def _singular(word: str) -> str:
    """The word in lower case, in the singular if that is the name of a thing."""
    lower = word.lower()
    endings = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("men", "man"), ("es", ""), ("s", ""))
    singulars = [lower.removesuffix(s) + end for s, end in endings if lower.endswith(s)]
    kept = lower in _words().wholes or lower in _words().singular
    return lower if kept else next((one for one in singulars if one in _things()), lower)


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
