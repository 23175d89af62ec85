"""Two sets side by side, scene by scene of one key."""

from __future__ import annotations

import numpy as np

from pipelines.view.dataset_index import Catalogue, Facet
from pipelines.view.scenes import Scenes

KINDS = ("same by index", "differs", "no index to tell", "only here")


class Comparison:
    """Of the set that is looked at with an ``other`` one. ``facet``: of ``KINDS``, by the digests
    of the indices, which prove nothing of the bytes that lie there (``sigma verify`` does).
    ``only_there``: the keys that only the other one has."""

    def __init__(self, mine: Catalogue, other: Catalogue) -> None:
        self.other = other
        self.scenes = Scenes(other.shards)
        self._theirs = frozenset(other.keys)
        self.only_there = tuple(sorted(self._theirs.difference(mine.keys)))

        def kind(key: str) -> int:
            if key not in self._theirs:
                return KINDS.index("only here")
            here, there = mine.shards.digest(key), other.shards.digest(key)
            if not (here and there):
                return KINDS.index("no index to tell")
            return KINDS.index("same by index" if here == there else "differs")

        kinds = np.array([kind(key) for key in mine.keys], int)
        self.facet = Facet(KINDS, np.arange(len(kinds)), kinds)

    def has(self, key: str) -> bool:
        return key in self._theirs
