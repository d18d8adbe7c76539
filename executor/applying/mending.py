"""A start may take minutes: meanwhile the router and the replicas that nobody touches are kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Set
from typing import TypeVar

from executor.backends.protocol import Backend
from executor.errors import ExecutorError
from executor.waiting import finish
from planner.plan import Replica, Route, RouterPlan, State

# A dead router is noticed within so many seconds; each look costs a question to its admin interface and a look at the process table.
EVERY_S = 2.0

_Value = TypeVar("_Value")
_Seat = tuple[str, int]
_Note = Callable[[str, str], None]


class Mending:
    """Looks after what runs while something else is waited for."""

    def __init__(self, backend: Backend, router: RouterPlan, state: Callable[[], State], note: _Note, every_s: float = EVERY_S) -> None:
        """State gives what should run now; note tells people what was mended."""
        self._backend = backend
        self._router = router
        self._state = state
        self._note = note
        self._every_s = every_s
        self._starts: dict[str, asyncio.Task[None]] = {}
        self._routes: tuple[Route, ...] | None = None

    async def during(
        self, work: Awaitable[_Value], touched: Set[str], seats: Set[_Seat], routes: tuple[Route, ...] | None = None
    ) -> _Value:
        """The work's result. Replicas that it touches, and those on GPUs where it starts something, are not looked after.

        routes are those that the router has meanwhile, where they are not the state's.
        """
        self._routes = routes
        running = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({running}, timeout=self._every_s))[0]:
                await self._look(touched, seats)
            return await running
        except BaseException:
            # cancelled, or a look that failed: the work must not go on without anybody who waits for it
            running.cancel()
            for start in self._starts.values():
                start.cancel()
            await asyncio.gather(running, return_exceptions=True)
            raise
        finally:
            await asyncio.gather(*self._starts.values(), return_exceptions=True)
            self._starts.clear()

    async def _look(self, touched: Set[str], seats: Set[_Seat]) -> None:
        state = self._state()
        try:
            routes = state.routes if self._routes is None else self._routes
            difference = await self._backend.router.difference(self._router, routes)
            if difference is not None:
                self._note("router", f"{difference}: is set right")
                await finish(self._backend.router.ensure(self._router, routes))
        except ExecutorError as error:
            # told by the action that needs it
            self._note("router", str(error).partition("\n")[0])
        observed = self._backend.observe()
        taken = set(seats)
        asleep = {item.name for item in state.asleep}
        for replica in state.replicas:
            if replica.name in asleep:
                # nobody waits for it, and awake it would take the memory of others
                continue
            own = {(replica.node, gpu) for gpu in replica.gpus}
            begun = self._starts.get(replica.name)
            if begun is not None:
                taken |= own if not begun.done() else set()
                continue
            dead = not (replica.name in observed and observed[replica.name].alive)
            if dead and replica.name not in touched and not own & taken:
                taken |= own
                self._starts[replica.name] = asyncio.create_task(self._start(replica))

    async def _start(self, replica: Replica) -> None:
        self._note(replica.name, "does not run any more and is started again")
        try:
            await self._backend.start(replica, lambda text: self._note(replica.name, text))
        except ExecutorError as error:
            # once per batch: whoever looks next decides when it is tried again
            self._note(replica.name, str(error).partition("\n")[0])
