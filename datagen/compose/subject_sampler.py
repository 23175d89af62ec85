"""Samples the subjects of a scene: alike in size, at home in one setting where that can be had, of
distinct shapes, appearances and captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from datagen.catalog.looks.appearance import fingerprint, sample_appearance
from datagen.compose.captions import describe
from datagen.compose.environment import settings
from datagen.scene import Asset, Identity

MAX_PER_CATEGORY = 2
"""Most subjects of one category in a scene."""

NO_CATEGORY = "object"
"""Category of assets about which no word is known. They may be of any kind, so that neither
``MAX_PER_CATEGORY`` nor distinct captions can be asked of them."""

# Appearances sampled for an asset before it is passed over.
_APPEARANCE_TRIES = 12
# Assets per category that are considered beyond the ``MAX_PER_CATEGORY`` that a scene may take.
_SPARE_PER_CATEGORY = 2
# Groups tried for a scene, in addition to one for each asset.
_GROUP_TRIES = 60
# Least silhouette in a scene, as a share of the sum over its subjects of the squared longest side.
# Below it no image can hold all subjects and show the smallest well (pens among many things): of
# 144 groups of sweethome3d's models, all above 0.0145 found a layout, and of six below it three.
_MIN_SILHOUETTE_SHARE = 0.016


class SubjectSampler:
    """Samples scenes from the assets of one split; the least used assets come first.

    Args:
        assets: the assets of the split.
        size_ratio: the apparent sizes of a scene's subjects differ by this factor at most.
        recolor: share of the identities of assets from files that are recoloured.
        rng: source of randomness.
        taken: ids of the identities that are in the plan already; the sampler adds to it.
    """

    def __init__(
        self,
        assets: Sequence[Asset],
        size_ratio: float,
        recolor: float,
        rng: np.random.Generator,
        taken: set[str],
    ) -> None:
        self._assets = sorted(assets, key=lambda asset: (asset.silhouette, asset.id))
        self._sizes = np.sqrt([asset.silhouette for asset in self._assets])
        kinds = [_kind(asset) for asset in self._assets]
        self._kinds = np.unique(kinds, return_inverse=True)[1]
        shapes = [shape_of(asset) for asset in self._assets]
        self._shapes = np.unique(shapes, return_inverse=True)[1]
        # (settings, assets): which assets belong in each setting; those at home in none, in all.
        homes = np.array(
            [[asset.category in known for asset in self._assets] for known in settings().values()],
            bool,
        )
        self._belongs = homes[homes.any(axis=1)] | ~homes.any(axis=0)
        self._size_ratio = size_ratio
        self._recolor = recolor
        self._rng = rng
        self._taken = taken
        # Place of each asset in the queue, the smallest first. The whole part counts how often the
        # asset was used; the rest is random and sampled anew at each use.
        self._priority = rng.random(len(assets))

    def scene(self, count: int) -> tuple[Identity, ...] | None:
        """The ``count`` subjects of the next scene, or None where no group of assets is found.

        The anchor is the least used asset. A range of sizes around it is sampled, and one of the
        settings in which it belongs. The other subjects are the least used assets in that range
        that belong in that setting, or, if they are too few, of all in that range. An anchor for
        which no group is found goes back in the queue as if it had been used.
        """
        for _ in range(_GROUP_TRIES + len(self._assets)):
            anchor = int(self._priority.argmin()) if len(self._priority) else -1
            if anchor < 0:
                return None
            smallest = self._sizes[anchor] / self._size_ratio ** self._rng.random()
            low = int(np.searchsorted(self._sizes, smallest * (1 - 1e-9)))
            high = int(np.searchsorted(self._sizes, smallest * self._size_ratio, side="right"))
            group = self._group(anchor, self._setting(anchor), low, high, count)
            if len(group) < count:
                group = self._group(anchor, np.ones(len(self._assets), bool), low, high, count)
            for index, _ in group if len(group) == count else [(anchor, None)]:
                self._priority[index] = np.floor(self._priority[index]) + 1 + self._rng.random()
            if len(group) == count:
                identities = [identity for _, identity in group]
                self._taken.update(identity.id for identity in identities)
                return tuple(identities[i] for i in self._rng.permutation(count))
        return None

    def _setting(self, anchor: int) -> np.ndarray:
        """Which assets (A,) belong in a setting in which the anchor does."""
        possible = np.flatnonzero(self._belongs[:, anchor])
        if not len(possible):  # no asset is at home anywhere
            return np.ones(len(self._assets), bool)
        return np.asarray(self._belongs[possible[self._rng.integers(len(possible))]])

    def _group(
        self, anchor: int, allowed: np.ndarray, low: int, high: int, count: int
    ) -> list[tuple[int, Identity]]:
        """Up to ``count`` subjects (index of the asset, identity) of those of the assets ``low`` to
        ``high`` that are ``allowed`` (A,), the anchor first; none where there cannot be so many."""
        queue = self._queue(allowed, low, high, count)
        group: list[tuple[int, Identity]] = []
        kinds: Counter[str] = Counter()
        captions: set[str] = set()
        for index in [anchor, *(index for index in queue if index != anchor)] if queue else []:
            asset = self._assets[index]
            if kinds[_kind(asset)] == MAX_PER_CATEGORY:
                continue
            found = self._sample_identity(asset, captions, [identity for _, identity in group])
            if found is None:
                continue
            identity, caption = found
            group.append((index, identity))
            kinds[_kind(asset)] += 1
            captions.add(caption)
            if len(group) == count:
                break
        return group

    def _queue(self, allowed: np.ndarray, low: int, high: int, count: int) -> list[int]:
        """Indices of the least used of the allowed assets ``low`` to ``high``, one of each shape
        and a few of each kind, the least used first; empty where their kinds are too few for
        ``count`` subjects."""
        order = np.argsort(self._priority[low:high])
        order = order[allowed[low:high][order]]
        order = order[np.sort(np.unique(self._shapes[low:high][order], return_index=True)[1])]
        kinds = self._kinds[low:high][order]
        grouped = np.argsort(kinds, kind="stable")
        starts = np.flatnonzero(np.diff(kinds[grouped], prepend=-1))
        rank = np.empty(len(order), dtype=int)
        rank[grouped] = np.arange(len(order)) - np.repeat(
            starts, np.diff(starts, append=len(order))
        )
        if np.count_nonzero(rank < MAX_PER_CATEGORY) < count:
            return []
        kept = order[rank < MAX_PER_CATEGORY + _SPARE_PER_CATEGORY]
        return [int(index) + low for index in kept]

    def _sample_identity(
        self, asset: Asset, captions: set[str], group: list[Identity]
    ) -> tuple[Identity, str] | None:
        """A new identity of the asset that can join the group, and its caption; None where none of
        the sampled appearances gives one."""
        repeated = None
        for _ in range(_APPEARANCE_TRIES):
            appearance = sample_appearance(asset, self._rng, self._recolor)
            identity = Identity(fingerprint(asset, appearance), asset, appearance)
            if identity.id in self._taken or not self._fits_one_image([*group, identity]):
                continue
            caption = describe(identity)
            if caption not in captions:
                return identity, caption
            repeated = identity, caption
        return repeated if asset.category == NO_CATEGORY else None

    def _fits_one_image(self, group: list[Identity]) -> bool:
        """Whether one image can hold the whole group and show its smallest member."""
        sizes = [identity.apparent_size for identity in group]
        squares = sum(max(identity.size) ** 2 for identity in group)
        alike = max(sizes) <= self._size_ratio * min(sizes)
        return alike and min(sizes) ** 2 >= _MIN_SILHOUETTE_SHARE * squares


def shape_of(asset: Asset) -> str:
    """What two assets of the same geometry have in common."""
    return asset.shape or asset.id


def _kind(asset: Asset) -> str:
    """The category, or what stands for it where no category is known: the asset alone."""
    return asset.id if asset.category == NO_CATEGORY else asset.category
