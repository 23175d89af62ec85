"""What the viewer's user thinks of scenes, in a file that others may write to as well."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from datagen.shards.files import local_path
from datagen.shards.review_marks import Mark, read_marks, set_mark


class Flagged:
    """The flags in the file ``path``, which need not be there. It is read anew whenever it has
    changed: by a text editor, or by another viewer. Raises UserError for a file that is none of
    flags."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._flags: Mapping[str, Mark] = {}
        self._seen: tuple[int, int] | None = None
        self.flags()

    def flags(self) -> Mapping[str, Mark]:
        """By key. Raises UserError."""
        with self._lock:
            now = self._stamp()
            if now != self._seen:
                self._flags, self._seen = read_marks(self.path), now
            return self._flags

    def set(self, key: str, flag: Mark | None) -> None:
        """Raises UserError, OSError."""
        with self._lock:
            set_mark(self.path, key, flag)
            self._seen = None  # two changes may fall within the clock's resolution

    def _stamp(self) -> tuple[int, int]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return (0, 0)
        return status.st_mtime_ns, status.st_size


def flags_of(shards: str) -> Path:
    """Where flags of a set are kept if nobody says: beside its folder, which a single tar shares
    with the others; for a set elsewhere, here, under the whole of its address."""
    folder = local_path(shards)
    if folder is None:
        return Path("".join(c if c.isalnum() else "-" for c in shards) + "-flags.txt")
    if folder.suffix == ".tar":
        folder = folder.parent
    return folder.with_name(f"{folder.name}-flags.txt")
