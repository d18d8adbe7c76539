"""A closed loop of clients against one engine, timed as `vllm bench serve` times it.

Each client sends its next request when the answer to its last one is complete. TTFT is from the sending to the first event with a token,
TPOT the time from the first to the last token over the tokens after the first, the rate what was completed over the whole duration; the
requests in flight when enough was seen finish and count. No two prompts share a beginning, so that no prefix cache answers them.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from executor import credentials
from executor.clients.client import ClientExchange, StreamConnection, completion_request
from executor.clients.token_ids import FIRST_ID, ID_BYTES, IDS
from executor.errors import AccessError, ExecutorError

# A client that is told nothing for so long gives up: the longest request that people wait for takes minutes.
REQUEST_LIMIT_S = 300.0


class MeasureError(ExecutorError):
    """What keeps something from being measured; the message says where, what and what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """An engine's address and the name under which it serves the model."""

    host: str
    port: int
    served_name: str

    @property
    def url(self) -> str:
        """As people write it."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class ClientLoad:
    """So many clients with requests of these lengths; sorts by lengths first, then by clients."""

    input_tokens: int
    output_tokens: int
    concurrency: int

    def __str__(self) -> str:
        """In a few words."""
        return f"{self.input_tokens} + {self.output_tokens} tokens, concurrency {self.concurrency}"


@dataclass(frozen=True, slots=True)
class Timing:
    """One complete answer: when it was asked for (of the event loop's clock), and its times. tpot_s None: it was one token long."""

    started_s: float
    ttft_s: float
    tpot_s: float | None
    request_s: float


@dataclass(frozen=True, slots=True)
class LoadRun:
    """All answers of a run in the order of their ends, and the seconds from the first request to the last answer."""

    timings: tuple[Timing, ...]
    duration_s: float


# Asked after every answer, with all of them and the seconds so far: whether the run may end.
Enough = Callable[[Sequence[Timing], float], bool]


class Prompts:
    """Prompts of token ids that differ from their first tokens on, also from those of another seed."""

    def __init__(self, seed: int) -> None:
        """Seed: any number; draw it anew for every start, or an engine may remember the prompts of the last one."""
        draw = random.Random(seed)  # noqa: S311 -- text for an engine, not a secret
        self._ids = [draw.randrange(FIRST_ID, FIRST_ID + IDS) for _ in range(IDS)]
        self._text = b"".join(b"%d," % number for number in self._ids)
        self._own = draw.choices(range(FIRST_ID, FIRST_ID + IDS), k=2)
        self._count = 0

    def next(self, tokens: int) -> bytes:
        """The inside of a JSON list of so many token ids."""
        low, high = self._count % IDS, self._count // IDS
        self._count += 1
        head = b"".join(b"%d," % number for number in (FIRST_ID + low, FIRST_ID + high % IDS, *self._own))
        at = ID_BYTES * low
        body = head + self._text[at:]
        while len(body) < ID_BYTES * tokens:
            body += self._text
        return body[: ID_BYTES * tokens - 1]


async def run_load(
    target: Target, load: ClientLoad, prompts: Prompts, enough: Enough, *, limit_s: float = REQUEST_LIMIT_S, settle_s: float = 0.0
) -> LoadRun:
    """Keep `load` up until `enough` says so, and wait for the answers on their way.

    settle_s passes between opening the connections and the first request. Raises MeasureError at the first request that fails or takes
    longer than limit_s: a load at which requests fail has no times. AccessError when the engine demands an API key that ours is not.
    """
    crowd = _Crowd(target, load, prompts, enough, limit_s)
    try:
        return await crowd.run(settle_s)
    finally:
        crowd.close()


class _Crowd:
    """The clients of one run."""

    def __init__(self, target: Target, load: ClientLoad, prompts: Prompts, enough: Enough, limit_s: float) -> None:
        self._target, self._load, self._prompts, self._enough, self._limit_s = target, load, prompts, enough, limit_s
        self._authorization = credentials.authorization(os.environ)
        self._clock = asyncio.get_running_loop().time
        self._connections: list[StreamConnection] = []
        self._timings: list[Timing] = []
        self._began_s = 0.0
        self._done = False

    async def run(self, settle_s: float) -> LoadRun:
        first = [await self._connect() for _ in range(self._load.concurrency)]
        await asyncio.sleep(settle_s)
        self._began_s = self._clock()
        clients = [asyncio.create_task(self._client(connection)) for connection in first]
        try:
            await asyncio.gather(*clients)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        return LoadRun(tuple(self._timings), self._clock() - self._began_s)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    async def _client(self, connection: StreamConnection) -> None:
        while not self._done:
            usable = connection if connection.usable else await self._connect()
            connection = usable
            self._timings.append(await self._one(usable))
            self._done = self._done or self._enough(self._timings, self._clock() - self._began_s)

    async def _one(self, connection: StreamConnection) -> Timing:
        target, load = self._target, self._load
        prompt = self._prompts.next(load.input_tokens)
        request = completion_request(target.host, target.port, target.served_name, prompt, load.output_tokens, self._authorization)
        exchange = ClientExchange(started_s=self._clock())
        try:
            await asyncio.wait_for(connection.send(request, exchange), self._limit_s)
        except TimeoutError:
            raise self._failure(f"no complete answer within {self._limit_s:g} s; does the engine hang, or sleep?") from None
        return self._timing(exchange)

    def _timing(self, exchange: ClientExchange) -> Timing:
        asked = self._load.output_tokens
        if exchange.error in credentials.DENIED_ERRORS:
            raise AccessError(f"{self._target.url}: {credentials.DEMAND}")
        if exchange.error is not None:
            raise self._failure(f"{exchange.error}{f': {exchange.detail}' if exchange.detail else ''}")
        if exchange.first_token_s is None or exchange.last_token_s is None:
            raise self._failure("the answer holds no tokens: is it a stream of server-sent events?")
        if exchange.output_tokens != asked:
            raise self._failure(f"the server counts {exchange.output_tokens} tokens in an answer of {asked}")
        decode_s = exchange.last_token_s - exchange.first_token_s
        return Timing(
            started_s=exchange.started_s,
            ttft_s=exchange.first_token_s - exchange.started_s,
            tpot_s=decode_s / (asked - 1) if asked > 1 else None,
            request_s=exchange.last_token_s - exchange.started_s,
        )

    async def _connect(self) -> StreamConnection:
        loop = asyncio.get_running_loop()
        try:
            _, made = await asyncio.wait_for(
                loop.create_connection(lambda: StreamConnection(self._clock), self._target.host, self._target.port), self._limit_s
            )
        except (OSError, TimeoutError) as error:
            raise self._failure(f"no connection ({getattr(error, 'strerror', None) or error or 'no answer'})") from None
        self._connections.append(made)
        return made

    def _failure(self, what: str) -> MeasureError:
        return MeasureError(f"{self._target.url}: {self._load}: a request failed after {len(self._timings)} answers: {what}")
