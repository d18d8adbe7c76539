"""Waiting for something real with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

_Value = TypeVar("_Value")


async def wait_until(holds: Callable[[], bool], limit_s: float, every_s: float = 0.05) -> bool:
    """Poll until the condition holds; False when it did not within the limit. Asked at least once and once after the limit."""
    clock = asyncio.get_running_loop().time
    deadline_s = clock() + limit_s
    while not holds():
        if clock() >= deadline_s:
            return False
        await asyncio.sleep(min(every_s, max(deadline_s - clock(), 0.0)))
    return True


async def finish(work: Coroutine[Any, Any, _Value]) -> _Value:
    """Do something that must not be left half done: a cancellation waits until it has ended, and is raised then."""
    inner = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not inner.done():
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError as error:
            if inner.cancelled():
                raise
            cancelled = error
        except Exception:
            if cancelled is None:
                raise
    if cancelled is not None:
        inner.exception()
        raise cancelled
    return inner.result()


async def all_of(work: Sequence[Awaitable[None]]) -> None:
    """Wait for all, also after a failure; then raise the first failure in the given order."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
