"""Two sets side by side, scene by scene of one key."""

from __future__ import annotations

import numpy as np

from pipelines.view.catalogue import Catalogue, Facet
from pipelines.view.scenes import Scenes

KINDS = ("same bytes", "differs", "only here")


class Comparison:
    """Of the set that is looked at with an ``other`` one. ``facet``: of ``KINDS``, by the digests
    of the indices; without an index to tell, what is in both is said to differ. ``only_there``:
    the keys that only the other one has."""

    def __init__(self, mine: Catalogue, other: Catalogue) -> None:
        self.other = other
        self.scenes = Scenes(other.shards)
        self._theirs = frozenset(other.keys)
        self.only_there = tuple(sorted(self._theirs.difference(mine.keys)))

        def kind(key: str) -> int:
            if key not in self._theirs:
                return 2
            digest = mine.shards.digest(key)
            return int(not digest or digest != other.shards.digest(key))

        kinds = np.array([kind(key) for key in mine.keys], int)
        self.facet = Facet(KINDS, np.arange(len(kinds)), kinds)

    def has(self, key: str) -> bool:
        return key in self._theirs
