"""How a running job tells where it is: a live bar on a terminal, a line now and then elsewhere."""

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

LINE_EVERY = 15.0


class Progress:
    """Counts scenes. ``total`` of the plan, of which ``done`` were finished before.

    The clock is read for people only; nothing that is written depends on it.
    """

    def __init__(self, total: int, done: int, console: Console) -> None:
        self._total, self._before, self._done = total, done, done
        self._started = time.monotonic()
        self._line_at = self._started
        self._reasons: Counter[str] = Counter()
        self._console = console
        self._bar = Bar(
            TextColumn("scenes"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _Said(self),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("scenes", total=total, completed=done)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def count_finished(self) -> None:
        """One more scene is in the store."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        self._line()

    def count_failure(self, reason: str) -> None:
        """A draw was refused or an attempt failed."""
        self._reasons[reason] += 1
        self._line()

    def said(self) -> str:
        """Rate, time left and setbacks, in words."""
        made = self._done - self._before
        if made:
            pace = (time.monotonic() - self._started) / made
            left = round(pace * (self._total - self._done))
            words = [f"{pace:.1f} s a scene", f"{left // 60}:{left % 60:02d} left"]
        else:
            words = ["starting"]
        return ", ".join(words + [f"{reason} x{n}" for reason, n in self._reasons.most_common(5)])

    def _line(self) -> None:
        now = time.monotonic()
        if not self._console.is_terminal and (now >= self._line_at or self._done == self._total):
            self._line_at = now + LINE_EVERY
            self._console.print(
                f"{self._done}/{self._total} scenes, {self.said()}", soft_wrap=True, highlight=False
            )


class _Said(ProgressColumn):
    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.said())
