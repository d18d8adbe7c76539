"""Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere; always on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from executor.clients.replay import ReplayProgress
from executor.measure.sweep import SweepProgress

# plain lines are for logs: one every so many reports
PLAIN_EVERY = 10


@contextmanager
def replay_progress() -> Iterator[Callable[[ReplayProgress], None]]:
    """A callback for executor.clients.replay."""
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    # imported here: it takes a tenth of a second and logs do not need it
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("requests", total=None)
        yield lambda now: bar.update(task, completed=now.ended, total=now.total, description=f"requests ({now.errors} errors)")


class _PlainLines:
    def __init__(self) -> None:
        self._count = 0

    def __call__(self, now: ReplayProgress) -> None:
        if self._count % PLAIN_EVERY == 0:
            sys.stderr.write(f"{now.elapsed_s:5.0f} s: {now.sent} of {now.total} sent, {now.ended} ended, {now.errors} errors\n")
            sys.stderr.flush()
        self._count += 1


@contextmanager
def measure_progress() -> Iterator[Callable[[SweepProgress], None]]:
    """A callback for executor.measure.sweep."""
    if not sys.stderr.isatty():
        yield _MeasureLines()
        return
    # imported here: see above
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda now: bar.update(task, completed=now.done, total=now.total, description=f"{now.now}: {now.answers} answers")


class _MeasureLines:
    """A line when something new begins."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, now: SweepProgress) -> None:
        if now.now != self._last:
            sys.stderr.write(f"{now.done} of {now.total} done; {now.now}\n")
            sys.stderr.flush()
        self._last = now.now
