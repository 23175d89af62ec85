"""Ctrl-C and SIGTERM: the same wish, and one exit code."""

from __future__ import annotations

import math
import sys
import time
from types import FrameType

INTERRUPTED = 130


class Interrupt:
    """A handler that lets SIGTERM end a job as Ctrl-C does. `timeout`, or a scheduler, sends both
    a program and its group a signal: a second one within a second is the same wish, and would
    only cut the first one's way out short."""

    def __init__(self) -> None:
        self._last = -math.inf

    @property
    def came(self) -> bool:
        return self._last > -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        before, self._last = self._last, time.monotonic()
        if self._last - before > 1:
            raise KeyboardInterrupt


def stopped(told: str = "") -> int:
    """Say that a job was interrupted, and what is kept. Returns the exit code."""
    told = told or "what is finished is kept: run the same command to go on"
    print(f"\nstopped; {told}", file=sys.stderr)
    return INTERRUPTED
