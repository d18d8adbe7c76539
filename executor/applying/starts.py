"""Starts overlap across GPUs, never on one: a start beside another start (or stop) on its GPU mis-measures free memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from executor.waiting import all_of
from planner.plan import Start

NumberedStart = tuple[int, Start]


async def run_starts(starts: Sequence[NumberedStart], start: Callable[[int, Start], Awaitable[None]]) -> None:
    """Run in plan order per GPU, different GPUs at once; after a failure what was begun ends, and nothing more begins.

    Raises the failure of the earliest action.
    """
    last: dict[tuple[str, int], asyncio.Task[None]] = {}
    tasks: list[asyncio.Task[None]] = []
    failed = asyncio.Event()

    async def one(number: int, action: Start, before: frozenset[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before)
        if failed.is_set():
            return
        try:
            await start(number, action)
        except Exception:
            failed.set()
            raise

    for number, action in starts:
        seats = [(action.node, gpu) for gpu in action.gpus]
        before = frozenset(last[seat] for seat in seats if seat in last)
        task = asyncio.create_task(one(number, action, before))
        last.update(dict.fromkeys(seats, task))
        tasks.append(task)
    await all_of(tasks)
