from __future__ import annotations

from http import HTTPStatus
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.emulator.wire import MAX_BODY_BYTES, MAX_HEAD_BYTES, HttpError, HttpRequest, RequestParser, response

HEAD = b"POST /v1/completions?a=b HTTP/1.1\r\nHost: x\r\n"


def parse(data: bytes, cuts: list[int]) -> list[HttpRequest]:
    parser = RequestParser()
    found = []
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        parser.feed(data[start:end])
        while (request := parser.next()) is not None:
            found.append(request)
    return found


def outcome(data: bytes, cuts: list[int]) -> int | None:
    """Status that refuses the bytes, None when they are requests or the beginning of one."""
    try:
        parse(data, cuts)
    except HttpError as error:
        return error.status.value
    return None


@given(st.lists(st.binary(max_size=40), max_size=4), st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
def test_requests_are_the_same_however_they_are_cut(bodies: list[bytes], cuts: list[int], in_chunks: bool) -> None:
    sent = b""
    for body in bodies:
        if in_chunks:
            pieces = b"".join(b"%x;x=y\r\n%s\r\n" % (len(piece), piece) for piece in (body[:7], body[7:]) if piece)
            sent += HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\nTrailer: t\r\n\r\n"
        else:
            sent += HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    found = parse(sent, cuts)
    assert [request.body for request in found] == bodies
    assert all((request.method, request.path, request.query) == ("POST", "/v1/completions", "a=b") for request in found)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_are_requests_or_an_http_error(data: bytes, cuts: list[int]) -> None:
    assert outcome(data, cuts) in {None, 400, 413, 431, 501, 505}


@given(
    st.lists(
        st.sampled_from(
            [b"GET / HTTP/1.1", b"\r\n", b"Host: x", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"3", b"abc", b"0", b":", b" "]
        )
    )
)
def test_pieces_of_http_in_any_order(pieces: list[bytes]) -> None:
    assert outcome(b"".join(pieces), []) in {None, 400, 413, 431, 501, 505}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        (b"GET / HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Host: y\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length: -3\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length: \xb2\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", HTTPStatus.NOT_IMPLEMENTED),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 2000, HTTPStatus.BAD_REQUEST),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        (HEAD + b" folded: x\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (HEAD + b"A: b\r\n" * 300 + b"\r\n", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (b"G" * (MAX_HEAD_BYTES + 1), HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    ],
)
def test_what_is_refused(data: bytes, status: HTTPStatus) -> None:
    with pytest.raises(HttpError) as caught:
        parse(data, [])
    assert caught.value.status == status


def test_a_target_with_a_host_is_read() -> None:
    (request,) = parse(b"GET http://x:80/metrics?q HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n", [])
    assert (request.path, request.query, request.keep_alive) == ("/metrics", "q", False)


def test_a_response_names_its_length() -> None:
    text = response(HTTPStatus.OK, b"abc", "text/plain", keep_alive=False)
    assert text.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 3\r\n" in text
    assert b"connection: close\r\n" in text
