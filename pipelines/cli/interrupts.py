"""Ctrl-C and SIGTERM interrupt a job in the same way, with one exit code."""

from __future__ import annotations

import math
import sys
import time
from types import FrameType

INTERRUPTED = 130


class Interrupt:
    """A signal handler that lets SIGTERM end a job as Ctrl-C does.

    `timeout`, or a scheduler, signals a program and also its process group: a second signal
    within one second is the same request, and would only interrupt the clean-up that the first
    one began."""

    def __init__(self) -> None:
        self._last = -math.inf

    @property
    def received(self) -> bool:
        return self._last > -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        before, self._last = self._last, time.monotonic()
        if self._last - before > 1:
            raise KeyboardInterrupt


def report_stop(kept: str) -> int:
    """Print that a verb was interrupted, and what is kept, if anything. Returns the exit code."""
    print("\nstopped" + (f"; {kept}" if kept else ""), file=sys.stderr)
    return INTERRUPTED
