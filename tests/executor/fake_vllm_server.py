"""A server with vLLM's questions and answers that can be told to misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass
class FakeServer:
    """What it serves and how it misbehaves; `bodies` are the streamed completions it was asked for."""

    mode: str = "ok"
    model: str = "tiny"
    root: str = "tiny"
    max_model_len: int = 4096
    running: int = 0
    others: int = 0
    cached_tokens: int = 0
    # what the engine's histogram says that an answer took from its first to its last token; None: it has no such histogram
    decode_s: float | None = None
    key: str = ""
    # streamed completions answered before it misbehaves
    good: int = 0
    # bodies by path, instead of the usual ones
    answers: dict[str, bytes] = field(default_factory=dict)
    port: int = 0
    ended: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self) -> str:
        self.ended += self.others
        decoded = (
            ""
            if self.decode_s is None
            else (
                f'vllm:request_decode_time_seconds_count{{model_name="{self.model}"}} {self.ended}\n'
                f'vllm:request_decode_time_seconds_sum{{model_name="{self.model}"}} {self.ended * self.decode_s}\n'
            )
        )
        return (
            "# TYPE vllm:num_requests_running gauge\n"
            f'vllm:num_requests_running{{model_name="{self.model}"}} {self.running}\n'
            f'vllm:num_requests_waiting{{model_name="{self.model}"}} 0\n'
            f'vllm:request_success_total{{model_name="{self.model}"}} {self.ended}\n'
            f'vllm:prefix_cache_hits_total{{model_name="{self.model}"}} {self.cached_tokens * len(self.bodies)}\n'
            'vllm:cache_config_info{block_size="16",cache_dtype="auto",num_gpu_blocks="1000",kv_cache_size_tokens="16000"} 1\n' + decoded
        )

    def plain(self, path: str) -> bytes:
        if path == "/metrics":
            return _whole(self.page().encode(), "text/plain")
        if path == "/version":
            return _whole(b'{"version": "0.32.0"}')
        entry = {"id": self.model, "root": self.root, "max_model_len": self.max_model_len}
        return _whole(json.dumps({"data": [entry]}).encode())

    async def completion(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        asked = body["max_tokens"]
        if not body.get("stream"):
            self.ended += 1
            writer.write(_whole(json.dumps({"usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": asked}}).encode()))
            return
        self.bodies.append(body)
        mode = self.mode if len(self.bodies) > self.good else "ok"
        if mode == "hang":
            await asyncio.Event().wait()
        if mode == "garbage":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        elif mode == "error":
            writer.write(b'HTTP/1.1 500 Oops\r\ncontent-length: 18\r\n\r\n{"message":"dead"}')
        elif mode == "close":
            writer.close()
        else:
            await _stream(writer, asked, asked - 1 if mode == "short" else asked, together=mode == "together")
            self.ended += 1


async def _stream(writer: asyncio.StreamWriter, tokens: int, reported: int, *, together: bool) -> None:
    """One event a token, a millisecond apart; or all at the end of that time, as an API process does that got no turn before."""
    writer.write(_CHUNKED)
    # no engine takes less than half a millisecond
    await asyncio.sleep(0.002)
    event = _chunk(b'data: {"choices": [{"text": "a"}]}\n\n')
    if together:
        await asyncio.sleep(0.001 * tokens)
        writer.write(event * tokens)
    for _ in range(0 if together else tokens):
        writer.write(event)
        await writer.drain()
        await asyncio.sleep(0.001)
    usage = b'data: {"choices": [], "usage": {"completion_tokens": %d}}\n\ndata: [DONE]\n\n' % reported
    writer.write(_chunk(usage) + b"0\r\n\r\n")


def _chunk(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def _whole(body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def serving(fake: FakeServer) -> Iterator[FakeServer]:
    """The server in a thread of its own, on a free port."""
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                await _answer(fake, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    fake.port = int(listening.sockets[0].getsockname()[1])
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(_end(listening), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _answer(fake: FakeServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")), 0)
    body = await reader.readexactly(length)
    path = head.split(" ", 2)[1]
    if fake.key and f"authorization: bearer {fake.key}" not in head and path.startswith("/v1"):
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}")
    elif path in fake.answers:
        writer.write(_whole(fake.answers[path]))
    elif path == "/v1/completions":
        await fake.completion(json.loads(body), writer)
    else:
        writer.write(fake.plain(path))
    await writer.drain()


async def _end(listening: asyncio.Server) -> None:
    listening.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)
