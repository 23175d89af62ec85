"""Verify that a packed set is complete, undamaged and consistent. Every byte is read.

The tars are read from front to back and not by the index, so that bytes between and behind samples
and samples that come twice are found, too. The index tells which sample a damaged place belongs
to, and where reading can go on behind it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import pyarrow as pa

from datagen.errors import UserError
from datagen.scene import Sample, SceneRecord
from datagen.shards import codec, metadata, tar
from datagen.shards.consistency import check_sample
from datagen.shards.files import Folder
from datagen.shards.index import IndexRow, locate, read_index
from datagen.shards.manifest import Manifest, ShardEntry, bucket_of, read_manifest

log = logging.getLogger(__name__)
LOG_SECONDS = 15.0
"""Time between two lines of the log."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a set.

    Attributes:
        shard: file name in the set, "" where it is no one file.
        key: the sample's key, "" where it is no one sample.
        reason: what is wrong.
    """

    shard: str
    key: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.shard, self.key, self.reason) if part)


def verify(path: str) -> tuple[Problem, ...]:
    """Verify a packed set. One sample is in memory at a time.

    Args:
        path: its folder, or an fsspec URL.

    Returns:
        Everything that is wrong; empty for a sound set.

    Raises:
        UserError: there is no set.
    """
    folder = Folder(path)
    manifest = read_manifest(folder)
    return tuple(_problems(folder, manifest))


def _problems(folder: Folder, manifest: Manifest) -> Iterator[Problem]:
    rows, table, broken = _tables(folder, manifest)
    yield from broken
    yield from _totals(manifest)
    listed = {entry.file for entry in manifest.shards}
    for name in folder.names():
        if name.endswith(".tar") and name not in listed:
            yield Problem(name, "", "not in the manifest")
    seen = _Seen(_Described.of(table))
    log.info("verifying %d scenes in %d shards", manifest.samples, len(manifest.shards))
    next_line = time.monotonic() + LOG_SECONDS
    for number, entry in enumerate(manifest.shards):
        if time.monotonic() >= next_line:
            log.info("%d of %d shards verified", number, len(manifest.shards))
            next_line = time.monotonic() + LOG_SECONDS
        expected = None if rows is None else [row for row in rows if row.shard == entry.file]
        try:
            with folder.open(entry.file) as stream:
                yield from _shard_problems(manifest, entry, expected, stream, seen)
        except FileNotFoundError:
            yield Problem(entry.file, "", f"missing, with {entry.samples} samples")
        except OSError as error:
            yield Problem(entry.file, "", f"cannot be read: {error.strerror or error}")


def _tables(
    folder: Folder, manifest: Manifest
) -> tuple[tuple[IndexRow, ...] | None, pa.Table | None, list[Problem]]:
    """Index and metadata, None where they are damaged, and what is wrong with them."""
    problems = []
    rows: tuple[IndexRow, ...] | None = None
    table: pa.Table | None = None
    try:
        rows = read_index(folder, manifest)
    except UserError as error:
        problems.append(Problem("", "", str(error)))
    keys = None if rows is None else [row.key for row in rows]
    try:
        table = metadata.read_metadata(folder, manifest, keys)
    except UserError as error:
        problems.append(Problem("", "", str(error)))
    return rows, table, problems


def _totals(manifest: Manifest) -> Iterator[Problem]:
    samples = sum(entry.samples for entry in manifest.shards)
    if samples != manifest.samples or samples != sum(manifest.splits.values()):
        yield Problem("", "", f"manifest.json: the shards add up to {samples} samples")
    if manifest.planned != manifest.samples + len(manifest.missing):
        yield Problem("", "", "manifest.json: samples and missing do not add up to planned")


@dataclass(frozen=True)
class _Described:
    """The rows of metadata, by key; None where there is no sound table."""

    table: pa.Table | None
    places: dict[str, int]

    @staticmethod
    def of(table: pa.Table | None) -> _Described:
        keys = [] if table is None else table["key"].to_pylist()
        return _Described(table, {key: place for place, key in enumerate(keys)})

    def problems(self, shard: str, record: SceneRecord) -> Iterator[str]:
        place = self.places.get(record.key)
        if self.table is None or place is None:
            return
        (told,) = self.table.slice(place, 1).to_pylist()
        (true,) = metadata.to_batch(shard, [record]).to_pylist()
        wrong = [name for name, value in true.items() if told[name] != value]
        if wrong:
            yield f"{', '.join(wrong)} in {metadata.METADATA} differ from its record"


@dataclass
class _Seen:
    """What must not occur twice, or in two splits. It is filled while shards are read."""

    described: _Described
    shard_of: dict[str, str] = field(default_factory=dict)
    split_of: dict[tuple[str, str], str] = field(default_factory=dict)

    def problems(self, record: SceneRecord) -> Iterator[str]:
        for subject in record.subjects:
            for kind, name in (("identity", subject.identity), ("asset", subject.asset.id)):
                split = self.split_of.setdefault((kind, name), record.split)
                if split != record.split:
                    yield f"{kind} {name} is also in split {split}"


def _shard_problems(
    manifest: Manifest,
    entry: ShardEntry,
    rows: Sequence[IndexRow] | None,
    stream: BinaryIO,
    seen: _Seen,
) -> Iterator[Problem]:
    source = _Hashing(stream)
    found = list(_sample_problems(entry, rows, source, seen))
    source.skip_to(None)
    digest = source.hexdigest()
    if digest == entry.sha256:
        yield from found
        return
    for other in manifest.shards:
        if digest == other.sha256:
            yield Problem(entry.file, "", f"has the content of {other.file}")
            return
    yield from found
    size = "" if source.position == entry.bytes else f" ({source.position} bytes of {entry.bytes})"
    yield Problem(entry.file, "", f"sha256 is not the manifest's{size}")


def _sample_problems(
    entry: ShardEntry, rows: Sequence[IndexRow] | None, source: _Hashing, seen: _Seen
) -> Iterator[Problem]:
    expected = {row.key: row for row in rows or ()}
    here: set[str] = set()
    histogram: Counter[int] = Counter()
    for item in _groups(source, rows or ()):
        if isinstance(item, tar.BadTar):
            yield Problem(entry.file, _key_at(item.offset, rows or ()), str(item))
            continue
        first = seen.shard_of.setdefault(item.key, entry.file)
        if first != entry.file or item.key in here:
            yield Problem(entry.file, item.key, f"is already in {first}")
            continue
        here.add(item.key)
        if rows is not None:
            yield from _index_problems(entry.file, item, expected.get(item.key))
        try:
            sample = _decode(item)
        except codec.BadSample as error:
            yield Problem(entry.file, item.key, f"{error.member or 'tar'}: {error.reason}")
            continue
        record = sample.record
        histogram[record.n_subjects] += 1
        if (record.split, bucket_of(record.n_subjects)) != (entry.split, entry.bucket):
            what = f"{record.split} with {record.n_subjects} subjects"
            kind = f"{entry.split} and bucket {entry.bucket}"
            yield Problem(entry.file, item.key, f"is {what}, in a shard of {kind}")
        described = seen.described.problems(entry.file, record)
        for reason in (*check_sample(sample), *seen.problems(record), *described):
            yield Problem(entry.file, item.key, reason)
    for key in expected:
        if key not in here:
            yield Problem(entry.file, key, "missing, though the index lists it")
    if len(here) != entry.samples:
        yield Problem(entry.file, "", f"holds {len(here)} samples, expected {entry.samples}")
    elif histogram.total() == entry.samples and histogram != entry.subjects:
        yield Problem(entry.file, "", "the manifest's number of scenes by subject count is wrong")


def _index_problems(shard: str, group: tar.Group, row: IndexRow | None) -> Iterator[Problem]:
    found = locate(group.members, shard)
    if row is None:
        yield Problem(shard, group.key, "not in the index")
    elif found.sha256 != row.sha256:
        yield Problem(shard, group.key, "its bytes are not those of the index")
    elif found != row:
        yield Problem(shard, group.key, "is not where the index says")


def _decode(group: tar.Group) -> Sample:
    extensions = tuple(member.extension for member in group.members)
    if len(extensions) >= len(codec.MEMBERS) and extensions != codec.MEMBERS:
        raise codec.BadSample(
            group.key, "", f"has members {list(extensions)}, not {list(codec.MEMBERS)}"
        )
    return codec.decode({member.extension: member.data for member in group.members}, group.key)


def _groups(source: _Hashing, rows: Sequence[IndexRow]) -> Iterator[tar.Group | tar.BadTar]:
    """The samples of a tar. Damage is yielded, too, and reading goes on with the next sample of
    the index."""
    while True:
        try:
            yield from tar.groups(source, source.position)
            return
        except tar.BadTar as damage:
            yield damage
            ahead = [row.offset for row in rows if row.offset > damage.offset]
            if not ahead or not source.skip_to(min(ahead)):
                return


def _key_at(offset: int, rows: Sequence[IndexRow]) -> str:
    return next((row.key for row in rows if 0 <= offset - row.offset < row.length), "")


class _Hashing:
    """A stream that hashes what is read from it, and knows its position."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.position = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        self.position += len(data)
        return data

    def skip_to(self, target: int | None) -> bool:
        """Read on to byte ``target``, or to the end. False where the target is already passed, or
        the stream ends before it."""
        while target is None or self.position < target:
            step = 2**20 if target is None else min(2**20, target - self.position)
            if not self.read(step):
                return False
        return self.position == target

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
