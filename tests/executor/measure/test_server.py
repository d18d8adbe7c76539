"""A look at a server before it is measured: who it is, whether it is busy, and what is no vLLM server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import pytest

from executor.measure.load import ClientLoad, MeasureError, Prompts, Target, run_load
from executor.measure.server import Server, address, idle_counters, look
from tests.executor.fake_vllm_server import FakeServer, serving

Found = TypeVar("Found")


def asked(question: Callable[[aiohttp.ClientSession], Awaitable[Found]]) -> Found:
    async def ask() -> Found:
        async with aiohttp.ClientSession() as session:
            return await question(session)

    return asyncio.run(ask())


def looked(server: FakeServer, model: str, served_name: str | None = None) -> Server:
    return asked(lambda session: look(session, server.url, model, served_name, lambda one, other: one.lower() == other.lower()))


@pytest.mark.parametrize(("model", "served_name"), [("tiny", None), ("org/Tiny", None), ("ORG/TINY", None), ("anything", "tiny")])
def test_a_model_is_found_by_name_root_or_alias(model: str, served_name: str | None) -> None:
    with serving(FakeServer(root="org/Tiny")) as server:
        found = looked(server, model, served_name)
    assert (found.target, found.root) == (Target("127.0.0.1", server.port, "tiny"), "org/Tiny")
    assert (found.max_model_len, found.engine_version) == (4096, "0.32.0")


def test_a_busy_server_is_left_alone() -> None:
    with serving(FakeServer(running=3)) as server:
        target = Target("127.0.0.1", server.port, "tiny")
        with pytest.raises(MeasureError, match="is busy with 3 running and 0 waiting requests that are not ours"):
            asked(lambda session: idle_counters(session, target, settle_limit_s=0.3))
        server.running = 0
        assert asked(lambda session: idle_counters(session, target)).running == 0


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"/version": b"<html>"}, "/version: the answer is no JSON object; is it a vLLM server?"),
        ({"/version": b"{}"}, "no vLLM server: /v1/models or /version lacks 'version'"),
        ({"/v1/models": b'{"data": [{"id": 1}]}'}, "no vLLM server: /v1/models or /version lacks 'max_model_len'"),
        ({"/v1/models": b'{"data": []}'}, "does not serve tiny, but nothing"),
        ({"/metrics": b"# nothing\n"}, "/metrics: has no vllm:num_requests_running"),
        ({"/v1/completions": b"{}"}, "the answer has no usage"),
        (
            {"/v1/completions": b'{"usage": {"prompt_tokens": 17, "completion_tokens": 2}}'},
            "the server counts 17 prompt and 2 answer tokens",
        ),
    ],
)
def test_what_is_no_vllm_server_is_refused_by_name(answers: dict[str, bytes], says: str) -> None:
    with serving(FakeServer(answers=answers)) as server, pytest.raises(MeasureError) as caught:
        looked(server, "tiny")
    assert says in str(caught.value)
    assert server.url in str(caught.value)


def test_an_error_carries_the_servers_words() -> None:
    with serving(FakeServer(max_model_len=1)) as server, pytest.raises(MeasureError, match="max_model_len of tiny is 1"):
        looked(server, "tiny")


def test_what_speaks_no_http_is_said() -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    async def ask() -> None:
        listening = await asyncio.start_server(speak, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        async with listening, aiohttp.ClientSession() as session:
            await look(session, f"http://127.0.0.1:{port}", "tiny", None, str.__eq__)

    with pytest.raises(MeasureError, match="no HTTP answer"):
        asyncio.run(ask())


def test_addresses_of_either_kind() -> None:
    assert address("http://[::1]:8000/") == ("::1", 8000)
    assert address("http://h/v1") == ("h", 80)
    assert Target("::1", 8000, "m").url == "http://[::1]:8000"


def test_a_load_keeps_its_clients_and_finishes_what_is_on_its_way() -> None:
    with serving(FakeServer()) as server:
        target, load = Target("127.0.0.1", server.port, "tiny"), ClientLoad(8, 3, 4)
        run = asyncio.run(run_load(target, load, Prompts(1), lambda timings, _: len(timings) >= 10))
    # whoever was on its way at the tenth answer ended and counts
    assert 10 <= len(run.timings) <= 10 + 3
    assert len(server.bodies) == len(run.timings)
    assert all(timing.tpot_s is not None and timing.ttft_s <= timing.request_s <= run.duration_s for timing in run.timings)
