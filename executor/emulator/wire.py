"""HTTP/1.1 as far as an engine needs it: a request parser without IO, and responses as bytes.

Bodies come with a length or in chunks; a connection serves one request after the other. What is ambiguous (two
lengths, length and chunks, folded headers) is refused, since a router in front may read it differently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

# uvicorn's h11 default is 64 KiB, vLLM raises it to 4 MiB for whole events (--h11-max-incomplete-event-size).
MAX_HEAD_BYTES = 64 * 1024
# vLLM's --h11-max-header-count default.
MAX_HEADERS = 256
# A prompt of a million token ids takes about 8 MB; the rest is safety for a shared machine.
MAX_BODY_BYTES = 64 * 1024 * 1024

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/(\d)\.(\d)")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(;[^\r\n]*)?")
# Longest line that announces a chunk, extensions included.
_MAX_CHUNK_LINE = 1024


class HttpError(Exception):
    """The request cannot be read; the connection closes after the answer."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        """Status to answer with and what is wrong."""
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request: upper-case method, path without query, header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool
    chunks_allowed: bool


@dataclass(slots=True)
class _Head:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    keep_alive: bool
    chunks_allowed: bool
    length: int | None


class RequestParser:
    """Bytes in, requests out."""

    def __init__(self) -> None:
        """Nothing received yet."""
        self._buffer = bytearray()
        self._head: _Head | None = None
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what the socket gave."""
        self._buffer += data

    @property
    def pending_bytes(self) -> int:
        """Bytes received and not yet part of a request."""
        return len(self._buffer)

    @property
    def continue_expected(self) -> bool:
        """The head is complete and its sender waits for `100 Continue` before the body."""
        return self._head is not None and self._head.headers.get("expect", "").lower() == "100-continue"

    def next(self) -> HttpRequest | None:
        """The next complete request, None when bytes are missing; HttpError when it cannot be one."""
        if self._head is None:
            self._head = self._read_head()
            if self._head is None:
                return None
        head = self._head
        complete = self._read_chunks() if head.length is None else self._read_length(head.length)
        if not complete:
            return None
        body = bytes(self._body)
        self._head, self._body = None, bytearray()
        return HttpRequest(head.method, head.path, head.query, head.headers, body, head.keep_alive, head.chunks_allowed)

    def _read_head(self) -> _Head | None:
        # Empty lines before a request are allowed (RFC 9112, 2.2).
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES + 4)
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"request head exceeds {MAX_HEAD_BYTES} bytes")
            return None
        lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        return _parse_head(lines)

    def _read_length(self, length: int) -> bool:
        if len(self._buffer) < length:
            return False
        self._body += self._buffer[:length]
        del self._buffer[:length]
        return True

    def _read_chunks(self) -> bool:
        while True:
            end = self._buffer.find(b"\r\n", 0, _MAX_CHUNK_LINE)
            if end < 0:
                if len(self._buffer) > _MAX_CHUNK_LINE:
                    raise HttpError(HTTPStatus.BAD_REQUEST, "chunk size line too long")
                return False
            found = _CHUNK_SIZE.fullmatch(self._buffer, 0, end)
            if found is None:
                raise HttpError(HTTPStatus.BAD_REQUEST, "bad chunk size")
            size = int(found[1], 16)
            if len(self._body) + size > MAX_BODY_BYTES:
                raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body exceeds {MAX_BODY_BYTES} bytes")
            if size == 0:
                return self._read_trailers(end)
            after = end + 2 + size
            if len(self._buffer) < after + 2:
                return False
            if self._buffer[after : after + 2] != b"\r\n":
                raise HttpError(HTTPStatus.BAD_REQUEST, "chunk does not end where its size says")
            self._body += self._buffer[end + 2 : after]
            del self._buffer[: after + 2]

    def _read_trailers(self, size_end: int) -> bool:
        """Drop the last chunk's line with its trailers, which end with an empty line."""
        end = self._buffer.find(b"\r\n\r\n", size_end, size_end + MAX_HEAD_BYTES)
        if end < 0:
            if len(self._buffer) > size_end + MAX_HEAD_BYTES:
                raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"trailers exceed {MAX_HEAD_BYTES} bytes")
            return False
        del self._buffer[: end + 4]
        return True


def _parse_head(lines: list[bytes]) -> _Head:
    found = _REQUEST_LINE.fullmatch(lines[0])
    if found is None:
        raise HttpError(HTTPStatus.BAD_REQUEST, "bad request line")
    if found[3] != b"1":
        raise HttpError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    modern = found[4] != b"0"
    headers = _parse_headers(lines[1:])
    if modern and "host" not in headers:
        raise HttpError(HTTPStatus.BAD_REQUEST, "missing Host header")
    target = found[2].decode("ascii").partition("#")[0]
    if "://" in target.partition("?")[0]:
        target = "/" + target.partition("://")[2].partition("/")[2]
    path, _, query = target.partition("?")
    keep_alive = modern and "close" not in headers.get("connection", "").lower()
    return _Head(found[1].decode("ascii"), path, query, headers, keep_alive, modern, _body_length(headers))


def _parse_headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MAX_HEADERS:
        raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or _TOKEN.fullmatch(name) is None or b"\0" in value or b"\r" in value or b"\n" in value:
            raise HttpError(HTTPStatus.BAD_REQUEST, "bad header line")
        key, text = name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")
        if key in headers:
            if key in {"host", "content-length", "transfer-encoding"}:
                raise HttpError(HTTPStatus.BAD_REQUEST, f"two {key} headers")
            text = f"{headers[key]}, {text}"
        headers[key] = text
    return headers


def _body_length(headers: dict[str, str]) -> int | None:
    """Bytes of the body, None when it comes in chunks."""
    length = headers.get("content-length")
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise HttpError(HTTPStatus.BAD_REQUEST, "both content-length and transfer-encoding")
        if coding.lower() != "chunked":
            raise HttpError(HTTPStatus.NOT_IMPLEMENTED, "only the chunked transfer encoding is understood")
        return None
    if length is None:
        return 0
    if not (length.isascii() and length.isdecimal()) or len(length) > 18:
        raise HttpError(HTTPStatus.BAD_REQUEST, "bad content-length")
    if int(length) > MAX_BODY_BYTES:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body exceeds {MAX_BODY_BYTES} bytes")
    return int(length)


def response(status: HTTPStatus, body: bytes, content_type: str, keep_alive: bool) -> bytes:
    """A complete response."""
    connection = "" if keep_alive else "connection: close\r\n"
    kind = f"content-type: {content_type}\r\n" if body else ""
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nserver: uvicorn\r\ncontent-length: {len(body)}\r\n{kind}{connection}\r\n"
    return head.encode("ascii") + body


def stream_head(content_type: str, keep_alive: bool, chunks_allowed: bool) -> bytes:
    """Head of a response whose length is not known; without chunks (HTTP/1.0) it ends with the connection."""
    coding = "transfer-encoding: chunked\r\n" if chunks_allowed else ""
    connection = "" if keep_alive else "connection: close\r\n"
    return f"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: {content_type}\r\n{coding}{connection}\r\n".encode("ascii")


def chunk(payload: bytes) -> bytes:
    """A payload as one chunk.

    >>> chunk(b"data")
    b'4\\r\\ndata\\r\\n'
    """
    return b"%x\r\n%s\r\n" % (len(payload), payload)


LAST_CHUNK = b"0\r\n\r\n"
