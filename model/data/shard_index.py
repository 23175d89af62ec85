"""Where training finds its samples: which there are, and the bytes of any of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from datagen.errors import UserError
from datagen.scene import Split
from datagen.shards import codec
from datagen.shards.codec import BadSample
from datagen.shards.files import Folder
from datagen.shards.index import Row, read_index, read_table
from datagen.shards.manifest import Manifest, read_manifest
from datagen.shards.metadata import METADATA

WAITS = (0.2, 1.0, 5.0)
"""Seconds before a failed read is tried again."""


@dataclass(frozen=True)
class Source:
    """A packed set. Holds no open file, so it may be pickled and forked. ``rows``: where each
    sample lies; ``counts``: its subjects; ``sides``: the shorter side of its picture, in
    pixels. By key, in the set's order."""

    folder: Folder
    manifest: Manifest
    rows: dict[str, Row]
    counts: dict[str, int]
    sides: dict[str, int]

    @property
    def fingerprint(self) -> str:
        """Of all samples' bytes, by the manifest: the same for as long as the data is."""
        entries = "\n".join(f"{entry.file} {entry.sha256}" for entry in self.manifest.shards)
        return hashlib.sha256(entries.encode()).hexdigest()

    def pools(self, split: Split) -> dict[int, list[list[str]]]:
        """Keys of a split by subject count, and of each count by shard. Raises UserError where
        there are none."""
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
        """The other samples of its split and subject count, in the set's order, from it on."""
        splits = {entry.file: entry.split for entry in self.manifest.shards}
        split, n = splits[self.rows[key].shard], self.counts[key]
        alike = [
            other
            for other, row in self.rows.items()
            if self.counts[other] == n and splits[row.shard] == split
        ]
        place = alike.index(key)
        yield from alike[place + 1 :] + alike[:place]

    def read(self, key: str) -> dict[str, bytes]:
        """A sample's members, proved to be the bytes that the index means. Raises KeyError,
        BadSample, and UserError for what is no fault of the sample: a shard that is not there,
        a server that does not answer."""
        row = self.rows[key]
        data = self._bytes(row)
        if len(data) > row.length:
            raise UserError(
                f"{self.folder.url}/{row.shard}: asked for {row.length} bytes, got {len(data)}: "
                "the server ignores range requests; take one that does not, or copy the set"
            )
        if len(data) < row.length:
            raise _short(row)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise BadSample(key, "", f"{row.shard}: {_difference(data)}")
        starts = [(start - row.offset, size) for start, size in row.spans]
        return {
            name: data[start : start + size]
            for name, (start, size) in zip(codec.MEMBERS, starts, strict=True)
        }

    def _bytes(self, row: Row) -> bytes:
        where = f"{self.folder.url}/{row.shard}"
        for wait in (*WAITS, None):
            try:
                return self.folder.read(row.shard, row.offset, row.offset + row.length)
            except FileNotFoundError:
                raise UserError(
                    f"{where}: missing, though the manifest lists it; "
                    "fetch it, or pack the set again"
                ) from None
            except Exception as error:  # each filesystem has its own
                if _beyond_the_end(error):
                    raise _short(row) from None
                if wait is None:
                    raise UserError(
                        f"{where}: cannot be read, tried {len(WAITS) + 1} times: {error!r}"
                    ) from error
                time.sleep(wait)
        raise AssertionError


def open_source(path: str) -> Source:
    """The set in a folder, or at an fsspec URL. Raises UserError where there is none, and where
    its tables disagree."""
    folder = Folder(path)
    manifest = read_manifest(folder)
    rows = {row.key: row for row in read_index(folder, manifest)}
    table = read_table(folder, manifest, METADATA)
    keys, counts, widths, heights = (
        table[name].to_pylist() for name in ("key", "n_subjects", "width", "height")
    )
    if keys != list(rows):
        raise UserError(f"{path}/{METADATA}: its keys are not those of the index; pack again")
    sides = map(min, zip(widths, heights, strict=True))
    return Source(
        folder,
        manifest,
        rows,
        dict(zip(keys, counts, strict=True)),
        dict(zip(keys, sides, strict=True)),
    )


def _short(row: Row) -> BadSample:
    return BadSample(row.key, "", f"{row.shard} ends before it does: the shard is cut")


def _difference(data: bytes) -> str:
    """What is wrong with bytes of another checksum."""
    try:
        codec.members(data)
    except BadSample as error:
        return error.reason
    return "not the bytes of the index"


def _beyond_the_end(error: Exception) -> bool:
    """Whether a server refused a range because the file is shorter; local files just end."""
    return getattr(error, "status", 0) == 416 or "not satisfiable" in str(error).lower()
