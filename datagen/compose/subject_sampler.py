"""Who shares a scene: subjects alike in size, of distinct assets, looks and captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from datagen.catalog.looks.appearance import draw_appearance, fingerprint
from datagen.compose.captions import describe
from datagen.scene import Asset, Identity

MAX_PER_CATEGORY = 2
"""Subjects of one category in a scene, at most."""

# Looks drawn for an asset before it is passed over; assets of a category that wait behind those
# that a scene may take; groups tried for a scene, beside one for each asset.
_LOOKS = 12
_SPARE = 2
_GROUPS = 60
# Of the squares over the longest sides of all subjects, what the least silhouette must come to.
# Whatever picture holds them all, pens in a crowd are too small in it: of 144 groups of
# sweethome3d's models all above 0.0145 found a layout, and of six below it three.
_ROOM = 0.016


class SubjectSampler:
    """The assets of one split, and how often each was taken: the least used come first."""

    def __init__(
        self, assets: Sequence[Asset], size_ratio: float, rng: np.random.Generator, taken: set[str]
    ) -> None:
        self._assets = sorted(assets, key=lambda asset: (asset.silhouette, asset.id))
        self._sizes = np.sqrt([asset.silhouette for asset in self._assets])
        categories = [asset.category for asset in self._assets]
        self._kinds = np.unique(categories, return_inverse=True)[1]
        self._ratio = size_ratio
        self._rng = rng
        self._taken = taken
        # Whole part: times used. The rest: a random place in the queue, drawn anew at each use.
        self._turn = rng.random(len(assets))

    def scene(self, count: int) -> tuple[Identity, ...] | None:
        """``count`` subjects, or None when no group of assets can be found.

        The least used asset and a size band around it are drawn; the others are the least used
        of the band. An asset that finds no company waits as if it had been used.
        """
        for _ in range(_GROUPS + len(self._assets)):
            anchor = int(self._turn.argmin()) if len(self._turn) else -1
            if anchor < 0:
                return None
            smallest = self._sizes[anchor] / self._ratio ** self._rng.random()
            low = int(np.searchsorted(self._sizes, smallest * (1 - 1e-9)))
            high = int(np.searchsorted(self._sizes, smallest * self._ratio, side="right"))
            chosen = self._company(anchor, low, high, count)
            for place, _ in chosen if len(chosen) == count else [(anchor, None)]:
                self._turn[place] = np.floor(self._turn[place]) + 1 + self._rng.random()
            if len(chosen) == count:
                identities = [identity for _, identity in chosen]
                self._taken.update(identity.id for identity in identities)
                return tuple(identities[i] for i in self._rng.permutation(count))
        return None

    def _company(self, anchor: int, low: int, high: int, count: int) -> list[tuple[int, Identity]]:
        """Up to ``count`` subjects of assets ``low`` to ``high``, the anchor first, and none where
        there cannot be so many."""
        queue = self._queue(low, high, count)
        chosen: list[tuple[int, Identity]] = []
        categories: Counter[str] = Counter()
        captions: set[str] = set()
        for place in [anchor, *(place for place in queue if place != anchor)] if queue else []:
            asset = self._assets[place]
            if categories[asset.category] == MAX_PER_CATEGORY:
                continue
            found = self._look(asset, captions, [identity for _, identity in chosen])
            if found is None:
                continue
            identity, caption = found
            chosen.append((place, identity))
            categories[asset.category] += 1
            captions.add(caption)
            if len(chosen) == count:
                break
        return chosen

    def _queue(self, low: int, high: int, count: int) -> list[int]:
        """Of assets ``low`` to ``high`` the least used of each category, with some to spare, the
        least used first; empty where their categories are too few for ``count`` subjects."""
        order = np.argsort(self._turn[low:high])
        kinds = self._kinds[low:high][order]
        grouped = np.argsort(kinds, kind="stable")
        starts = np.flatnonzero(np.diff(kinds[grouped], prepend=-1))
        rank = np.empty(len(order), dtype=int)
        rank[grouped] = np.arange(len(order)) - np.repeat(
            starts, np.diff(starts, append=len(order))
        )
        if np.count_nonzero(rank < MAX_PER_CATEGORY) < count:
            return []
        return [int(place) + low for place in order[rank < MAX_PER_CATEGORY + _SPARE]]

    def _look(
        self, asset: Asset, captions: set[str], company: list[Identity]
    ) -> tuple[Identity, str] | None:
        """A new identity of the asset that suits those chosen before, and its caption."""
        for _ in range(_LOOKS):
            appearance = draw_appearance(asset, self._rng)
            identity = Identity(fingerprint(asset, appearance), asset, appearance)
            if identity.id in self._taken or not self._fit([*company, identity]):
                continue
            caption = describe(identity)
            if caption not in captions:
                return identity, caption
        return None

    def _fit(self, company: list[Identity]) -> bool:
        """Whether one picture can show them all."""
        sizes = [identity.apparent_size for identity in company]
        spread = sum(max(identity.size) ** 2 for identity in company)
        return max(sizes) <= self._ratio * min(sizes) and min(sizes) ** 2 >= _ROOM * spread
