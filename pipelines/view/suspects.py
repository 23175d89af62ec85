"""Find suspect scenes: samples that contradict themselves, and samples that are unusual."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from PIL import Image

from datagen.errors import UserError
from datagen.scene import Sample
from datagen.shards.codec import BadSample
from datagen.shards.consistency import check_sample
from datagen.shards.reader import ShardSet

KINDS = (
    "broken", "empty mask", "box against mask", "depth out of box", "other contradiction",
    "flat image", "duplicate identity views",
)  # fmt: skip
FLAT = 16  # an image is flat if the middle 98% of its pixels span at most so many grey levels
ALIKE = 0.5  # two views are duplicates if they differ by at most so many levels on average

# Kind by a part of the message of `consistency.check_sample`; the first part that occurs counts.
_KIND_BY_MESSAGE = {
    "has no pixel": "empty mask",
    "mask is empty": "empty mask",
    "lie outside box3d": "depth out of box",
    "box2d": "box against mask",
}

Suspicion = tuple[str, str]
"""One of ``KINDS``, and a message."""


def find_suspicions(sample: Sample) -> tuple[Suspicion, ...]:
    """Everything that is suspect in a sample; empty for most samples."""
    contradictions = ((_kind(fault), fault) for fault in check_sample(sample))
    return (*contradictions, *_flat(sample), *_duplicates(sample))


class SuspectSearch:
    """Checks every sample of a dataset in a thread, once it is started.

    Attributes:
        found: kinds of suspicion by the scene's id; only scenes that have any.
        done: number of samples checked so far.
    """

    def __init__(self, shards: ShardSet) -> None:
        self._shards = shards
        self._thread = threading.Thread(target=self._search, daemon=True)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.found: dict[int, tuple[str, ...]] = {}
        self.done = 0

    def start(self) -> None:
        """Start the search. No effect if it was started before."""
        with self._lock:
            if not self._thread.ident:
                self._thread.start()

    def stop(self) -> None:
        """End the search after the sample that is being checked."""
        self._stopped.set()

    def _search(self) -> None:
        for number, key in enumerate(self._shards.keys()):
            if self._stopped.is_set():
                return
            try:
                kinds = tuple(kind for kind, _ in find_suspicions(self._shards.sample(key)))
            except (BadSample, UserError, OSError):
                kinds = ("broken",)
            if kinds:
                self.found[number] = tuple(dict.fromkeys(kinds))
            self.done = number + 1


def _kind(fault: str) -> str:
    kinds = (kind for part, kind in _KIND_BY_MESSAGE.items() if part in fault)
    return next(kinds, "other contradiction")


def _flat(sample: Sample) -> Iterator[Suspicion]:
    low, high = np.percentile(sample.image.mean(axis=-1), (1, 99))
    if high - low <= FLAT:
        yield "flat image", f"nearly all of the image lies between grey {low:.0f} and {high:.0f}"


def _duplicates(sample: Sample) -> Iterator[Suspicion]:
    for subject, row in zip(sample.record.subjects, sample.views, strict=True):
        views = [_small(view) for view in row]
        for (i, one), (j, other) in combinations(enumerate(views), 2):
            if np.abs(one - other).mean() <= ALIKE:
                yield "duplicate identity views", f"subject {subject.index}: {i} and {j} are alike"


def _small(view: np.ndarray) -> np.ndarray:
    """(32, 32, 4) float, 0 to 255: the view reduced, its colour multiplied by alpha, so that the
    colour of transparent pixels does not count."""
    small = np.asarray(Image.fromarray(view).resize((32, 32), Image.Resampling.BOX), np.float64)
    return np.concatenate([small[..., :3] * small[..., 3:] / 255, small[..., 3:]], axis=-1)
