"""A folder anywhere that fsspec reaches, in which a file is either whole or absent."""

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
"""Protocols that want a package of their own, and the extra that brings it."""


@dataclass(frozen=True)
class Folder:
    """``url``: a path, or what fsspec reads (``s3://bucket/prefix``). Holds no connection, so
    it may be pickled and forked. File names are relative, with ``/`` between parts."""

    url: str

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes ``start`` to ``end`` of a file, or all. Raises FileNotFoundError."""
        with self._there() as (fs, root):
            return cast(bytes, fs.cat_file(f"{root}/{name}", start=start, end=end))

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Whole files, fetched side by side where the filesystem can."""
        with self._there() as (fs, root):
            paths = [f"{root}/{name}" for name in names]
            if len(paths) < 2:  # fs.cat answers one path with bytes, several with a dict
                return [fs.cat_file(path) for path in paths]
            found = fs.cat(paths)
            return [found[path] for path in paths]

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file for reading from front to back. Raises FileNotFoundError."""
        with self._there() as (fs, root):
            path = f"{root}/{name}"
            local = isinstance(fs, LocalFileSystem)
            if local and os.path.exists(path) and not os.path.isfile(path):
                # A pipe would be waited on for ever.
                raise OSError(errno.EINVAL, "not a regular file", path)
            with fs.open(path, "rb") as stream:
                yield stream

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """A file for writing, which appears (or replaces the old one) when the block ends well
        and not at all when it raises. On a local disk it is then durable, too."""
        with self._there() as (fs, root):
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
                    stream.closed = True  # or its finalizer would begin to upload what is discarded
                raise
            stream.commit()

    def write(self, name: str, data: bytes) -> None:
        """``create`` in one call."""
        with self.create(name) as stream:
            stream.write(data)

    def exists(self, name: str = "") -> bool:
        """Whether there is such a file; without a name, the folder itself."""
        with self._there() as (fs, root):
            return bool(fs.exists(f"{root}/{name}".rstrip("/")))

    def names(self, part: str = "") -> list[str]:
        """Names of the finished files directly in the subfolder ``part``, sorted; none where
        there is no such folder."""
        return [name for name in self._listing(part) if not is_temporary(name)]

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with self._there() as (fs, root), suppress(FileNotFoundError):
            fs.rm_file(f"{root}/{name}")

    def sweep(self, part: str = "") -> None:
        """Removes what killed writers left in ``part``. Not while others write there."""
        for name in self._listing(part):
            if is_temporary(name):
                self.remove(f"{part}/{name}" if part else name)

    def _listing(self, part: str) -> list[str]:
        with self._there() as (fs, root):
            try:
                paths = fs.ls(f"{root}/{part}".rstrip("/"), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted(path.rpartition("/")[2] for path in paths)

    @contextmanager
    def _there(self) -> Iterator[tuple[AbstractFileSystem, str]]:
        """The filesystem, and the folder's path on it. A bucket that cannot be reached is told of
        as every other trouble with files: by an OSError."""
        try:
            yield filesystem(self.url)
        except Exception as error:
            client = sys.modules.get("botocore.exceptions")  # there where a bucket was asked
            web = sys.modules.get("aiohttp")  # and here a server
            if (client and isinstance(error, client.BotoCoreError | client.ClientError)) or (
                web and isinstance(error, web.ClientConnectionError)
            ):
                raise OSError(f"{self.url}: {error}") from error
            raise


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """What ``url`` lies on, and its path there. Raises UserError."""
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


def local_path(url: str) -> Path | None:
    """Where ``url`` lies on this machine, absolute; None where it lies elsewhere. Raises
    UserError."""
    fs, root = filesystem(url)
    return Path(root).resolve() if isinstance(fs, LocalFileSystem) else None


def absolute(url: str) -> str:
    """The same place, named so that it is found from every folder. Raises UserError."""
    return str(local_path(url) or url.rstrip("/"))
