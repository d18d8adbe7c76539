"""Where engines stand, on standard error: one line that is rewritten on a terminal, else a line when the goal's value or bound changes."""

from __future__ import annotations

import sys
from collections.abc import Callable

from planner.problem import MICRO, SolveProgress


def solve_progress(wanted: bool) -> Callable[[SolveProgress], None]:
    """Prints progress on a terminal or when it is wanted; else nothing."""
    if sys.stderr.isatty():
        return lambda now: _write(f"\r\x1b[K{line(now)}")
    return _Lines() if wanted else lambda _: None


def end_progress() -> None:
    """Leaves the terminal's line empty for what follows."""
    if sys.stderr.isatty():
        _write("\r\x1b[K")


def line(now: SolveProgress) -> str:
    """Incumbent, bound, gap and engine."""
    goal = "cost USD/h" if now.priority is None else f"unserved requests/s at priority {now.priority}"
    gap = f"{(now.value - now.bound) / now.value:.2%}" if now.value else "0.00%"
    return f"{now.engine}: {goal} {now.value / MICRO:.6g}, bound {now.bound / MICRO:.6g}, gap {gap}"


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


class _Lines:
    def __init__(self) -> None:
        self._last = ""

    def __call__(self, now: SolveProgress) -> None:
        text = line(now)
        if text != self._last:
            _write(f"{text}\n")
        self._last = text
