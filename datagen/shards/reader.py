"""Packed shards, opened: any sample by its key, or all of them in order."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from datagen.errors import UserError
from datagen.scene import Sample, SceneRecord
from datagen.shards import codec
from datagen.shards.codec import BadSample
from datagen.shards.files import Folder
from datagen.shards.index import IndexRow, read_index
from datagen.shards.manifest import Manifest, read_manifest

WAITS = (0.2, 1.0, 5.0)
"""Seconds to wait before a failed read is tried again."""


class ShardUnreadable(UserError):
    """A shard that is there and could not be read, however often it was tried."""


@dataclass(frozen=True)
class ShardSet:
    """A packed set, to be read. It holds no open file, so it may be pickled and forked.

    Every method that takes a key raises KeyError for a key that the set does not have. Those that
    read raise BadSample for a damaged sample, and UserError for what is no fault of the sample: a
    shard that is missing, a server that does not answer. A read that fails is tried again after
    each of ``WAITS``.

    Attributes:
        folder: where the set lies.
        manifest: its ``manifest.json``.
        rows: where each sample lies, by key, in the order of the shards.
    """

    folder: Folder
    manifest: Manifest
    rows: dict[str, IndexRow]

    def __len__(self) -> int:
        return len(self.rows)

    def keys(self) -> tuple[str, ...]:
        """All keys, in the order of the shards."""
        return tuple(self.rows)

    def shard_of(self, key: str) -> str:
        """File name of the shard that holds a sample."""
        return self.rows[key].shard

    def digest(self, key: str) -> str:
        """SHA-256 of a sample's bytes by the index, "" in a set without one."""
        return self.rows[key].sha256

    def record(self, key: str) -> SceneRecord:
        """A sample's record; the images are not read, and the checksum is not verified."""
        row = self.rows[key]
        start, size = row.spans[0]
        return codec.decode_record(self._read(row, start, size), key)

    def members(self, key: str) -> dict[str, bytes]:
        """A sample's members by extension; the checksum is not verified."""
        row = self.rows[key]
        return _members(self._read(row, row.offset, row.length), row)

    def verified_members(self, key: str) -> dict[str, bytes]:
        """A sample's members by extension, after the SHA-256 of the index was verified. In a set
        without an index, nothing is verified.

        Raises:
            BadSample: the checksum differs. The error says what is wrong with the bytes, as
                exactly as a decoder can tell.
        """
        row = self.rows[key]
        data = self._read(row, row.offset, row.length)
        if not row.sha256:
            return _members(data, row)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise _mismatch(data, row)
        # By the index, which is true of these bytes: to parse tar headers takes longer.
        starts = [(start - row.offset, size) for start, size in row.spans]
        return {
            name: data[start : start + size]
            for name, (start, size) in zip(codec.MEMBERS, starts, strict=True)
        }

    def sample(self, key: str) -> Sample:
        """One sample at full size, from ``verified_members``."""
        return codec.decode(self.verified_members(key), key)

    def __iter__(self) -> Iterator[Sample]:
        """All samples at full size, each shard read from front to back. Checksums are not
        verified, and reads are not tried again."""
        rows = iter(self.rows.values())
        for entry in self.manifest.shards:
            try:
                with self.folder.open(entry.file) as stream:
                    for _ in range(entry.samples):
                        row = next(rows)
                        data = stream.read(row.length)
                        if len(data) < row.length:
                            raise _truncated(row)
                        yield codec.decode(_members(data, row), row.key)
            except FileNotFoundError:
                raise self._missing(entry.file) from None

    def _read(self, row: IndexRow, start: int, size: int) -> bytes:
        """``size`` bytes of the row's shard, from byte ``start`` on."""
        data = self._read_patiently(row, start, start + size)
        if len(data) > size:
            raise UserError(
                f"{self.folder.url}/{row.shard}: asked for {size} bytes, got {len(data)}: "
                "the server ignores range requests; take one that does not, or copy the set"
            )
        if len(data) < size:
            raise _truncated(row)
        return data

    def _read_patiently(self, row: IndexRow, start: int, end: int) -> bytes:
        for wait in (*WAITS, None):
            try:
                return self.folder.read(row.shard, start, end)
            except FileNotFoundError:
                raise self._missing(row.shard) from None
            except Exception as error:  # each filesystem has its own
                if _beyond_the_end(error):
                    raise _truncated(row) from None
                if wait is None:
                    reason = getattr(error, "strerror", None) or repr(error)
                    raise ShardUnreadable(
                        f"{self.folder.url}/{row.shard}: cannot be read, "
                        f"tried {len(WAITS) + 1} times: {reason}"
                    ) from error
                time.sleep(wait)
        raise AssertionError

    def _missing(self, shard: str) -> UserError:
        return UserError(
            f"{self.folder.url}/{shard}: missing, though the manifest lists it; "
            "fetch it, or pack the set again"
        )


def open_shards(path: str) -> ShardSet:
    """Open a packed set.

    Args:
        path: its folder, or an fsspec URL (``s3://bucket/prefix``).

    Raises:
        UserError: there is no set, or its index is not the manifest's. The shards themselves are
            not read: ``verify`` does that.
    """
    folder = Folder(path)
    manifest = read_manifest(folder)
    return ShardSet(folder, manifest, {row.key: row for row in read_index(folder, manifest)})


def _members(data: bytes, row: IndexRow) -> dict[str, bytes]:
    try:
        return codec.members(data)
    except BadSample as error:
        raise BadSample(row.key, error.member, f"{row.shard}: {error.reason}") from None


def _truncated(row: IndexRow) -> BadSample:
    return BadSample(row.key, "", f"{row.shard} is truncated: it ends before this sample does")


def _mismatch(data: bytes, row: IndexRow) -> BadSample:
    """What is wrong with bytes whose checksum is not that of the index."""
    members = _members(data, row)
    try:
        codec.decode(members, row.key)
    except BadSample as error:
        reason = f"{error.reason}; its bytes in {row.shard} are not those of the index"
        return BadSample(row.key, error.member, reason)
    return BadSample(row.key, "", f"its bytes in {row.shard} are not those of the index")


def _beyond_the_end(error: Exception) -> bool:
    """Whether a server refused a range because the file is shorter; local files just end."""
    return getattr(error, "status", 0) == 416 or "not satisfiable" in str(error).lower()
