"""Changes prompts and captions so that they stay true of augmented pictures.

Works on the text alone: a prompt may come from our grammar (assets/prompts.yaml) or from a language
model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from datagen.articles import article, with_article
from datagen.scene import Prompt

_COLORS = (
    "amber|aqua|auburn|azure|beige|black|blonde?|blue|bronze|brown|burgundy|chestnut|copper|coral|"
    "cream|crimson|cyan|emerald|fuchsia|ginger|gold|golden|gray|green|grey|indigo|ivory|khaki|"
    "lavender|lilac|lime|magenta|maroon|mauve|mustard|navy|ochre|olive|orange|peach|pink|plum|"
    "purple|red|rose|rust|salmon|sapphire|scarlet|silver|silvery|tan|teal|terracotta|turquoise|"
    "umber|vermilion|violet|white|yellow"
)
_ONE_COLOR = (
    r"(?:(?:bright|dark|deep|light|muted|pale|pastel|vivid)[ -])?"
    rf"(?:{_COLORS})(?:ish)?(?:[ -]colou?red)?"
)
# One colour or several before a noun, with the article, which may have to change. Where no noun
# follows, the word may be a noun itself: "a rose with leaves", "an orange and a knife".
_COLORS_BEFORE = re.compile(
    rf"\b(?:(an?) )?{_ONE_COLOR}(?:(?:,? and |, | or |-and-|-| ){_ONE_COLOR})* "
    r"(?!(?:and|at|by|in|near|next|of|on|or|under|with)\b)(?=(\w+))",
    re.IGNORECASE,
)
_ANY_COLOR = re.compile(rf"\b(?:{_COLORS})(?:ish)?\b", re.IGNORECASE)

_OTHER_SIDE = {"left": "right", "right": "left"}
# Not where "right" means "exactly" or "left" means "remaining": not "right behind", but "the right
# behind".
_NO_SIDE = r"(?:above|after|angle|at|before|behind|below|beneath|beside|by|in|next|now|over|under)"
_SIDE = re.compile(
    rf"\b(?:(?<=the )|(?!\w+ {_NO_SIDE}\b))(?:left|right)(?=\b|most\b|wards?\b)", re.IGNORECASE
)


def mirrored(words: str) -> str:
    """``words`` with "left" and "right" exchanged. Doing it twice gives ``words`` back."""
    return _SIDE.sub(lambda side: _like(side[0], _OTHER_SIDE[side[0].lower()]), words)


def colorless(caption: str, category: str) -> str:
    """A caption without its colours; patterns are kept: "an orange mug with white stripes" becomes
    "a mug with stripes". Where colours cannot be removed, the ``category`` with its article."""
    plain = _COLORS_BEFORE.sub(_uncolored, caption)
    return with_article(category) if _ANY_COLOR.search(plain) else plain


def plain_prompt(captions: Sequence[str], background: str) -> Prompt:
    """A prompt that lists the subjects in their order and names the place, without relations."""
    *before, last = captions
    names = f"{', '.join(before)}, and {last}" if before else last
    return Prompt(f"{names[0].upper()}{names[1:]} in {background}.", background)


def _like(word: str, other: str) -> str:
    """``other`` in upper case, capitalised or unchanged, as ``word`` is."""
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def _uncolored(found: re.Match[str]) -> str:
    before, noun = found.groups()
    return f"{_like(before, article(noun))} " if before else ""
