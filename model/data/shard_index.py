"""The samples that training can choose from: by split, subject count and shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from datagen.errors import UserError
from datagen.scene import Split
from datagen.shards.metadata import read_metadata
from datagen.shards.reader import ShardSet, open_shards


@dataclass(frozen=True)
class ShardIndex(ShardSet):
    """A packed set with what a curriculum chooses samples by. It holds no open file, so it can be
    pickled and forked. Beside what ``ShardSet`` has:

    Attributes:
        counts: number of subjects of each sample, by key, in the order of the shards.
        sides: shorter side of each sample's image in pixels, by key, in the same order.
    """

    counts: dict[str, int]
    sides: dict[str, int]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the checksums of all shards in the manifest: it changes when any sample's
        bytes change."""
        entries = "\n".join(f"{entry.file} {entry.sha256}" for entry in self.manifest.shards)
        return hashlib.sha256(entries.encode()).hexdigest()

    def pools(self, split: Split) -> dict[int, list[list[str]]]:
        """The keys of a split, by subject count and then by shard.

        Raises:
            UserError: the set has no sample of this split.
        """
        wanted = {entry.file for entry in self.manifest.shards if entry.split == split}
        grouped: dict[int, dict[str, list[str]]] = {}
        for key, row in self.rows.items():
            if row.shard in wanted:
                grouped.setdefault(self.counts[key], {}).setdefault(row.shard, []).append(key)
        if not grouped:
            have = ", ".join(self.manifest.splits)
            raise UserError(f"{self.folder.url}: no scenes of split {split}, it has {have}")
        return {n: list(shards.values()) for n, shards in sorted(grouped.items())}

    def successors(self, key: str) -> Iterator[str]:
        """The keys of all other samples of the same split and subject count, in the order of the
        shards, beginning after ``key`` and going round to it."""
        splits = {entry.file: entry.split for entry in self.manifest.shards}
        split, n = splits[self.rows[key].shard], self.counts[key]
        alike = [
            other
            for other, row in self.rows.items()
            if self.counts[other] == n and splits[row.shard] == split
        ]
        place = alike.index(key)
        yield from alike[place + 1 :] + alike[:place]


def open_shard_index(path: str) -> ShardIndex:
    """Open a packed set for training.

    Args:
        path: a folder, or an fsspec URL.

    Raises:
        UserError: there is no set at ``path``, or its manifest, index and metadata disagree.
    """
    shards = open_shards(path)
    table = read_metadata(shards.folder, shards.manifest, shards.keys())
    keys, counts, widths, heights = (
        table[name].to_pylist() for name in ("key", "n_subjects", "width", "height")
    )
    return ShardIndex(
        shards.folder,
        shards.manifest,
        shards.rows,
        counts=dict(zip(keys, counts, strict=True)),
        sides=dict(zip(keys, map(min, zip(widths, heights, strict=True)), strict=True)),
    )
