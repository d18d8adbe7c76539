"""Pass after pass until somebody says stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from executor.reconcile.kept_goal import ReadGoal
from executor.reconcile.memory import PassReport
from executor.reconcile.reconciler import Reconciler


async def nothing() -> None:
    """Between two passes, where nothing is to be done."""


OnReport = Callable[[PassReport], None]


async def watch(
    reconciler: Reconciler, read_goal: ReadGoal, interval_s: float, on_report: OnReport, between: Callable[[], Awaitable[None]] = nothing
) -> None:
    """A pass every interval_s seconds, the first at once, until SIGTERM or SIGINT: a pass that works then ends as an interrupted apply.

    between is done after each pass.
    """
    with _stopped_by_signals() as stop:
        while not stop.is_set():
            await _until(stop, _one(reconciler, read_goal, on_report))
            await _until(stop, between())
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), interval_s)


async def _one(reconciler: Reconciler, read_goal: ReadGoal, on_report: OnReport) -> None:
    on_report(await reconciler.once(read_goal))


async def _until(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """The work, cut off when somebody says stop."""
    running = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not running.done():
        running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@contextmanager
def _stopped_by_signals() -> Iterator[asyncio.Event]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    caught: list[signal.Signals] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ValueError, RuntimeError):
            loop.add_signal_handler(number, stop.set)
            caught.append(number)
    try:
        yield stop
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
