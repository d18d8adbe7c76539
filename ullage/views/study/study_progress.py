"""Progress of a study with the time left: a bar on a terminal, else a plain line for each twentieth; always on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ullage.study.study_run import StudyProgress

# Plain lines are for logs: one for each twentieth of the scenarios.
_PLAIN_LINES = 20


@contextmanager
def study_progress(wanted: bool) -> Iterator[Callable[[StudyProgress], None]]:
    """A callback for ullage.study.study_run; on a terminal a bar, elsewhere lines when they are wanted."""
    if not sys.stderr.isatty():
        yield _PlainLines() if wanted else lambda _: None
        return
    # imported here: it takes a tenth of a second and logs do not need it
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    with Bar(BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda now: bar.update(task, completed=now.done, total=now.total, description=left_words(now.left_s))


def left_words(left_s: float | None) -> str:
    """How long it may still take."""
    return "" if left_s is None else f"about {duration_words(left_s)} left"


def duration_words(seconds_s: float) -> str:
    """A duration as people say it.

    >>> duration_words(6000)
    '1 h 40 min'
    """
    if seconds_s < 90:
        return f"{max(1, round(seconds_s))} s"
    minutes = round(seconds_s / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class _PlainLines:
    def __init__(self) -> None:
        self._told = 0

    def __call__(self, now: StudyProgress) -> None:
        part = now.done * _PLAIN_LINES // now.total
        if part > self._told:
            self._told = part
            sys.stderr.write(f"{now.done} of {now.total} scenarios; {left_words(now.left_s)}\n")
            sys.stderr.flush()
