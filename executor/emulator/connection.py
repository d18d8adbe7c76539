"""One client connection: bytes to requests, answers to bytes, one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from executor.emulator.wire import LAST_CHUNK, HttpError, HttpRequest, RequestParser, chunk, response, stream_head

# Requests sent ahead while one is being answered wait here; more than this and the connection closes.
_MAX_AHEAD_BYTES = 1024 * 1024


class ServerExchange:
    """One request and the way to answer it: `respond` once, or `start_stream`, `write`..., `end`."""

    __slots__ = ("_connection", "on_disconnect", "request")

    def __init__(self, request: HttpRequest, connection: Connection) -> None:
        """Belongs to a connection."""
        self.request = request
        self._connection = connection
        # Called once when the client goes away before the end.
        self.on_disconnect: Callable[[], None] | None = None

    def respond(self, status: HTTPStatus, body: bytes, content_type: str = "application/json") -> None:
        """Answer completely."""
        self._connection.write(response(status, body, content_type, self._connection.keep_alive))
        self._connection.finish()

    def start_stream(self) -> None:
        """Begin a stream of server-sent events."""
        self._connection.write(stream_head("text/event-stream; charset=utf-8", self._connection.keep_alive, self.request.chunks_allowed))

    def frame(self, payload: bytes) -> bytes:
        """A payload as it goes over the wire in a stream."""
        return chunk(payload) if self.request.chunks_allowed else payload

    def write(self, data: bytes) -> None:
        """Send framed payloads."""
        self._connection.write(data)

    def end(self, data: bytes) -> None:
        """Send the last framed payloads and end the stream."""
        self._connection.write(data + LAST_CHUNK if self.request.chunks_allowed else data)
        self._connection.finish()

    def drop(self) -> None:
        """Break the connection without ending the answer."""
        self._connection.drop()


class Connection(asyncio.Protocol):
    """Feeds requests to `serve`, one after the other. `serve` may answer at once or later."""

    def __init__(self, serve: Callable[[ServerExchange], None], open_connections: set[Connection]) -> None:
        """Registers itself in open_connections while it lives."""
        self._serve = serve
        self._open = open_connections
        self._parser = RequestParser()
        self._transport: asyncio.Transport | None = None
        self._exchange: ServerExchange | None = None
        self._continued = False
        # Set when the server shuts down: the answer in progress is the last one.
        self.closing = False

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow the one being answered."""
        return not self.closing and self._exchange is not None and self._exchange.request.keep_alive

    @property
    def busy(self) -> bool:
        """A request is being answered."""
        return self._exchange is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._parser.feed(data)
        if self._exchange is None:
            self._advance()
        elif self._parser.pending_bytes > _MAX_AHEAD_BYTES:
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone: whoever answers it must stop."""
        self._transport = None
        self._open.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None and exchange.on_disconnect is not None:
            exchange.on_disconnect()

    def write(self, data: bytes) -> None:
        """Send, if there is still somebody."""
        if self._transport is not None:
            self._transport.write(data)

    def finish(self) -> None:
        """The answer is complete: go on with the next request or close."""
        keep_alive = self.keep_alive
        self._exchange = None
        if self._transport is None:
            return
        if not keep_alive:
            self._transport.close()
        elif self._parser.pending_bytes:
            # Not called directly: a client that pipelines thousands of requests would nest as deep.
            asyncio.get_running_loop().call_soon(self._advance)

    def drop(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()

    def close_when_idle(self) -> None:
        """Accept no further request; close at once unless one is being answered."""
        self.closing = True
        if self._exchange is None and self._transport is not None:
            self._transport.close()

    def _advance(self) -> None:
        if self._exchange is not None or self._transport is None or self._transport.is_closing():
            return
        try:
            request = self._parser.next()
        except HttpError as error:
            self._transport.write(response(error.status, error.message.encode(), "text/plain; charset=utf-8", keep_alive=False))
            self._transport.close()
            return
        if request is None:
            if self._parser.continue_expected and not self._continued:
                self._continued = True
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        self._continued = False
        self._exchange = ServerExchange(request, self)
        self._serve(self._exchange)
