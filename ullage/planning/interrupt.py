"""Ctrl-C while engines work: the first one asks for the best plan so far, the second one ends the process at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from planner.problem import SolveProgress, Watch


@contextmanager
def watched(report: Callable[[SolveProgress], None], told: Callable[[], None]) -> Iterator[Watch]:
    """A watch whose `stop` turns true with the first Ctrl-C, after which `told` is called; outside the main thread it never does."""
    stopped = threading.Event()

    def first(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopped.set()
        # engines look up in seconds: whoever does not want to wait presses again
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        told()

    if threading.current_thread() is not threading.main_thread():
        yield Watch(report, stopped.is_set)
        return
    before = signal.signal(signal.SIGINT, first)
    try:
        yield Watch(report, stopped.is_set)
    finally:
        signal.signal(signal.SIGINT, before)
