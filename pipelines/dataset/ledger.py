"""State of every scene of an output, computed from its events."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from datagen.shards.store import Event
from pipelines.dataset.config import JobConfig


class Ledger:
    """The events of all scenes. Neither the order of events nor a repeated event matters."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._refused: defaultdict[str, dict[int, Event]] = defaultdict(dict)
        self._failed: defaultdict[str, dict[int, Event]] = defaultdict(dict)
        for event in events:
            self.record(event)

    def record(self, event: Event) -> None:
        """Add one event."""
        events = self._refused if event.kind == "refused" else self._failed
        events[event.key][event.number] = event

    def draw(self, key: str) -> int:
        """Number of the next draw: one more than the last rejected one."""
        return max(self._refused.get(key, {-1: None})) + 1

    def attempt(self, key: str) -> int:
        """Number of the next attempt."""
        return max(self._failed.get(key, {-1: None})) + 1

    def given_up(self, key: str, job: JobConfig) -> bool:
        """Whether the scene was refused or failed too often to be tried again."""
        return self.draw(key) >= job.max_draws or self.attempt(key) >= job.max_attempts

    def refusals(self) -> Counter[str]:
        """Number of rejected draws, by reason."""
        return _count(self._refused)

    def failures(self) -> Counter[str]:
        """Number of failed attempts, by reason."""
        return _count(self._failed)

    def report(self, keys: Iterable[str], job: JobConfig) -> bytes:
        """JSON lines, sorted by key: the last event of each of these scenes, which were given up,
        with its numbers of draws and attempts."""
        lines = []
        for key in sorted(keys):
            events = self._failed if self.attempt(key) >= job.max_attempts else self._refused
            event = msgspec.to_builtins(events[key][max(events[key])])
            event |= {"draws": self.draw(key), "attempts": self.attempt(key)}
            lines.append(msgspec.json.encode(event) + b"\n")
        return b"".join(lines)


def _count(events: Mapping[str, Mapping[int, Event]]) -> Counter[str]:
    return Counter(event.reason for of_scene in events.values() for event in of_scene.values())
