"""The key that engines demand: sent to them from the environment, written nowhere, and named when it is missing or wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from executor import credentials
from executor.applying.apply import apply
from executor.applying.destroy import destroy
from executor.backends import probes
from executor.backends.engine_kinds import emulated_backend
from executor.clients.replay import ReplayRequest, replay
from executor.errors import AccessError, ExecutorError, StartError
from planner.plan import Plan, RouterPlan
from planner.simulation.simulation_input import SimulatedRequest
from tests.executor.worlds import World, free_ports
from tests.plans import replica
from ullage.traffic.replayed import replay_plan

KEY = "key-of-this-test-4711"


@pytest.fixture(autouse=True)
def keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")
    monkeypatch.setenv("VLLM_API_KEY", KEY)


def one_engine(world: World) -> Plan:
    return world.plan([replica("llama-8b-0", args={"port": free_ports(1)[0]})])


def replayed(router: RouterPlan) -> set[str | None]:
    asked = [ReplayRequest(i * 0.01, "chat", "llama-8b", 20, 4) for i in range(5)]
    return {record.error for record in replay(router.host, router.port, asked, 1.0, finish_limit_s=120.0)}


def test_without_a_key_no_header_is_sent() -> None:
    assert credentials.authorization({}) == {}
    # vLLM takes an empty variable for none
    assert credentials.authorization({"VLLM_API_KEY": ""}) == {}


def test_the_key_is_sent_as_it_stands() -> None:
    assert credentials.authorization({"VLLM_API_KEY": "a b,c"}) == {"Authorization": "Bearer a b,c"}


@pytest.mark.parametrize("key", ["abc\r", "abc\r\nhost: x", "abc ", "schlüssel", "a\tb"])
def test_a_key_that_no_header_can_carry_is_refused_unrepeated(key: str) -> None:
    with pytest.raises(ExecutorError, match=r"VLLM_API_KEY: .*header") as caught:
        credentials.authorization({"VLLM_API_KEY": key})
    assert key not in str(caught.value)


def test_a_key_that_cannot_be_sent_stops_apply_before_anything_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "from a file\r")
    with pytest.raises(ExecutorError, match="VLLM_API_KEY"):
        apply(one_engine(world), world.folder.root)
    assert world.living() == {}


def test_engines_that_demand_a_key_are_started_watched_and_measured(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = one_engine(world)
    apply(plan, world.folder.root)
    report = world.status()
    assert report.drift == ()
    assert [(row.condition, row.load is not None) for row in report.replicas] == [("ready", True)]
    # through a real Envoy, which has to pass the header on
    assert replayed(world.router) == {None}
    assert_written_nowhere(world)

    for wrong in ("", "another"):
        monkeypatch.setenv("VLLM_API_KEY", wrong)
        report = world.status()
        assert [row.condition for row in report.replicas] == ["denied"]
        assert report.drift == (
            "replica llama-8b-0: runs, but the engine demands an API key; set VLLM_API_KEY to the one it was started with",
        )
        assert replayed(world.router) == {"http 401"}
    assert destroy(world.folder.root).leftovers == ()
    assert_written_nowhere(world)


def assert_written_nowhere(world: World) -> None:
    files = [path for path in world.folder.root.rglob("*") if path.is_file()]
    assert {"state.json", "journal.jsonl"} <= {path.name for path in files}
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    pids = [pid for found in world.living().values() for pid in found]
    assert [pid for pid in pids if KEY.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()] == []
    # the engines take the key from their environment; the router passes on what clients send
    routers = world.living().get("router", ())
    assert [pid for pid in routers if KEY.encode() in Path(f"/proc/{pid}/environ").read_bytes()] == []


def test_a_measurement_that_was_denied_is_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = one_engine(world)
    apply(plan, world.folder.root)
    monkeypatch.delenv("VLLM_API_KEY")
    asked = [SimulatedRequest("chat", "llama-8b", i * 0.01, 20, 4) for i in range(3)]
    with pytest.raises(PermissionError, match=r"3 of 3 requests were denied: the engine demands an API key; set VLLM_API_KEY"):
        replay_plan(plan, asked, 1.0, world.folder.root)
    assert destroy(world.folder.root).leftovers == ()


def test_an_engine_that_was_started_with_another_key_is_not_called_foreign(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = one_engine(world)
    [wanted] = plan.desired.replicas
    world.folder.create()
    backend = emulated_backend(world.folder, Path())
    backend.preflight(plan, world.folder.load())
    asyncio.run(backend.start(wanted, lambda _: None))
    monkeypatch.delenv("VLLM_API_KEY")
    with pytest.raises(StartError, match="the engine demands an API key; set VLLM_API_KEY") as caught:
        asyncio.run(backend.start(wanted, lambda _: None))
    assert caught.value.cause == "api_key"
    assert KEY not in str(caught.value)
    assert world.living() == {}


@pytest.mark.parametrize("denial", [401, 403])
def test_denials_are_told_from_other_answers(denial: int) -> None:
    seen: list[str | None] = []

    async def deny(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"error": "no"}, status=denial)

    async def ask() -> None:
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", deny)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            [port] = free_ports(1)
            await web.TCPSite(runner, "127.0.0.1", port).start()
            async with ClientSession() as session:
                with pytest.raises(AccessError, match="demands an API key"):
                    await probes.served_names(session, "127.0.0.1", port)
                with pytest.raises(AccessError, match="demands an API key"):
                    await probes.first_answer(session, "127.0.0.1", port, "llama", 5.0, pooling=False)
                assert await probes.load(session, "127.0.0.1", port) is None
        finally:
            await runner.cleanup()

    asyncio.run(ask())
    # metrics are open in vLLM: the key goes only where it is demanded
    assert seen == [f"Bearer {KEY}", f"Bearer {KEY}", None]
