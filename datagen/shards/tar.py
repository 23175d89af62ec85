"""The tar dialect of the shards: USTAR, regular files, zero for dates and owners.

Reading is strict. Python's ``tarfile`` takes a damaged header for the end of the archive, and
``webdataset`` takes a truncated archive for a short one; here both are errors that say where.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

BLOCK = 512
END = bytes(2 * BLOCK)
MEMBER_LIMIT = 2**26  # bytes: the largest picture of the format, uncompressed

_KEY = r"[0-9A-Za-z_-]{1,64}"
_NAME = re.compile(rf"({_KEY})\.([0-9a-z.]{{1,32}})")


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class BadTar(Exception):
    """A damaged archive.

    Attributes:
        offset: of the tar header at which reading failed, in bytes from the start.
        reason: what is wrong there.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return f"byte {self.offset}: {self.reason}"


@dataclass(frozen=True)
class Member:
    """A member ``KEY.extension`` of an archive.

    Attributes:
        offset: of its header, in bytes from the start of the archive.
        size: of its data, in bytes.
        raw: its bytes in the archive: header, data, padding.
    """

    key: str
    extension: str
    offset: int
    size: int
    raw: bytes

    @property
    def data(self) -> bytes:
        return self.raw[BLOCK : BLOCK + self.size]


def member(key: str, extension: str, data: bytes) -> bytes:
    """The bytes of one archive member. Equal arguments give equal bytes."""
    info = tarfile.TarInfo(f"{key}.{extension}")  # its defaults: mode 0644, mtime, uid, gid 0
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


def is_key(key: str) -> bool:
    """Whether a sample may have this key: 1 to 64 characters of ``0-9A-Za-z_-``."""
    return re.fullmatch(_KEY, key) is not None


def walk(stream: Readable, start: int = 0, *, fragment: bool = False) -> Iterator[Member]:
    """Read the members of an archive, one by one.

    Args:
        stream: to be read from where it stands.
        start: that position, in bytes; offsets and errors count from it.
        fragment: whether the archive has no end-of-archive mark. Otherwise it must end with
            ``END`` and nothing after it.

    Raises:
        BadTar: the archive is damaged or truncated.
    """
    position = start
    while True:
        header = stream.read(BLOCK)
        if fragment and not header:
            return
        if header == bytes(BLOCK) and not fragment:
            if header + stream.read(BLOCK) != END:
                raise BadTar(position, "the end-of-archive mark is truncated or damaged")
            if stream.read(1):
                raise BadTar(position, "there are bytes after the end-of-archive mark")
            return
        key, extension, size = _parse(header, position)
        length = size + -size % BLOCK
        body = stream.read(length)
        if len(body) < length:
            raise BadTar(position, f"{key}.{extension} is truncated")
        yield Member(key, extension, position, size, header + body)
        position += BLOCK + length


def walk_headers(stream: BinaryIO) -> Iterator[Member]:
    """Read the headers of an archive and skip the data: ``raw`` of each member is its header.
    When a member is yielded, the stream stands at the start of its data. Raises BadTar."""
    end = stream.seek(0, 2)
    position = 0
    while True:
        stream.seek(position)
        header = stream.read(BLOCK)
        if header == bytes(BLOCK):
            return
        key, extension, size = _parse(header, position)
        after = position + BLOCK + size + -size % BLOCK
        if after > end:
            raise BadTar(position, f"{key}.{extension} is truncated")
        yield Member(key, extension, position, size, header)
        position = after


def _parse(header: bytes, position: int) -> tuple[str, str, int]:
    if len(header) < BLOCK:
        raise BadTar(position, "truncated: the archive ends without its end-of-archive mark")
    try:
        info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise BadTar(position, f"damaged header ({error})") from None
    if info.type != tarfile.REGTYPE:
        raise BadTar(position, f"{info.name!r} is not a regular file")
    match = _NAME.fullmatch(info.name)
    if match is None:
        raise BadTar(position, f"{info.name!r} is not of the form KEY.extension")
    if not 0 <= info.size <= MEMBER_LIMIT:
        raise BadTar(position, f"{info.name} has {info.size} bytes, the limit is {MEMBER_LIMIT}")
    return match[1], match[2], info.size


@dataclass(frozen=True)
class Group:
    """Adjacent members of one key: a sample, if they are the five that it must have."""

    members: tuple[Member, ...]

    @property
    def key(self) -> str:
        return self.members[0].key

    @property
    def offset(self) -> int:
        return self.members[0].offset

    @property
    def raw(self) -> bytes:
        return b"".join(member.raw for member in self.members)


def groups(stream: Readable, start: int = 0) -> Iterator[Group]:
    """Read the samples of an archive, one by one; arguments as of ``walk``.

    Raises:
        BadTar: the archive is damaged; what was read before the damage has been yielded.
    """
    pending: list[Member] = []
    try:
        for one in walk(stream, start):
            if pending and one.key != pending[0].key:
                yield Group(tuple(pending))
                pending.clear()
            pending.append(one)
    except BadTar:
        if pending:
            yield Group(tuple(pending))
        raise
    if pending:
        yield Group(tuple(pending))
