"""Compare two datasets: scenes with the same key are shown side by side."""

from __future__ import annotations

import numpy as np

from pipelines.view.dataset_index import DatasetIndex, Facet
from pipelines.view.scenes import Scenes

KINDS = ("same by index", "differs", "unknown: no index", "only here")
"""Results of the comparison of one scene."""


class Comparison:
    """The scenes of the viewed dataset, compared with those of another dataset.

    The comparison uses the digests in the two index files. It says nothing about the bytes in the
    shards; `sigma verify` checks those.

    Args:
        viewed: the dataset that the viewer shows.
        other: the dataset to compare with.

    Attributes:
        other: the dataset to compare with.
        scenes: the scenes of ``other``.
        facet: one of ``KINDS`` for each scene of ``viewed``.
        only_there: keys that only ``other`` has, sorted.
    """

    def __init__(self, viewed: DatasetIndex, other: DatasetIndex) -> None:
        self.other = other
        self.scenes = Scenes(other.shards)
        self._other_keys = frozenset(other.keys)
        self.only_there = tuple(sorted(self._other_keys.difference(viewed.keys)))

        def kind(key: str) -> int:
            if key not in self._other_keys:
                return KINDS.index("only here")
            here, there = viewed.shards.digest(key), other.shards.digest(key)
            if not (here and there):
                return KINDS.index("unknown: no index")
            return KINDS.index("same by index" if here == there else "differs")

        kinds = np.array([kind(key) for key in viewed.keys], int)
        self.facet = Facet(KINDS, np.arange(len(kinds)), kinds)

    def has(self, key: str) -> bool:
        """Whether ``other`` has a scene with this key."""
        return key in self._other_keys
