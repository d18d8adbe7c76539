"""Clients that send one short request after the other through the router, until they are told to stop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from planner.plan import RouterPlan

# far longer than any answer takes: a client that gives up would count as a failure
_LIMIT = aiohttp.ClientTimeout(total=120.0)


@dataclass
class Answers:
    """What came back, counted by kind: "ok", "http 503", or the name of the error."""

    kinds: Counter[str] = field(default_factory=Counter)
    stop: bool = False

    @property
    def tried(self) -> int:
        return self.kinds.total()

    @property
    def failed(self) -> int:
        return self.tried - self.kinds["ok"]


@asynccontextmanager
async def asking(router: RouterPlan, served_names: Sequence[str], clients: int = 4) -> AsyncIterator[Answers]:
    """Ask for these models in turn meanwhile; every request that was sent is waited for at the end."""
    answers = Answers()
    async with aiohttp.ClientSession(timeout=_LIMIT) as session:
        running = [asyncio.create_task(_one_client(session, router, served_names, number, answers)) for number in range(clients)]
        try:
            yield answers
        finally:
            answers.stop = True
            await asyncio.gather(*running)


async def _one_client(
    session: aiohttp.ClientSession, router: RouterPlan, served_names: Sequence[str], number: int, answers: Answers
) -> None:
    while not answers.stop:
        number += 1
        body = {"model": served_names[number % len(served_names)], "prompt": [1, 2, 3], "max_tokens": 1}
        try:
            async with session.post(f"http://{router.host}:{router.port}/v1/completions", json=body) as answer:
                await answer.read()
                answers.kinds["ok" if answer.status == 200 else f"http {answer.status}"] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            answers.kinds[type(error).__name__] += 1
