"""Shows how far a job is: a live bar on a terminal, a line every 15 seconds elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

SECONDS_PER_LINE = 15.0


class Progress:
    """Counts finished units of work, and estimates the time left from the pace since the start.

    The clock serves the display only; nothing that is written depends on it.

    Args:
        unit: what is counted, in the singular: "scene".
        total: units in all.
        console: where the progress is shown.
        done: units that were finished before the start.
    """

    def __init__(self, unit: str, total: int, console: Console, done: int = 0) -> None:
        self._unit, self._total, self._console = unit, total, console
        self._status = ""
        self._failures: Counter[str] = Counter()
        self._bar = Bar(
            TextColumn(f"{unit}s"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _Description(self),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(f"{unit}s", total=total, completed=done)
        self._next_line = time.monotonic()
        self.restart(done)

    def __enter__(self) -> Self:
        self._bar.start()
        self._print_line()
        self._next_line = time.monotonic()  # the first progress is shown at once, too
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def restart(self, done: int) -> None:
        """Work begins, or begins again, after ``done`` units: measure the pace from here."""
        self._first = self._done = done
        self._started = time.monotonic()
        self._bar.update(self._task, completed=done)

    def update(self, done: int, status: str = "") -> None:
        """Set the number of finished units.

        Args:
            done: finished units, those from before the start included.
            status: shown in place of the pace.
        """
        self._done, self._status = done, status
        self._bar.update(self._task, completed=done)
        self._print_line()

    def advance(self, units: int = 1) -> None:
        """Some more units are finished."""
        self.update(self._done + units)

    def count_failure(self, reason: str) -> None:
        """Count a failure; the most common reasons are shown."""
        self._failures[reason] += 1
        self._print_line()

    def describe(self) -> str:
        """Status or pace, time left and failures."""
        if made := self._done - self._first:
            pace = (time.monotonic() - self._started) / made
            left = round(pace * (self._total - self._done))
            status = self._status or f"{pace:.1f} s per {self._unit}"
            parts = [status, f"{left // 60}:{left % 60:02d} left"]
        else:
            parts = ["starting"]
        failures = [f"{reason} x{count}" for reason, count in self._failures.most_common(5)]
        return ", ".join(parts + failures)

    def _print_line(self) -> None:
        now = time.monotonic()
        if self._console.is_terminal or (now < self._next_line and self._done != self._total):
            return
        self._next_line = now + SECONDS_PER_LINE
        line = f"{self._done}/{self._total} {self._unit}s, {self.describe()}"
        self._console.print(line, soft_wrap=True, highlight=False)


class _Description(ProgressColumn):
    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.describe())
