"""The indefinite article of English nouns, by the sound of their first word."""

from __future__ import annotations

import re

# "an" before a vowel letter, except before words that begin with one of these (lower case) ...
_A_BEFORE = (
    "eu", "ewe", "one", "once", "u-", "ubiq", "uke", "uni", "usa", "use", "usu", "ute", "uti"
)  # fmt: skip
# ... and "an" before words that begin with a silent h.
_AN_BEFORE = ("heir", "honest", "honor", "honour", "hour")
# Words in capitals are read letter by letter; the names of these letters begin with a vowel.
_AN_LETTERS = "AEFHILMNORSX"
# Words in capitals that are read as words.
_READ_AS_WORDS = ("LEGO", "MIDI", "NASA", "RAM", "RAID", "SIM", "LAN")


def article(words: str) -> str:
    """The indefinite article of a noun or a noun phrase: "a" or "an".

    The package ``inflect`` was tried and not taken: it has "a SUV" and would change captions of
    published sets.

    Args:
        words: At least one character; only the first word counts, which ends at a space or a
            hyphen.
    """
    first = re.split(r"[\s-]", words)[0]
    if len(first) > 1 and first.isupper() and first not in _READ_AS_WORDS:
        vowel = first[0] in _AN_LETTERS
    elif words.lower().startswith(_AN_BEFORE):
        vowel = True
    else:
        vowel = words[0].lower() in "aeiou" and not words.lower().startswith(_A_BEFORE)
    return "an" if vowel else "a"


def with_article(words: str) -> str:
    """``words`` after their indefinite article: "an hourglass", "a VW Polo"."""
    return f"{article(words)} {words}"
