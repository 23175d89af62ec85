"""Where every scene of an output stands, as its events tell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from datagen.shards.store import Event
from pipelines.dataset.config import JobConfig


class Ledger:
    """The events of all scenes. Their order does not matter, nor does an event told twice."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._refused: defaultdict[str, dict[int, Event]] = defaultdict(dict)
        self._failed: defaultdict[str, dict[int, Event]] = defaultdict(dict)
        for event in events:
            self.note(event)

    def note(self, event: Event) -> None:
        """Take in one more event."""
        book = self._refused if event.kind == "refused" else self._failed
        book[event.key][event.number] = event

    def draw(self, key: str) -> int:
        """The draw that comes next: one past the last refused."""
        return max(self._refused.get(key, {-1: None})) + 1

    def attempt(self, key: str) -> int:
        """The attempt that comes next."""
        return max(self._failed.get(key, {-1: None})) + 1

    def given_up(self, key: str, job: JobConfig) -> bool:
        """Whether the scene was refused or failed too often to be tried again."""
        return self.draw(key) >= job.max_draws or self.attempt(key) >= job.max_attempts

    def refusals(self) -> Counter[str]:
        """How many draws were refused, by reason."""
        return _count(self._refused)

    def failures(self) -> Counter[str]:
        """How many attempts failed, by reason."""
        return _count(self._failed)

    def report(self, keys: Iterable[str], job: JobConfig) -> bytes:
        """JSON lines, sorted by key: why each of these scenes was given up (what happened to it
        last), and how often it was drawn and tried."""
        lines = []
        for key in sorted(keys):
            book = self._failed if self.attempt(key) >= job.max_attempts else self._refused
            event = msgspec.to_builtins(book[key][max(book[key])])
            event |= {"draws": self.draw(key), "attempts": self.attempt(key)}
            lines.append(msgspec.json.encode(event) + b"\n")
        return b"".join(lines)


def _count(books: Mapping[str, Mapping[int, Event]]) -> Counter[str]:
    return Counter(event.reason for book in books.values() for event in book.values())
