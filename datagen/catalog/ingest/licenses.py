"""SPDX identifiers of licences, from what model files and libraries write."""

from __future__ import annotations

import re
from functools import cache

from datagen import resources

_URL = re.compile(
    r"creativecommons\.org/(?:licenses/(by(?:-nc)?(?:-sa|-nd)?)/(\d\.\d)|publicdomain/(zero|mark)/1\.0)",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"\bCC[ -]?(BY(?:[ -]NC)?(?:[ -](?:SA|ND))?)[ -]?v?(\d\.\d)\b|\b(CC0)\b", re.IGNORECASE
)


def find_license(text: str) -> str:
    """The Creative Commons licence that a text names or links to, as SPDX identifier; empty where
    there is none."""
    if match := _URL.search(text):
        terms, version, public = match.groups()
        if public:
            return "CC0-1.0" if public.lower() == "zero" else "LicenseRef-PublicDomain"
        return f"CC-{terms.upper()}-{version}"
    if match := _NAME.search(text):
        terms, version, zero = match.groups()
        return "CC0-1.0" if zero else f"CC-{terms.upper().replace(' ', '-')}-{version}"
    return ""


def spdx_license(text: str) -> str:
    """The licence that ``text`` names, as SPDX identifier where there is one.

    Args:
        text: a short name ("by-sa", as Sketchfab and Objaverse write it), a name with its address
            ("CC-BY-4.0 (http://creativecommons.org/licenses/by/4.0/)"), or any other name, which
            is returned without its address.
    """
    known = _short_names().get(text.lower())
    return known or find_license(text) or re.sub(r"\s*\(https?://[^)]*\)$", "", text)


@cache
def _short_names() -> dict[str, str]:
    return resources.load("objaverse.yaml", dict[str, str])
