"""The viewer's review marks, kept in a text file that other programs may edit at the same time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from datagen.shards.files import local_path
from datagen.shards.review_marks import Mark, read_marks, set_mark


class ReviewMarks:
    """The review marks in a file: "keep" or "drop", by scene key. Thread-safe.

    The file is read again whenever its time or size has changed, because a text editor or another
    viewer may write to it.

    Args:
        path: the file; it need not exist.

    Raises:
        UserError: the file is not a file of review marks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._marks: Mapping[str, Mark] = {}
        self._stamp_when_read: tuple[int, int] | None = None
        self.marks()

    def marks(self) -> Mapping[str, Mark]:
        """The current marks by scene key. Raises UserError."""
        with self._lock:
            stamp = self._stamp()
            if stamp != self._stamp_when_read:
                self._marks, self._stamp_when_read = read_marks(self.path), stamp
            return self._marks

    def set_mark(self, key: str, mark: Mark | None) -> None:
        """Write the mark of a scene to the file; None removes it. Raises UserError, OSError."""
        with self._lock:
            set_mark(self.path, key, mark)
            # Read again in any case: two changes may have the same time.
            self._stamp_when_read = None

    def _stamp(self) -> tuple[int, int]:
        """Modification time in nanoseconds and size in bytes; zeros where there is no file."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return (0, 0)
        return status.st_mtime_ns, status.st_size


def default_marks_file(shards: str) -> Path:
    """Where the review marks of a dataset are kept by default: ``FOLDER-flags.txt``.

    The file is beside the folder of the shards. For a single tar it is the file of its folder. For
    a remote dataset it is in the current directory, and its name contains the whole URL.

    Args:
        shards: a folder, a tar or an fsspec URL.
    """
    folder = local_path(shards)
    if folder is None:
        return Path("".join(c if c.isalnum() else "-" for c in shards) + "-flags.txt")
    if folder.suffix == ".tar":
        folder = folder.parent
    return folder.with_name(f"{folder.name}-flags.txt")
