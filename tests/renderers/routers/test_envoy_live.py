"""What only Envoy does; what every router does is in tests/renderers/routers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

from planner.plan import WORKLOAD_HEADER, RequestPriority, WorkloadRoute
from tests.renderers.live import Gateway, eventually, gateway, route_to, stubs
from tests.renderers.routers.running import ask_many, refusal

HOSTILE = 'we"ird: {name} %REQ(x)% ü 😀 # \x7f\x85\u2028\U000e0001'


def test_what_the_router_answers_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            stubs("a") as (a,),
            gateway(tmp_path, route_to("m", (a, 1000)), route_to(HOSTILE, (a, 1000)), route_to("empty")) as running,
        ):
            assert await refusal(running, "/v1/completions", b'{"model": "unknown"}') == (404, "NotFoundError")
            assert await refusal(running, "/v1/completions", b'{"model": 5}') == (404, "NotFoundError")
            for body in (b"{}", b'{"model": null}', b"{", b"", b"[1]", b'{"model": ["m"]}', b'{"model": "' + b"x" * 9000 + b'"}'):
                status, _ = await refusal(running, "/v1/chat/completions", body)
                assert status in {400, 404}, body[:30]
            assert await refusal(running, "/v1/completions", b'{"model": "m"}', "text/plain") == (400, "BadRequestError")
            assert await refusal(running, "/v1/completions", b'{"model": "empty"}') == (503, "ServiceUnavailableError")
            assert await refusal(running, "/sleep", b'{"model": "m"}') == (404, "NotFoundError")
            async with running.client.get(f"{running.url}/health") as answer:
                assert answer.status == 200
            async with running.client.get(f"{running.url}/v1/models") as answer:
                assert answer.content_type == "application/json"
                assert [entry["id"] for entry in (await answer.json())["data"]] == ["empty", "m", HOSTILE]
            assert (await running.ask(HOSTILE))[1]["backend"] == "a"
            assert set(a.paths) == {"/health", "/v1/completions"}
            await _no_update_rejected(running)

    asyncio.run(scenario())


def test_requests_get_the_priority_of_the_workload_that_they_name(tmp_path: Path) -> None:
    own = tuple(RequestPriority(workload=name, model="m", priority=value) for name, value in (("batch", 100), ("chat", 0)))
    sent = '{"model": "m", "priority": -9, "text": "ü }", "nested": {"a": [1, {}]}}\r\n '

    async def scenario() -> None:
        async with stubs("a") as (a,):
            first, other, adapter = (route_to(name, (a, 1000)) for name in ("m", "n", "adapter"))
            patient = (RequestPriority(workload="tuned", model="adapter", priority=50),)
            prioritised = first.model_copy(update={"priorities": own}), adapter.model_copy(update={"priorities": patient})
            async with gateway(tmp_path, *prioritised, other) as running:
                for workload in ("batch", "chat", "unknown", None):
                    headers = {"content-type": "application/json"} | ({} if workload is None else {WORKLOAD_HEADER: workload})
                    async with running.client.post(f"{running.url}/v1/completions", data=sent.encode(), headers=headers) as answer:
                        assert answer.status == 200
                assert [body["priority"] for body in a.bodies] == [100, 0, 0, 0]
                assert [body | {"priority": -9} for body in a.bodies] == [json.loads(sent)] * 4
                await running.ask("n")
                assert "priority" not in a.bodies[-1]
                # the model that it names says whose request it is
                await running.ask("adapter")
                assert a.bodies[-1]["priority"] == 50
                await _no_update_rejected(running)

    asyncio.run(scenario())


def test_a_workload_with_replicas_of_its_own_is_sent_there_by_its_header(tmp_path: Path) -> None:
    rule = WorkloadRoute(workload="batch", model="m", served_name="m-priority-0")

    async def scenario() -> None:
        async with stubs("shared", "own") as (shared, own):
            routes = (route_to("m", (shared, 1000)).model_copy(update={"apart": (rule,)}), route_to("m-priority-0", (own, 1000)))
            async with gateway(tmp_path, *routes) as running:
                seen = []
                for headers in ({}, {WORKLOAD_HEADER: "batch"}, {WORKLOAD_HEADER: "chat"}):
                    async with running.client.post(f"{running.url}/v1/completions", json={"model": "m"}, headers=headers) as answer:
                        seen.append((await answer.json())["backend"])
                assert seen == ["shared", "own", "shared"]
                await _no_update_rejected(running)

    asyncio.run(scenario())


async def _no_update_rejected(running: Gateway) -> None:
    stats = json.loads(await running.admin("/stats?format=json&filter=update_rejected"))["stats"]
    assert len(stats) >= 3
    assert [stat["name"] for stat in stats if stat["value"]] == []


def test_a_model_whose_replicas_restart_is_503_with_retry_after_and_never_404(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a", "b") as (a, b), gateway(tmp_path, route_to("m", (a, 1000)), route_to("n", (b, 1000))) as running:
            assert (await running.ask("m"))[0] == 200
            await running.switch(route_to("m"), route_to("n", (b, 1000)))
            async with running.client.post(f"{running.url}/v1/completions", json={"model": "m"}) as answer:
                error = (await answer.json())["error"]
                assert (answer.status, answer.headers["retry-after"]) == (503, "10")
                assert (answer.content_type, error["type"], error["code"]) == ("application/json", "ServiceUnavailableError", 503)
            async with running.client.get(f"{running.url}/v1/models") as answer:
                assert [entry["id"] for entry in (await answer.json())["data"]] == ["m", "n"]
            assert (await running.ask("n"))[1]["backend"] == "b"
            await running.switch(route_to("m", (a, 1000)), route_to("n", (b, 1000)))

            async def back() -> bool:
                status, answered = await running.ask("m")
                return (status, answered.get("backend")) == (200, "a")

            await eventually(back, "m is served again")
            await _no_update_rejected(running)

    asyncio.run(scenario())


def test_streams_are_not_buffered_and_outlive_a_switch_under_load(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a", "b") as (a, b), gateway(tmp_path, route_to("m", (a, 1000))) as running:
            request = {"model": "m", "prompt": "x", "stream": True}
            async with running.client.post(f"{running.url}/v1/chat/completions", json=request) as stream:
                # The first event is here although the backend has not written the last one yet.
                assert await stream.content.readuntil(b"\n\n") == b"data: first\n\n"
                switched = asyncio.Event()
                load = [asyncio.create_task(_load(running, switched)) for _ in range(8)]
                await running.switch(route_to("m", (a, 500), (b, 500)))
                await running.switch(route_to("m", (b, 1000)), route_to("added", (a, 1000)))
                switched.set()
                assert sum([await client for client in load], Counter())[200] > 0

                async def only_b() -> bool:
                    return (await ask_many(running, "m", 50))[200, "b"] == 50

                # Envoy's workers take a change one after the other, a moment after its admin interface shows it.
                await eventually(only_b, "every worker sends to b only")
                served_before = a.served
                assert await only_b()
                assert a.served == served_before
                assert (await running.ask("added")) == (200, {"backend": "a", "bytes": 33})
                await running.switch(route_to("m", (b, 1000)))

                async def unknown() -> bool:
                    return (await running.ask("added"))[0] == 404

                await eventually(unknown, "the model that left is unknown")
                a.go_on.set()
                assert await stream.content.read() == b"data: last\n\n"
            await _no_update_rejected(running)

    asyncio.run(scenario())


async def _load(running: Gateway, until: asyncio.Event) -> Counter[int]:
    statuses: Counter[int] = Counter()
    while not until.is_set():
        status, _ = await running.ask("m")
        assert status == 200
        statuses[status] += 1
    return statuses


def test_a_hung_engine_that_is_the_only_one_is_503_and_not_silence(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a") as (a,), gateway(tmp_path, route_to("m", (a, 1000))) as running:
            assert (await running.ask("m"))[0] == 200
            a.hung = True

            async def refused() -> bool:
                # until its health checks have failed a request may still go there, and is given up here
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        return (await running.ask("m"))[0] == 503
                return False

            await eventually(refused, "the hung engine takes no request any more")
            assert await refusal(running, "/v1/completions", b'{"model": "m"}') == (503, "ServiceUnavailableError")
            a.hung = False

            async def serves() -> bool:
                return (await running.ask("m"))[0] == 200

            await eventually(serves, "the engine that goes on takes requests again")

    asyncio.run(scenario())


def test_a_request_that_comes_by_and_by_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with stubs("a") as (a,), gateway(tmp_path, route_to("m", (a, 1000))) as running:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.router.port)
            writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n")
            # Envoy gives its headers ten seconds; a test waits for that and not for how long it takes
            async with asyncio.timeout(120):
                assert (await reader.readline()).split()[1] == b"408"
            writer.close()

    asyncio.run(scenario())
