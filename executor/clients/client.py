"""A thin streaming client: one request at a time per connection, its bytes kept with the time of their arrival.

Thousands of reads a second pass through here beside the engines on the same cores, so a read costs a time stamp and a look at its
last bytes; what they say is read once the answer is complete.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from executor.clients.streams import dechunk, read_stream

# How a chunked answer ends. Chunks of server-sent events end with an empty line of their own, so a zero never stands before that by chance.
_END = b"\r\n0\r\n\r\n"

_STATUS = re.compile(rb"http/1\.[01] (\d{3})")
_LENGTH = re.compile(rb"content-length: *\d+ *")
# bytes of an error's body that are kept for people
_MOST_DETAIL = 300
# the class of an answer that is no HTTP, or says that it is chunked and is not
_NOT_A_STREAM = "not a stream"

# Reads go into one buffer that all connections share: each is copied out before the next one. Fresh memory costs as much as the read.
_VIEW = memoryview(bytearray(1 << 16))


@dataclass(slots=True)
class ClientExchange:
    """What came of one request; times are of the event loop's clock, in seconds."""

    started_s: float
    first_token_s: float | None = None
    last_token_s: float | None = None
    output_tokens: int = 0
    error: str | None = None
    # what the server said beside an error status
    detail: str = ""
    # whether the answer comes as a stream of tokens; else it comes whole, and its time is that of its last byte
    streamed: bool = True


class StreamConnection(asyncio.BufferedProtocol):
    """One HTTP/1.1 connection that carries one streamed completion after another."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Clock gives the time that a read is stamped with."""
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._exchange: ClientExchange | None = None
        self._ended: asyncio.Future[None] | None = None
        self._reset()

    @property
    def usable(self) -> bool:
        """Open, and without a request on its way."""
        return self._transport is not None and not self._transport.is_closing() and self._exchange is None

    async def send(self, request: bytes, exchange: ClientExchange) -> None:
        """Send one request and return when its answer is complete or broken; the exchange then holds the outcome."""
        if not self.usable or self._transport is None:
            exchange.error = "reset"
            return
        self._reset()
        self._exchange = exchange
        self._ended = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            await self._ended
        finally:
            self._exchange = None

    def close(self) -> None:
        """Give the connection up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: in the middle of an answer this is an error of its class."""
        del exc
        self._finish("reset")

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by asyncio."""
        del sizehint
        return _VIEW

    def buffer_updated(self, nbytes: int) -> None:
        """Called by asyncio after a read: stamp first, look later."""
        now_s = self._clock()
        self.receive(bytes(_VIEW[:nbytes]), now_s)

    def receive(self, data: bytes, now_s: float) -> None:
        """Bytes of an answer that arrived at now_s."""
        exchange = self._exchange
        if exchange is None:
            # an answer to nothing
            self.close()
            return
        if self._status == 0:
            data = self._read_head(data)
            if self._status == 0:
                return
        self._parts.append(data)
        self._stamps_s.append(now_s)
        if self._left_bytes is not None:
            self._left_bytes -= len(data)
            ended = self._left_bytes <= 0
        else:
            ended = data.endswith(_END) or (len(data) < len(_END) and b"".join(self._parts[-len(_END) :]).endswith(_END))
        if ended:
            self._conclude(exchange)

    def _reset(self) -> None:
        self._head = b""
        self._status = 0
        # of a body with a length; None for a chunked one
        self._left_bytes: int | None = None
        self._parts: list[bytes] = []
        self._stamps_s: list[float] = []

    def _read_head(self, data: bytes) -> bytes:
        """Status and kind of body once the head is complete; returns what follows it."""
        head, found, rest = (self._head + data).partition(b"\r\n\r\n")
        if not found:
            self._head = head
            return b""
        lines = head.lower().split(b"\r\n")
        status = _STATUS.match(lines[0])
        if status is None:
            self._finish(_NOT_A_STREAM)
            self.close()
            return b""
        self._status = int(status[1])
        if b"transfer-encoding: chunked" not in lines:
            self._left_bytes = next((int(line[15:]) for line in lines if _LENGTH.fullmatch(line)), 0)
        return rest

    def _conclude(self, exchange: ClientExchange) -> None:
        try:
            self._read_body(exchange)
        except ValueError:
            exchange.error = _NOT_A_STREAM
        self._finish(None)

    def _read_body(self, exchange: ClientExchange) -> None:
        if self._status != 200:
            exchange.error = f"http {self._status}"
            raw = b"".join(self._parts)
            body = raw if self._left_bytes is not None else dechunk(raw)[0]
            exchange.detail = body[:_MOST_DETAIL].decode("utf-8", "replace")
        elif not exchange.streamed:
            exchange.first_token_s = exchange.last_token_s = self._stamps_s[-1]
        elif self._left_bytes is None:
            stream = read_stream(self._parts, self._stamps_s)
            exchange.output_tokens, exchange.first_token_s, exchange.last_token_s = (
                stream.output_tokens,
                stream.first_token_s,
                stream.last_token_s,
            )

    def _finish(self, error: str | None) -> None:
        if self._ended is not None and not self._ended.done():
            assert self._exchange is not None
            self._exchange.error = self._exchange.error or error
            self._ended.set_result(None)


def completion_request(
    host: str, port: int, served_name: str, prompt_ids: bytes, output_tokens: int, authorization: Mapping[str, str]
) -> bytes:
    """A streamed completion of exactly output_tokens tokens.

    prompt_ids is the inside of a JSON list of token ids, authorization what executor.credentials gives.
    """
    head = json.dumps(
        {
            "model": served_name,
            "max_tokens": output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
    return _post("/v1/completions", host, port, b"".join((head[:-1].encode(), b', "prompt": [', prompt_ids, b"]}")), authorization)


def embedding_request(host: str, port: int, served_name: str, prompt_ids: bytes, authorization: Mapping[str, str]) -> bytes:
    """The embedding of one prompt; its answer is not streamed. prompt_ids and authorization are as for a completion."""
    head = json.dumps({"model": served_name})
    return _post("/v1/embeddings", host, port, b"".join((head[:-1].encode(), b', "input": [', prompt_ids, b"]}")), authorization)


def _post(path: str, host: str, port: int, body: bytes, authorization: Mapping[str, str]) -> bytes:
    headers = {"host": f"{host}:{port}", "content-type": "application/json", "content-length": str(len(body)), **authorization}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"".join((b"POST ", path.encode(), b" HTTP/1.1\r\n", lines.encode(), b"\r\n", body))
