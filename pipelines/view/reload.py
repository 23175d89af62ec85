"""Load the dataset again when it was packed again while the viewer runs."""

from __future__ import annotations

import hashlib
import posixpath
import threading
import time
from contextlib import suppress
from pathlib import Path

from datagen.shards.files import Folder, local_path
from datagen.shards.manifest import MANIFEST
from pipelines.view.compare import Comparison
from pipelines.view.dataset_index import open_dataset_index
from pipelines.view.review import ReviewMarks, default_marks_file
from pipelines.view.viewer import Viewer

REMOTE_CHECK_SECONDS = 5
"""A bucket or server is asked at most so often whether its manifest has changed; it takes a round
trip. A file on this machine is checked with every request."""


class ViewerLoader:
    """Loads the viewer of a dataset, and again once its manifest was replaced. Thread-safe.

    Args:
        shards: a folder of shards, an fsspec URL or one tar.
        marks_file: where review marks are kept; None for ``default_marks_file(shards)``.
        compare: another dataset to show beside this one; empty for none.

    Raises:
        UserError: a dataset or the file of marks cannot be read.
    """

    def __init__(self, shards: str, marks_file: Path | None, compare: str = "") -> None:
        self._shards = shards
        self._compare = compare
        paths = [path for path in (shards, compare) if path]
        self._manifests = [_manifest_of(path) for path in paths]
        self._interval = 0 if all(local_path(path) for path in paths) else REMOTE_CHECK_SECONDS
        self._marks = ReviewMarks(marks_file or default_marks_file(shards))
        self._lock = threading.Lock()
        # Before the dataset is read: what is replaced meanwhile differs at the next check.
        self._fingerprints = self._read_fingerprints()
        self._checked = time.monotonic()
        self._viewer = self._load(self._fingerprints)

    def current(self) -> Viewer:
        """The viewer of the dataset as it is packed now. While it is being packed and has no
        manifest, the viewer of the former packing.

        Raises:
            UserError: the dataset was packed again and cannot be read.
        """
        with self._lock:
            if time.monotonic() - self._checked >= self._interval:
                with suppress(OSError):  # a server that does not answer: the request itself says so
                    self._reload_if_replaced()
                self._checked = time.monotonic()
            return self._viewer

    def _reload_if_replaced(self) -> None:
        found = self._read_fingerprints()
        pairs = zip(self._fingerprints, found, strict=True)
        being_packed = any(former and not now for former, now in pairs)
        if found == self._fingerprints or being_packed:
            return
        former, self._viewer = self._viewer, self._load(found)
        self._fingerprints = found
        former.suspect_search.stop()

    def _read_fingerprints(self) -> list[str]:
        return [folder.fingerprint(name) for folder, name in self._manifests]

    def _load(self, fingerprints: list[str]) -> Viewer:
        index = open_dataset_index(self._shards)
        compare = self._compare
        comparison = Comparison(index, open_dataset_index(compare)) if compare else None
        version = hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()[:16]
        return Viewer(index, self._marks, comparison, version)


def _manifest_of(path: str) -> tuple[Folder, str]:
    """Folder and name of the file that is replaced when the dataset at ``path`` is packed again:
    the manifest, or of a single tar the tar itself."""
    if path.endswith(".tar"):
        parent, name = posixpath.split(path)
        return Folder(parent or "."), name
    return Folder(path), MANIFEST
