"""Local files that are either whole or absent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def create_file(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open ``path`` for writing under a temporary name, and rename it when the block ends well.

    Readers see all of the file or nothing. An exception leaves the old file, if there was one.
    Missing folders are made. Several processes may write the same path; the last one wins.

    Args:
        path: where the finished file appears.
        durable: sync the file and its folder, so that the file survives a power failure.

    Raises:
        OSError: it cannot be written; ``filename`` is ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            # A write that fails, on a full disk for example, does not say where.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    if durable:
        sync(path.parent)


def write_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """``create_file`` in one call."""
    with create_file(path, durable=durable) as stream:
        stream.write(data)


def is_temporary(name: str) -> bool:
    """Whether a file of this name was left by a writer that was killed."""
    return name.startswith(".") and name.endswith(".tmp")


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
