"""A thin streaming client: one request at a time per connection, tokens counted and timed as their bytes arrive.

Thousands of chunks a second pass through here beside the engines on the same cores, so nothing is decoded but the chunk sizes:
server-sent events are counted by their `data: ` lines, and only the last one, the usage report, is parsed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

_EVENT = b"data: "

# the usage report and [DONE] fit well into this
_KEPT_BYTES = 1024

_LAST_CHUNK = 0


@dataclass(slots=True)
class Exchange:
    """What came of one request; times are of the event loop's clock, in seconds."""

    started_s: float
    first_token_s: float | None = None
    last_token_s: float | None = None
    output_tokens: int = 0
    error: str | None = None


class StreamConnection(asyncio.Protocol):
    """One HTTP/1.1 connection that carries one streamed completion after another."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Clock gives the time that a chunk is stamped with."""
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._ended: asyncio.Future[None] | None = None
        self._buffer = b""
        self._reset()

    @property
    def usable(self) -> bool:
        """Open, and without a request on its way."""
        return self._transport is not None and not self._transport.is_closing() and self._exchange is None

    async def send(self, request: bytes, exchange: Exchange) -> None:
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

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: stamp first, look later."""
        now_s = self._clock()
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        self._buffer = self._buffer + data if self._buffer else data
        if self._status == 0 and not self._read_head():
            return
        body = self._read_chunks() if self._chunked else self._read_plain()
        if body:
            self._account(exchange, body, now_s)
        if self._complete:
            self._conclude(exchange)

    def _reset(self) -> None:
        self._buffer = b""
        self._status = 0
        self._chunked = False
        self._left_bytes = 0
        self._tail = b""
        self._complete = False

    def _read_head(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        lines = head.lower().split(b"\r\n")
        self._status = int(lines[0].split(b" ", 2)[1])
        self._chunked = b"transfer-encoding: chunked" in lines
        self._left_bytes = 0 if self._chunked else next((int(x[15:]) for x in lines if x.startswith(b"content-length:")), 0)
        self._buffer = rest
        return True

    def _read_plain(self) -> bytes:
        body, self._buffer = self._buffer, b""
        self._left_bytes -= len(body)
        self._complete = self._left_bytes <= 0
        return body

    def _read_chunks(self) -> bytes:
        """Payload of the chunks in the buffer, also of a last one that is not complete yet."""
        buffer, at, parts = self._buffer, 0, []
        size = len(buffer)
        while at < size:
            if self._left_bytes > 2:
                # the two bytes after a chunk's payload are its line end
                payload = buffer[at : at + self._left_bytes - 2]
                parts.append(payload)
                at += len(payload)
                self._left_bytes -= len(payload)
                continue
            if self._left_bytes:
                taken = min(self._left_bytes, size - at)
                at += taken
                self._left_bytes -= taken
                continue
            line_end = buffer.find(b"\r\n", at)
            if line_end < 0:
                break
            length = int(buffer[at:line_end], 16)
            if length == _LAST_CHUNK:
                # an empty line follows, after trailers if there are any
                self._complete = buffer.find(b"\r\n\r\n", line_end) >= 0
                break
            at = line_end + 2
            self._left_bytes = length + 2
        self._buffer = b"" if self._complete else buffer[at:]
        return b"".join(parts)

    def _account(self, exchange: Exchange, body: bytes, now_s: float) -> None:
        # an event's name can be cut by a read: look again at the few bytes before, in which a whole name cannot hide
        overlap = self._tail[-(len(_EVENT) - 1) :]
        events = (overlap + body).count(_EVENT)
        self._tail = (self._tail + body)[-_KEPT_BYTES:]
        if self._status != 200:
            return
        # the last two events are no tokens
        if b"[DONE]" in body or b'"usage"' in body:
            events -= body.count(b"data: [DONE]") + body.count(b'"usage":{') + body.count(b'"usage": {')
        if events > 0:
            if exchange.first_token_s is None:
                exchange.first_token_s = now_s
            exchange.last_token_s = now_s
            exchange.output_tokens += events

    def _conclude(self, exchange: Exchange) -> None:
        if self._status != 200:
            exchange.error = f"http {self._status}"
        else:
            reported = _reported_tokens(self._tail)
            if reported is not None:
                exchange.output_tokens = reported
        self._finish(None)

    def _finish(self, error: str | None) -> None:
        if self._ended is not None and not self._ended.done():
            assert self._exchange is not None
            self._exchange.error = self._exchange.error or error
            self._ended.set_result(None)


def completion_request(host: str, port: int, served_name: str, prompt_ids: bytes, output_tokens: int) -> bytes:
    """A streamed completion of exactly output_tokens tokens; prompt_ids is the inside of a JSON list of token ids."""
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
    body = b"".join((head[:-1].encode(), b', "prompt": [', prompt_ids, b"]}"))
    lines = f"POST /v1/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return lines.encode() + body


def _reported_tokens(tail: bytes) -> int | None:
    """completion_tokens of the usage report at the end of a stream."""
    for line in reversed(tail.split(b"\n")):
        if line.startswith(_EVENT) and b'"usage"' in line:
            try:
                return int(json.loads(line[len(_EVENT) :])["usage"]["completion_tokens"])
            except (ValueError, KeyError, TypeError):
                return None
    return None
