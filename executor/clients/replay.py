"""Live replay: requests of a trace against the running router, at their own times, until every one of them ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from executor import credentials
from executor.clients.client import ClientExchange, StreamConnection, completion_request, embedding_request
from executor.clients.token_ids import FIRST_ID, ID_BYTES, IDS
from planner.simulation.traffic_metrics import RequestRecord

# how long requests may still run after the window before they count as failed
FINISH_LIMIT_S = 120.0

# progress is for people: more often than that nobody reads
_PROGRESS_S = 1.0

# any step that shares no factor with the number of ids starts all prompts at different places, so that none shares a cached prefix
_STRIDE = 3571


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """One request of a trace; arrival_s counts from the start of the window. A pooling one asks for an embedding and generates nothing."""

    arrival_s: float
    workload: str
    served_name: str
    input_tokens: int
    output_tokens: int
    pooling: bool = False


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a replay is; late_s is how long after its time the latest request was sent."""

    elapsed_s: float
    sent: int
    ended: int
    errors: int
    total: int
    late_s: float


OnReplayProgress = Callable[[ReplayProgress], None]


def replay(
    router_host: str,
    router_port: int,
    requests: Sequence[ReplayRequest],
    seconds: float,
    on_progress: OnReplayProgress | None = None,
    finish_limit_s: float = FINISH_LIMIT_S,
) -> tuple[RequestRecord, ...]:
    """Send the requests that arrive within the window of `seconds` and wait for all answers; records in order of arrival.

    Errors by class: `connect`, `reset`, `http STATUS`, `short output`, `deadline` (not ended finish_limit_s after the window).
    The API key is taken from the environment (executor.credentials); raises CredentialError for one that cannot be sent.
    """
    chosen = sorted((request for request in requests if 0 <= request.arrival_s < seconds), key=lambda request: request.arrival_s)
    return asyncio.run(_Replay(router_host, router_port, chosen).run(seconds + finish_limit_s, on_progress))


class _Replay:
    def __init__(self, host: str, port: int, requests: Sequence[ReplayRequest]) -> None:
        self._host = host
        self._port = port
        self._authorization = credentials.authorization(os.environ)
        self._requests = requests
        self._prompts = _Prompts(requests)
        self._exchanges: list[ClientExchange | None] = [None] * len(requests)
        self._idle: list[StreamConnection] = []
        self._ended = 0
        self._errors = 0
        self._late_s = 0.0

    async def run(self, limit_s: float, on_progress: OnReplayProgress | None) -> tuple[RequestRecord, ...]:
        clock = asyncio.get_running_loop().time
        start_s = clock()
        watcher = asyncio.create_task(self._watch(start_s, on_progress)) if on_progress else None
        tasks = []
        for index, request in enumerate(self._requests):
            due_s = start_s + request.arrival_s
            if (wait_s := due_s - clock()) > 0:
                await asyncio.sleep(wait_s)
            self._late_s = max(self._late_s, clock() - due_s)
            tasks.append(asyncio.create_task(self._one(index, due_s)))
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=max(start_s + limit_s - clock(), 0.0))
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        for connection in self._idle:
            connection.close()
        if watcher is not None:
            watcher.cancel()
            self._tell(start_s, on_progress)
        return tuple(_record(request, exchange) for request, exchange in zip(self._requests, self._exchanges, strict=True))

    async def _one(self, index: int, due_s: float) -> None:
        request = self._requests[index]
        exchange = ClientExchange(started_s=due_s, streamed=not request.pooling)
        self._exchanges[index] = exchange
        try:
            connection = await self._connection()
            try:
                await connection.send(self._body(index), exchange)
            except asyncio.CancelledError:
                exchange.error = "deadline"
                connection.close()
                raise
            if connection.usable:
                self._idle.append(connection)
        except OSError:
            exchange.error = "connect"
        if exchange.error is None and not request.pooling and exchange.output_tokens < request.output_tokens:
            exchange.error = "short output"
        self._ended += 1
        self._errors += exchange.error is not None

    def _body(self, index: int) -> bytes:
        request = self._requests[index]
        prompt = self._prompts.ids(index, request.input_tokens)
        if request.pooling:
            return embedding_request(self._host, self._port, request.served_name, prompt, self._authorization)
        return completion_request(self._host, self._port, request.served_name, prompt, request.output_tokens, self._authorization)

    async def _connection(self) -> StreamConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: StreamConnection(loop.time), self._host, self._port)
        return made

    async def _watch(self, start_s: float, on_progress: OnReplayProgress | None) -> None:
        while True:
            self._tell(start_s, on_progress)
            await asyncio.sleep(_PROGRESS_S)

    def _tell(self, start_s: float, on_progress: OnReplayProgress | None) -> None:
        if on_progress is not None:
            sent = sum(exchange is not None for exchange in self._exchanges)
            elapsed_s = asyncio.get_running_loop().time() - start_s
            on_progress(ReplayProgress(elapsed_s, sent, self._ended, self._errors, len(self._requests), self._late_s))


class _Prompts:
    """Token ids as text, as many as the longest prompt needs; each prompt is a slice of it."""

    def __init__(self, requests: Sequence[ReplayRequest]) -> None:
        longest = max((request.input_tokens for request in requests), default=0)
        self._text = b"".join(b"%d," % (FIRST_ID + i % IDS) for i in range(IDS + longest))

    def ids(self, index: int, tokens: int) -> bytes:
        at = ID_BYTES * (index * _STRIDE % IDS)
        return self._text[at : at + ID_BYTES * tokens - 1]


def _record(request: ReplayRequest, exchange: ClientExchange | None) -> RequestRecord:
    ttft_s = tpot_s = None
    error = "deadline" if exchange is None else exchange.error
    if exchange is not None and exchange.first_token_s is not None and exchange.last_token_s is not None:
        ttft_s = exchange.first_token_s - exchange.started_s
        if exchange.output_tokens > 1:
            tpot_s = (exchange.last_token_s - exchange.first_token_s) / (exchange.output_tokens - 1)
    return RequestRecord(
        workload=request.workload,
        served_name=request.served_name,
        replica=None,
        arrival_s=request.arrival_s,
        input_tokens=request.input_tokens,
        output_tokens=request.output_tokens,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        error=error,
    )
