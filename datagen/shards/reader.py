"""Packed shards, opened: any sample by its key, or all of them in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from datagen.errors import UserError
from datagen.scene import Sample, SceneRecord
from datagen.shards import codec
from datagen.shards.files import Folder
from datagen.shards.index import Row, read_index
from datagen.shards.manifest import Manifest, read_manifest


@dataclass(frozen=True)
class ShardSet:
    """May be pickled: it holds no open file."""

    folder: Folder
    manifest: Manifest
    _rows: dict[str, Row]

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> tuple[str, ...]:
        """All keys, in the order of the shards."""
        return tuple(self._rows)

    def record(self, key: str) -> SceneRecord:
        """What is written of a sample, without its pictures. Raises KeyError, BadSample."""
        row = self._rows[key]
        start, size = row.spans[0]
        return codec.decode_record(self._read(row, start, size), key)

    def shard_of(self, key: str) -> str:
        """The file that a sample lies in. Raises KeyError."""
        return self._rows[key].shard

    def digest(self, key: str) -> str:
        """SHA-256 of a sample's bytes, by the index; "" in a set without one. Raises KeyError."""
        return self._rows[key].sha256

    def members(self, key: str) -> dict[str, bytes]:
        """The members of a sample by extension, as they are. Raises KeyError, BadSample."""
        row = self._rows[key]
        return _members(self._read(row, row.offset, row.length), row)

    def proven(self, key: str) -> dict[str, bytes]:
        """``members``, where they are the bytes that the index means; without an index nothing is
        proved. Raises KeyError, BadSample."""
        row = self._rows[key]
        data = self._read(row, row.offset, row.length)
        members = _members(data, row)
        _prove(data, row)
        return members

    def sample(self, key: str) -> Sample:
        """One sample, wherever it lies, ``proven``. Raises KeyError, BadSample."""
        row = self._rows[key]
        data = self._read(row, row.offset, row.length)
        sample = codec.decode(_members(data, row), key)
        _prove(data, row)  # last, as a decoder says better what is wrong
        return sample

    def __iter__(self) -> Iterator[Sample]:
        """All samples in order, each shard read from front to back."""
        rows = iter(self._rows.values())
        for entry in self.manifest.shards:
            try:
                with self.folder.open(entry.file) as stream:
                    for _ in range(entry.samples):
                        row = next(rows)
                        yield codec.decode(_members(stream.read(row.length), row), row.key)
            except FileNotFoundError:
                raise self._gone(entry.file) from None

    def _read(self, row: Row, start: int, size: int) -> bytes:
        try:
            return self.folder.read(row.shard, start, start + size)
        except FileNotFoundError:
            raise self._gone(row.shard) from None

    def _gone(self, shard: str) -> UserError:
        return UserError(
            f"{self.folder.url}/{shard}: missing, though the manifest lists it; "
            "fetch it, or pack the set again"
        )


def open_shards(path: str) -> ShardSet:
    """The set in a folder, or at an fsspec URL. Raises UserError where there is none, and where
    index and manifest disagree; the shards themselves are for ``verify`` to prove."""
    folder = Folder(path)
    manifest = read_manifest(folder)
    rows = read_index(folder, manifest)
    return ShardSet(folder, manifest, {row.key: row for row in rows})


def _prove(data: bytes, row: Row) -> None:
    if row.sha256 and hashlib.sha256(data).hexdigest() != row.sha256:
        raise codec.BadSample(row.key, "", f"{row.shard}: not the bytes of the index")


def _members(data: bytes, row: Row) -> dict[str, bytes]:
    if len(data) < row.length:
        raise codec.BadSample(row.key, "", f"{row.shard} ends before it does: the shard is cut")
    try:
        return codec.members(data)
    except codec.BadSample as error:
        raise codec.BadSample(row.key, error.member, f"{row.shard}: {error.reason}") from None
