"""The light load of the soak: short requests for models that nobody touches, through the router."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

import aiohttp

from planner.plan import RouterPlan

_CLIENTS = 4
_PAUSE_S = 0.1
# far longer than any answer takes
_LIMIT = aiohttp.ClientTimeout(total=60.0)


@dataclass(frozen=True, slots=True)
class FailedRequest:
    """When it was sent and when it failed, in seconds of the machine's clock, and how."""

    sent_s: float
    ended_s: float
    how: str


@dataclass
class LightLoad:
    """What was sent so far, and what of it failed."""

    requests: int = 0
    failed: list[FailedRequest] = field(default_factory=list)
    stopped: bool = False


@asynccontextmanager
async def light_load(router: RouterPlan, served_names: Sequence[str]) -> AsyncIterator[LightLoad]:
    """Clients ask for the models in turn meanwhile; what was sent is waited for at the end."""
    load = LightLoad()
    async with aiohttp.ClientSession(timeout=_LIMIT) as session:
        clients = [asyncio.create_task(_client(session, router, served_names, number, load)) for number in range(_CLIENTS)]
        try:
            yield load
        finally:
            load.stopped = True
            await asyncio.gather(*clients)


async def _client(session: aiohttp.ClientSession, router: RouterPlan, served_names: Sequence[str], number: int, load: LightLoad) -> None:
    while not load.stopped:
        number += 1
        body = {"model": served_names[number % len(served_names)], "prompt": [1, 2, 3], "max_tokens": 2}
        sent_s = monotonic()
        load.requests += 1
        how = ""
        try:
            async with session.post(f"http://{router.host}:{router.port}/v1/completions", json=body) as answer:
                await answer.read()
                how = "" if answer.status == 200 else f"http {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            how = type(error).__name__
        if how:
            load.failed.append(FailedRequest(sent_s, monotonic(), how))
        await asyncio.sleep(_PAUSE_S)
