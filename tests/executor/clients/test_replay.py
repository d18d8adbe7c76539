"""Replay against engines that stream: counts, times, and classes of error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.clients.client import ClientExchange, StreamConnection, completion_request, embedding_request
from executor.clients.replay import ReplayProgress, ReplayRequest, replay
from tests.executor.worlds import free_ports

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, dict[str, object]], Awaitable[None]]


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    """An HTTP server in a thread of its own that answers each POST by a coroutine."""
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
                await answer(reader, writer, json.loads(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        asyncio.run_coroutine_threadsafe(_end(listening), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(listening: asyncio.Server) -> None:
    """In the server's own thread: closing from another one races with a connection that ends."""
    listening.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def stream_body(tokens: int, reported: int | None) -> bytes:
    """Server-sent events; a token's text may look like an event."""
    event = b'data: {"choices": [{"text": "data: [DONE] \\n\\n"}]}\n\n'
    usage = b'data: {"choices": [], "usage": {"completion_tokens": %d}}\n\n' % (reported or 0)
    return event * tokens + (usage if reported is not None else b"") + b"data: [DONE]\n\n"


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def wants(count: int, output_tokens: int = 5, gap_s: float = 0.001) -> list[ReplayRequest]:
    return [ReplayRequest(i * gap_s, "chat", "llama", 10 + i, output_tokens) for i in range(count)]


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=12),
    chunk_bytes=st.integers(min_value=1, max_value=200),
    tokens=st.integers(min_value=1, max_value=9),
)
def test_a_stream_is_understood_however_it_is_cut(cuts: list[int], chunk_bytes: int, tokens: int) -> None:
    body = stream_body(tokens, tokens)
    wire = HEAD + b"".join(chunk(body[at : at + chunk_bytes]) for at in range(0, len(body), chunk_bytes)) + b"0\r\n\r\n"

    async def received() -> ClientExchange:
        connection = StreamConnection(lambda: 0.0)
        connection.connection_made(_Transport())
        exchange = ClientExchange(started_s=0.0)
        sent = asyncio.ensure_future(connection.send(b"", exchange))
        await asyncio.sleep(0)
        at = number = 0
        while at < len(wire):
            step = cuts[number % len(cuts)]
            connection.receive(wire[at : at + step], float(at))
            at, number = at + step, number + 1
        await asyncio.wait_for(sent, 60)
        assert connection.usable
        return exchange

    exchange = asyncio.run(received())
    assert (exchange.output_tokens, exchange.error) == (tokens, None)
    assert exchange.first_token_s is not None
    assert exchange.last_token_s is not None
    assert len(HEAD) - max(cuts) <= exchange.first_token_s <= exchange.last_token_s < wire.index(b"0\r\n\r\n")


class _Transport(asyncio.Transport):
    def write(self, data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        raise AssertionError("the connection was given up")


def test_every_request_is_sent_at_its_time_and_read_to_its_end() -> None:
    seen: list[dict[str, object]] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
        seen.append(body)
        asked = body["max_tokens"]
        assert isinstance(asked, int)
        writer.write(HEAD + chunk(stream_body(1, None)[:-14]))
        await writer.drain()
        writer.write(chunk(stream_body(asked - 1, asked)) + b"0\r\n\r\n")
        await writer.drain()

    progress: list[ReplayProgress] = []
    with server(answer) as port:
        records = replay("127.0.0.1", port, [*wants(20), ReplayRequest(5.0, "chat", "llama", 1, 1)], 1.0, progress.append)
    assert [record.error for record in records] == [None] * 20
    assert all(record.ttft_s is not None and record.tpot_s is not None for record in records)
    assert [(record.input_tokens, record.output_tokens) for record in records] == [(10 + i, 5) for i in range(20)]
    prompts = [body["prompt"] for body in seen]
    assert sorted(len(prompt) for prompt in prompts if isinstance(prompt, list)) == list(range(10, 30))
    assert len({str(prompt)[:8] for prompt in prompts}) == 20
    assert (progress[-1].sent, progress[-1].ended, progress[-1].errors) == (20, 20, 0)
    assert all(body["ignore_eos"] is True and body["temperature"] == 0 and body["model"] == "llama" for body in seen)


def test_an_embedding_comes_whole_and_has_no_tokens() -> None:
    seen: list[dict[str, object]] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
        seen.append(body)
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"data"')
        await writer.drain()
        writer.write(b": []}")
        await writer.drain()

    with server(answer) as port:
        records = replay("127.0.0.1", port, [ReplayRequest(0.0, "search", "bge", 3, 1, pooling=True)] * 2, 1.0)
    assert [(record.error, record.tpot_s) for record in records] == [(None, None)] * 2
    assert all(record.ttft_s is not None and record.ttft_s > 0 for record in records)
    assert [(body["model"], len(str(body["input"]).split(",")), "max_tokens" in body) for body in seen] == [("bge", 3, False)] * 2


async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
    writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy")
    await writer.drain()


async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
    writer.write(HEAD + chunk(stream_body(2, None)[:40]))
    await writer.drain()
    writer.close()


async def short(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
    writer.write(HEAD + chunk(stream_body(3, 3)) + b"0\r\n\r\n")
    await writer.drain()


async def fail_inside(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
    writer.write(HEAD + chunk(b'data: {"error": {"message": "engine died"}}\n\ndata: [DONE]\n\n') + b"0\r\n\r\n")
    await writer.drain()


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
    writer.write(HEAD + chunk(stream_body(1, None)[:40]))
    await reader.read()


@pytest.mark.parametrize(
    ("answer", "error"), [(refuse, "http 503"), (cut, "reset"), (short, "short output"), (fail_inside, "short output"), (hang, "deadline")]
)
def test_errors_are_classed(answer: Answer, error: str) -> None:
    with server(answer) as port:
        records = replay("127.0.0.1", port, wants(3), 0.1, finish_limit_s=0.4 if error == "deadline" else 60.0)
    assert [record.error for record in records] == [error] * 3


def test_nobody_listens() -> None:
    records = replay("127.0.0.1", free_ports(1)[0], wants(2), 0.1, finish_limit_s=60.0)
    assert [(record.error, record.ttft_s) for record in records] == [("connect", None)] * 2


def test_a_request_is_valid_json_with_its_length() -> None:
    raw = completion_request("127.0.0.1", 80, 'a "quoted" name', b"1000,1001", 7, {"Authorization": "Bearer abc"})
    head, _, body = raw.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert head.endswith(b"\r\nAuthorization: Bearer abc")
    parsed = json.loads(body)
    assert (parsed["model"], parsed["prompt"], parsed["max_tokens"]) == ('a "quoted" name', [1000, 1001], 7)


def test_a_request_for_an_embedding_goes_to_its_own_path() -> None:
    head, _, body = embedding_request("127.0.0.1", 80, "bge", b"1000,1001", {}).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/embeddings HTTP/1.1\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body) == {"model": "bge", "input": [1000, 1001]}


@pytest.mark.parametrize(
    ("answer", "error", "detail"),
    [
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 6\r\n\r\nbroken", "http 500", "broken"),
        (b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfull\r\n0\r\n\r\n", "http 503", "full"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not a stream", ""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n0\r\n\r\n", "not a stream", ""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n", None, ""),
    ],
)
def test_answers_that_are_no_streams(answer: bytes, error: str | None, detail: str) -> None:
    async def reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: dict[str, object]) -> None:
        writer.write(answer)
        await writer.drain()

    async def ask(port: int) -> ClientExchange:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: StreamConnection(loop.time), "127.0.0.1", port)
        exchange = ClientExchange(started_s=0.0)
        await connection.send(completion_request("h", 1, "m", b"1", 1, {}), exchange)
        connection.close()
        return exchange

    with server(reply) as port:
        exchange = asyncio.run(ask(port))
    assert (exchange.error, exchange.detail, exchange.output_tokens) == (error, detail, 0)
