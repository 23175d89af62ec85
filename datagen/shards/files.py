"""A folder on any filesystem that fsspec reaches. A file in it is either whole or absent."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from datagen.atomic import create_file, is_temporary
from datagen.errors import UserError

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
"""Protocols that need a package of their own, and the extra that installs it."""


@dataclass(frozen=True)
class Folder:
    """A folder. It holds no connection, so it may be pickled and forked.

    File names are relative to it, with ``/`` between parts. Trouble with a bucket or a server is
    raised as OSError, as trouble with files is, and names the place. What is on a local disk and no
    regular file is not opened: a pipe would be waited for, and a device read, for ever.

    Attributes:
        url: a path, or an fsspec URL (``s3://bucket/prefix``).
    """

    url: str

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes ``start`` to ``end`` (exclusive) of a file, or all of it; fewer where the file
        is shorter. Raises FileNotFoundError."""
        with self._filesystem(name) as (fs, root):
            path = _regular(fs, f"{root}/{name}")
            return cast(bytes, fs.cat_file(path, start=start, end=end))

    def read_whole(self, name: str, limit: int) -> bytes:
        """All of a file of at most ``limit`` bytes. Its size is asked before anything is read.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it is larger.
        """
        with self._filesystem(name) as (fs, root):
            path = _regular(fs, f"{root}/{name}")
            size = fs.size(path)
            data = b"" if size and size > limit else cast(bytes, fs.cat_file(path))
            if (size or len(data)) > limit:  # a web server need not tell the size
                what = f"{size or len(data)} bytes, expected at most {limit}"
                raise OSError(errno.EFBIG, what, f"{self.url}/{name}")
            return data

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Whole files, read concurrently where the filesystem can. Raises FileNotFoundError."""
        with self._filesystem() as (fs, root):
            paths = [_regular(fs, f"{root}/{name}") for name in names]
            whole = [None] * len(paths)
            # Not fs.cat: it takes "[", "*" and "?" in a folder's name for a pattern.
            found = fs.cat_ranges(paths, whole, whole, on_error="return")
            for one in found:
                if isinstance(one, Exception):
                    raise one
            return cast(list[bytes], found)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file, to read it from front to back. Raises FileNotFoundError."""
        with (
            self._filesystem(name) as (fs, root),
            fs.open(_regular(fs, f"{root}/{name}"), "rb") as stream,
        ):
            yield stream

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to write it. It appears, or replaces the old one, when the block ends, and
        not at all when the block raises. On a local disk it is durable then."""
        with self._filesystem(name) as (fs, root):
            path = f"{root}/{name}"
            if isinstance(fs, LocalFileSystem):
                with create_file(Path(path), durable=True) as stream:
                    yield stream
                return
            stream = fs.open(path, "wb", autocommit=False)
            try:
                yield stream
                stream.close()
            except BaseException:
                stream.discard()
                with suppress(AttributeError):
                    stream.closed = True  # or its finalizer would upload what is discarded
                raise
            stream.commit()

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file, as ``create`` does."""
        with self.create(name) as stream:
            stream.write(data)

    def exists(self, name: str = "") -> bool:
        """Whether a file exists; without a name, whether the folder does."""
        with self._filesystem(name) as (fs, root):
            return bool(fs.exists(f"{root}/{name}".rstrip("/")))

    def fingerprint(self, name: str) -> str:
        """A text that differs once the file was replaced, from its size and its time or ETag; empty
        where there is no file. A web server may not tell; then it stays the same."""
        with self._filesystem() as (fs, root):
            try:
                return cast(str, fs.ukey(f"{root}/{name}"))
            except (FileNotFoundError, NotADirectoryError):
                return ""

    def names(self, part: str = "") -> list[str]:
        """Sorted names of the finished files directly in the subfolder ``part``; none where it
        does not exist."""
        return [name for name in self._listing(part) if not is_temporary(name)]

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with self._filesystem(name) as (fs, root), suppress(FileNotFoundError):
            fs.rm_file(f"{root}/{name}")

    def sweep(self, part: str = "") -> None:
        """Remove the temporary files that killed writers left in ``part``. Call it only while
        nobody writes there."""
        for name in self._listing(part):
            if is_temporary(name):
                self.remove(f"{part}/{name}" if part else name)

    def _listing(self, part: str) -> list[str]:
        with self._filesystem(part) as (fs, root):
            try:
                paths = fs.ls(f"{root}/{part}".rstrip("/"), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted(path.rpartition("/")[2] for path in paths)

    @contextmanager
    def _filesystem(self, name: str = "") -> Iterator[tuple[AbstractFileSystem, str]]:
        """The filesystem, and the folder's path on it. What a bucket's or a server's client raises
        while ``name`` is used becomes an OSError that names the place."""
        fs, root = filesystem(self.url)
        try:
            yield fs, root
        except Exception as error:
            client = sys.modules.get("botocore.exceptions")  # imported where a bucket was asked
            web = sys.modules.get("aiohttp")  # imported where a server was asked
            foreign = isinstance(error, OSError) and not isinstance(fs, LocalFileSystem)
            if (
                foreign
                or (client and isinstance(error, client.BotoCoreError | client.ClientError))
                or (web and isinstance(error, web.ClientConnectionError))
            ):
                raise _placed(error, f"{self.url}/{name}".rstrip("/")) from error
            raise


def _regular(fs: AbstractFileSystem, path: str) -> str:
    """``path``, unless it is on a local disk and neither a regular file nor missing. Raises
    OSError."""
    if isinstance(fs, LocalFileSystem) and not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return path


_ADVICE = {
    errno.EACCES: "check the credentials, and that they may list, read and write there",
    errno.ENOENT: "check the name of the bucket and of the file in it",
}


def _placed(error: Exception, place: str) -> OSError:
    """An error of a bucket's or a server's client, as an OSError that names the place and what to
    do. An error that names its place already is left as it is."""
    if isinstance(error, OSError) and error.filename:
        return error
    kinds = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}
    number = next((n for kind, n in kinds.items() if isinstance(error, kind)), errno.EIO)
    advice = _ADVICE.get(number, "check the address, the network and the credentials")
    reason = getattr(error, "strerror", None) or str(error) or repr(error)
    return OSError(number, f"{' '.join(reason.split())}; {advice}", place)


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The filesystem of a path or fsspec URL, and the path on it.

    Raises:
        UserError: fsspec does not know the URL, or its package is not installed.
    """
    if _is_local(url):
        # Not url_to_fs: it takes "::" in a folder's name for a chain of URLs.
        fs = LocalFileSystem()
        return fs, fs._strip_protocol(url).rstrip("/")
    try:
        # No listings cache: other processes write to the same folder.
        fs, root = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        extra = EXTRAS.get(url.partition(":")[0])
        mend = f"; here it comes with an extra: uv pip install -e '.[{extra}]'" if extra else ""
        raise UserError(f"{url}: {error}{mend}") from None
    except ValueError as error:
        raise UserError(f"{url}: {error}; expected a folder, or a URL that fsspec knows") from None
    return fs, root.rstrip("/")


def _is_local(url: str) -> bool:
    protocol, sign, _ = url.partition("://")
    return url.startswith("/") or not sign or protocol in LocalFileSystem.protocol


def local_path(url: str) -> Path | None:
    """The absolute path of ``url`` on this machine; None where it is not local. Raises
    UserError."""
    fs, root = filesystem(url)
    return Path(root).resolve() if isinstance(fs, LocalFileSystem) else None


def absolute(url: str) -> str:
    """The same place as an absolute path or URL, for processes in other working directories.
    Raises UserError."""
    return str(local_path(url) or url.rstrip("/"))
