"""A folder on any filesystem that fsspec reaches. A file in it is either whole or absent."""

from __future__ import annotations

import errno
import os
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
    raised as OSError, as trouble with files is.

    Attributes:
        url: a path, or an fsspec URL (``s3://bucket/prefix``).
    """

    url: str

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes ``start`` to ``end`` (exclusive) of a file, or all of it; fewer where the file
        is shorter. Raises FileNotFoundError."""
        with self._filesystem() as (fs, root):
            return cast(bytes, fs.cat_file(f"{root}/{name}", start=start, end=end))

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Whole files, read concurrently where the filesystem can. Raises FileNotFoundError."""
        with self._filesystem() as (fs, root):
            paths = [f"{root}/{name}" for name in names]
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
        with self._filesystem() as (fs, root):
            path = f"{root}/{name}"
            local = isinstance(fs, LocalFileSystem)
            if local and os.path.exists(path) and not os.path.isfile(path):
                # To open a pipe would wait for ever.
                raise OSError(errno.EINVAL, "not a regular file", path)
            with fs.open(path, "rb") as stream:
                yield stream

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to write it. It appears, or replaces the old one, when the block ends, and
        not at all when the block raises. On a local disk it is durable then."""
        with self._filesystem() as (fs, root):
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
        with self._filesystem() as (fs, root):
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
        with self._filesystem() as (fs, root), suppress(FileNotFoundError):
            fs.rm_file(f"{root}/{name}")

    def sweep(self, part: str = "") -> None:
        """Remove the temporary files that killed writers left in ``part``. Call it only while
        nobody writes there."""
        for name in self._listing(part):
            if is_temporary(name):
                self.remove(f"{part}/{name}" if part else name)

    def _listing(self, part: str) -> list[str]:
        with self._filesystem() as (fs, root):
            try:
                paths = fs.ls(f"{root}/{part}".rstrip("/"), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted(path.rpartition("/")[2] for path in paths)

    @contextmanager
    def _filesystem(self) -> Iterator[tuple[AbstractFileSystem, str]]:
        """The filesystem, and the folder's path on it. What a bucket's or a server's client raises
        becomes an OSError."""
        try:
            yield filesystem(self.url)
        except Exception as error:
            client = sys.modules.get("botocore.exceptions")  # imported where a bucket was asked
            web = sys.modules.get("aiohttp")  # imported where a server was asked
            if (client and isinstance(error, client.BotoCoreError | client.ClientError)) or (
                web and isinstance(error, web.ClientConnectionError)
            ):
                raise OSError(f"{self.url}: {error}") from error
            raise


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
