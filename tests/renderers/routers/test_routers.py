"""What every router does with requests, whichever it is."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest

from planner.plan import LongPrompts
from tests.ports import free_port
from tests.renderers.live import Stub, eventually, route_to, stubs
from tests.renderers.routers.running import RUN_HERE, RouterCase, RunningRouter, ask_many, refusal
from ullage.plugins import RENDERERS, load

HOSTILE = "we\"ird: {name} %REQ(x)% $uri ${HOME} '; } # \\ ü 😀 \x7f\x85\u2028\U000e0001"
# Why a router is not in this suite, which all others run.
NOT_RUN_HERE = {"litellm": "750 MB, slow, and picks at random: test_litellm.py shows its files to its own loader where it is installed"}


@pytest.fixture(params=sorted(RUN_HERE))
def case(request: pytest.FixtureRequest) -> RouterCase:
    return RUN_HERE[request.param]


def test_every_renderer_that_is_a_router_is_here() -> None:
    routers = {name for name in RENDERERS if load("renderers", RENDERERS, name).is_router}
    assert routers == {*RUN_HERE, *NOT_RUN_HERE}


def test_weights_hold_over_a_thousand_requests(case: RouterCase, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a", "b", "c") as (a, b, c), case.start(tmp_path, route_to("m", (a, 600), (b, 299), (c, 101))) as running:
            answers = await ask_many(running, "m", 1000)
            assert sum(answers.values()) == 1000
            for name, weight in (("a", 600), ("b", 299), ("c", 101)):
                assert abs(answers[200, name] - weight) <= case.exactness, answers

    asyncio.run(scenario())


def test_what_the_router_answers_itself(case: RouterCase, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a") as (a,), case.start(tmp_path, route_to("m", (a, 1000)), route_to("empty")) as running:
            for model in ("unknown", "M", "__proto__", "constructor", "empty ", ""):
                assert await refusal(running, "/v1/completions", json.dumps({"model": model}).encode()) == (404, "NotFoundError"), model
            for body in (b"{}", b'{"model": null}', b"{", b"", b"[1]", b'{"model": "m"'):
                assert await refusal(running, "/v1/chat/completions", body) == (400, "BadRequestError"), body
            for body in (b'{"model": 5}', b'{"model": ["m"]}', b'{"model": "' + b"x" * 9000 + b'"}', b"[" * 100_000):
                assert (await refusal(running, "/v1/chat/completions", body))[0] in {400, 404}, body[:30]
            assert await refusal(running, "/v1/completions", b'{"model": "m"}', "text/plain") == (400, "BadRequestError")
            assert await refusal(running, "/v1/completions", b'{"model": "empty"}') == (503, "ServiceUnavailableError")
            assert await refusal(running, "/sleep", b'{"model": "m"}') == (404, "NotFoundError")
            async with running.client.get(f"{running.url}/health") as answer:
                assert answer.status == 200
            async with running.client.get(f"{running.url}/v1/models") as answer:
                assert (answer.status, answer.content_type) == (200, "application/json")
                assert [entry["id"] for entry in (await answer.json())["data"]] == ["empty", "m"]
            assert set(a.paths) <= {"/health"}

    asyncio.run(scenario())


def test_a_hostile_name_is_routed_exactly(case: RouterCase, tmp_path: Path) -> None:
    async def scenario() -> None:
        names = (HOSTILE, "m", "M", "__proto__", "a b", "a  b")
        async with stubs(*map(str, range(len(names)))) as backends:
            routes = [route_to(name, (stub, 1000)) for name, stub in zip(names, backends, strict=True)]
            async with case.start(tmp_path, *routes) as running:
                for name, stub in zip(names, backends, strict=True):
                    for ascii_only in (False, True):
                        body = json.dumps({"messages": [{"model": "x"}], "model": name}, ensure_ascii=ascii_only).encode()
                        assert await completed(running, body) == (200, stub.name), name
                async with running.client.get(f"{running.url}/v1/models") as answer:
                    assert {entry["id"] for entry in (await answer.json())["data"]} == set(names)
                assert (await running.ask(HOSTILE + "x"))[0] == 404

    asyncio.run(scenario())


async def completed(running: RunningRouter, body: bytes, content_type: str = "application/json") -> tuple[int, str]:
    headers = {"content-type": content_type}
    async with running.client.post(f"{running.url}/v1/completions", data=BytesIO(body), headers=headers) as answer:
        return answer.status, str(json.loads(await answer.text()).get("backend"))


WELL_FORMED = (
    '{"model":"m"}',
    ' \t\r\n{ "model" : "m" } \n',
    '{"model": "other", "model": "m"}',
    '{"model": "\\u006d"}',
    '{"\\u006dodel": "m"}',
    '{"a": [], "b": {}, "c": [1, -2.5e-3, true, false, null, "\\\\\\"", [[{"model": "x"}]]], "model": "m", "d": 0}',
    '{"text": "{\\"model\\": \\"x\\", \\ud83d\\ude00 ü \\u0000 \\/ \\b\\f\\n\\r\\t\x7f", "model": "m"}',
)
MALFORMED = (
    '{"model": "m"',
    '{"model": "m",}',
    '{"model": "m"} {}',
    '{"model": "m" "a": 1}',
    '{"model" "m"}',
    "{'model': 'm'}",
    '{model: "m"}',
    '{"model": "m", "a": [1,]}',
    '{"model": "m", "a": [1 2]}',
    '{"model": "m", "a": tru}',
    '{"model": "m", "a": 1x}',
    '{"model": "m", "a": 0x10}',
    '{"model": "m", "a": "\\q"}',
    '{"model": "m", "a": "\\u12g4"}',
    '{"model": "m", "a": "line\nbreak"}',
    '["model", "m"]',
    '"model"',
    "null",
)


def test_json_is_read_as_the_engines_read_it(case: RouterCase, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a") as (a,), case.start(tmp_path, route_to("m", (a, 1000))) as running:
            for body in WELL_FORMED:
                assert json.loads(body)["model"] == "m"
                assert await completed(running, body.encode()) == (200, "a"), body
            for body in MALFORMED:
                assert await refusal(running, "/v1/completions", body.encode()) == (400, "BadRequestError"), body

    asyncio.run(scenario())


def test_an_engine_hears_that_nobody_waits_any_more(case: RouterCase, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a") as (a,), case.start(tmp_path, route_to("m", (a, 1000))) as running:
            a.hung = True
            waiting = asyncio.create_task(running.ask("m"))

            async def arrived() -> bool:
                return "/v1/completions" in a.paths

            async def given_up() -> bool:
                return a.given_up > 0

            await eventually(arrived, "the request is at the engine")
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
            await eventually(given_up, "the engine's connection ends")

    asyncio.run(scenario())


def test_no_path_leads_out_of_v1(case: RouterCase, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a") as (a,), case.start(tmp_path, route_to("m", (a, 1000))) as running:
            steps = ("/v1/../sleep", "/v1/%2e%2e/sleep", "/v1/..%2fsleep", "/v1/x/../../sleep", "/v1/.%2E/sleep", "//sleep", "/v1")
            for path in (*steps, "/v1/..\\sleep", "/v1%2fcompletions/../../sleep", "http://x/sleep", "*", "/V1/completions"):
                assert await raw_status(running, path) in {400, 404}, path
            # An empty step may count as one for "..": what is left is under /v1/, where the engine knows no such path.
            await raw_status(running, "/v1//../sleep")
            assert set(a.paths) <= {"/health", "/v1/sleep"}
            assert await raw_status(running, "/v1//completions?a=//b") == 200
            assert set(a.paths) <= {"/health", "/v1/sleep", "/v1/completions"}

    asyncio.run(scenario())


async def raw_status(running: RunningRouter, path: str) -> int:
    # A client library would tidy the path before sending it.
    status, _ = await raw_answer(running, path, b'{"model": "m"}')
    return status


async def raw_answer(running: RunningRouter, path: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of an answer that may come before the request is sent; what is left of the request then never is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.router.port)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    try:
        writer.write(head.encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"(?i)\r\ncontent-length: *(\d+)", answered)
        return int(answered.split()[1]), await reader.readexactly(int(length[1]) if length else 0)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


def test_large_bodies_pass_and_larger_ones_are_refused(case: RouterCase, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a") as (a,), case.start(tmp_path, route_to("m", (a, 1000))) as running:
            body = b'{"prompt": "' + b"x\\n" * (case.body_limit_bytes // 4) + b'", "model": "m"}'
            assert await completed(running, body, "application/json; charset=utf-8") == (200, "a")
            too_large = b'{"model": "m", "prompt": "' + b"x" * case.body_limit_bytes + b'"}'
            status, answered = await raw_answer(running, "/v1/completions", too_large)
            assert (status, json.loads(answered)["error"]["type"]) == (413, "BadRequestError")

    asyncio.run(scenario())


def test_longer_requests_go_to_replicas_of_their_own(case: RouterCase, tmp_path: Path) -> None:
    """At most so many bytes to the one, more to the other, and what has no length too; the other has a name of its own besides."""

    def body(size_bytes: int) -> bytes:
        start, end = b'{"model": "m", "prompt": "', b'"}'
        return start + b"x" * (size_bytes - len(start) - len(end)) + end

    async def scenario() -> None:
        async with stubs("a", "b") as (a, b):
            rule = LongPrompts(served_name="m-long", over_tokens=50, bytes_per_token=4.0, over_bytes=200)
            short = route_to("m", (a, 1000)).model_copy(update={"longer": rule})
            async with case.start(tmp_path, short, route_to("m-long", (b, 1000)), route_to("n", (a, 1000))) as running:
                for size_bytes, name in ((40, "a"), (200, "a"), (201, "b"), (5000, "b")):
                    assert await completed(running, body(size_bytes)) == (200, name), size_bytes
                assert await completed(running, body(40).replace(b'"m"', b'"m-long"')) == (200, "b")
                assert await completed(running, body(5000).replace(b'"m"', b'"n"')) == (200, "a")

                async def chunks() -> AsyncIterator[bytes]:
                    yield body(40)

                headers = {"content-type": "application/json"}
                async with running.client.post(f"{running.url}/v1/completions", data=chunks(), headers=headers) as answer:
                    assert (answer.status, (await answer.json())["backend"]) == (200, "b")

    asyncio.run(scenario())


def test_a_stream_is_not_buffered(case: RouterCase, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a") as (a,), case.start(tmp_path, route_to("m", (a, 1000))) as running:
            request = {"model": "m", "prompt": "x", "stream": True}
            async with running.client.post(f"{running.url}/v1/chat/completions", json=request) as stream:
                # The first event is here although the backend has not written the last one yet.
                assert await stream.content.readuntil(b"\n\n") == b"data: first\n\n"
                a.go_on.set()
                assert await stream.content.read() == b"data: last\n\n"

    asyncio.run(scenario())


def test_a_broken_or_full_backend_costs_no_request(case: RouterCase, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a", "full") as (a, full), stubs("gone") as (gone,):
            gone.port = free_port()
            full.status = 503
            routes = route_to("m", (a, 400), (full, 300), (gone, 300)), route_to("alone", (gone, 1000))
            async with case.start(tmp_path, *routes) as running:
                assert await ask_many(running, "m", 60, connections=1) == {(200, "a"): 60}
                assert await refusal(running, "/v1/completions", b'{"model": "alone"}') == (503, "ServiceUnavailableError")

    asyncio.run(scenario())


def test_weights_and_routes_change_under_load_without_a_failure(case: RouterCase, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a", "b") as (a, b), case.start(tmp_path, route_to("m", (a, 900), (b, 100))) as running:
            request = {"model": "m", "prompt": "x", "stream": True}
            async with running.client.post(f"{running.url}/v1/chat/completions", json=request) as stream:
                assert await stream.content.readuntil(b"\n\n") == b"data: first\n\n"
                ended, statuses = asyncio.Event(), Counter[int]()
                clients = [asyncio.create_task(load_until(running, ended, statuses)) for _ in range(8)]
                assert await more_than_half(running, a, b) == "a"
                await running.switch(route_to("m", (a, 100), (b, 900)))

                async def moved() -> bool:
                    return await more_than_half(running, a, b) == "b"

                await eventually(moved, "the new weights hold")
                await running.switch(route_to("m", (b, 1000)), route_to("added", (a, 1000)))

                async def only_b() -> bool:
                    before = a.served
                    return (await ask_many(running, "m", 50))[200, "b"] == 50 and a.served == before

                await eventually(only_b, "every worker sends to b only")
                assert await running.ask("added") == (200, {"backend": "a", "bytes": 33})
                so_far = statuses[200]

                async def goes_on() -> bool:
                    return statuses[200] >= so_far + 50

                await eventually(goes_on, "the load goes on after the changes")
                ended.set()
                await asyncio.gather(*clients)
                a.go_on.set()
                b.go_on.set()
                # The stream outlives both changes.
                assert await stream.content.read() == b"data: last\n\n"

    asyncio.run(scenario())


async def load_until(running: RunningRouter, ended: asyncio.Event, statuses: Counter[int]) -> None:
    while not ended.is_set():
        status, body = await running.ask("m")
        assert status == 200, body
        statuses[status] += 1


async def more_than_half(running: RunningRouter, a: Stub, b: Stub) -> str:
    before = a.served, b.served
    await ask_many(running, "m", 100)
    return a.name if a.served - before[0] > b.served - before[1] else b.name
