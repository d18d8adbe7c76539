"""Apply, status and destroy with fake engines and a real Envoy."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from executor.applying.destroy import destroy
from executor.backends import probes
from executor.errors import ExecutorError, LockedError, StalePlanError, StartError
from executor.processes import proc
from executor.state.journal import Journal
from executor.state.lock import locked
from executor.status import StatusReport
from executor.waiting import wait_until
from planner.plan import Plan, Replica, State
from tests.executor.worlds import World, engine, free_ports


def applied(world: World, plan: Plan) -> State:
    return asyncio.run(world.apply(plan))


def conditions(report: StatusReport) -> dict[str, str]:
    return {row.name: row.condition for row in report.replicas}


def begun(world: World) -> list[tuple[str, str]]:
    return [(event.kind, event.subject) for event in world.events if event.what == "begun"]


def patience_s(replica: Replica) -> float:
    """How long a start may take: no longer for an engine that says nothing or is there already, all the time for others."""
    end_s = time.monotonic() + 60.0
    while replica.args.model == "dumb" and time.monotonic() < end_s:
        with suppress(ConnectionRefusedError), socket.create_connection((replica.host, replica.args.port)):
            break
    return 0.5 if replica.args.model in {"dumb", "silent"} else 60.0


def test_apply_status_change_destroy(world: World) -> None:
    ports = free_ports(4)
    one, two = engine("llama-0", ports[0]), engine("qwen-0", ports[1], gpu=1)
    state = applied(world, world.plan([one, two]))
    assert (state.serial, [replica.name for replica in state.replicas]) == (1, ["llama-0", "qwen-0"])
    report = world.status()
    assert (conditions(report), report.drift) == ({"llama-0": "ready", "qwen-0": "ready"}, ())

    empty = world.plan([one, two])
    assert empty.actions == ()
    assert applied(world, empty) == state

    world.events.clear()
    before = world.living()
    moved, third = engine("llama-0", ports[2]), engine("mistral-0", ports[3], mode="forking", gpu=2)
    state = applied(world, world.plan([moved, two, third]))
    kinds = [kind for kind, _ in begun(world)]
    assert kinds.index("drain") < kinds.index("stop") < len(kinds) - 1 - kinds[::-1].index("start")
    assert world.status().drift == ()
    after = world.living()
    assert after["replica-qwen-0"] == before["replica-qwen-0"]
    assert after["replica-llama-0"] != before["replica-llama-0"]
    assert len(after["replica-mistral-0"]) == 2

    sessions = [min(pids) for pids in after.values()]
    gone = destroy(world.folder.root)
    assert (gone.stopped, gone.leftovers) == (("replica-llama-0", "replica-mistral-0", "replica-qwen-0", "router"), ())
    assert [proc.session_members(session) for session in sessions] == [()] * 4
    assert world.folder.load() == State(serial=3)
    assert world.folder.journal_path.exists()
    assert destroy(world.folder.root).stopped == ()


def test_a_plan_against_another_state_is_refused_with_the_differences(world: World) -> None:
    ports = free_ports(2)
    one, two = engine("llama-0", ports[0]), engine("qwen-0", ports[1])
    stale = world.plan([one, two])
    applied(world, world.plan([one]))
    with pytest.raises(StalePlanError) as caught:
        applied(world, stale)
    text = str(caught.value)
    assert "against state 0" in text
    assert "is state 1" in text
    assert "replica llama-0: added" in text
    assert set(world.living()) == {"replica-llama-0", "router"}


def test_two_applies_at_once(world: World) -> None:
    world.folder.create()
    with locked(world.folder.lock_path, "apply"), pytest.raises(LockedError):
        applied(world, world.plan([]))
    assert not world.folder.journal_path.exists()


@pytest.mark.parametrize(
    ("mode", "cause", "words"),
    [
        ("oom", "free_memory", "Free memory on device"),
        ("silent", "timeout", "not ready within"),
        ("other", "foreign", "it serves stranger, not qwen"),
        ("dumb", "timeout", "no token today"),
    ],
)
def test_a_start_that_fails_stops_there_and_can_be_repeated(world: World, mode: str, cause: str, words: str) -> None:
    world.limits = replace(world.limits, start_s=patience_s)
    ports = free_ports(3)
    good, bad, later = engine("llama-0", ports[0]), engine("qwen-0", ports[1], mode, gpu=1), engine("zephyr-0", ports[2], gpu=1)
    plan = world.plan([good, bad, later])
    with pytest.raises(StartError) as caught:
        applied(world, plan)
    assert (caught.value.replica, caught.value.cause) == ("qwen-0", cause)
    assert words in str(caught.value)
    assert set(world.living()) == {"replica-llama-0", "router"}
    assert [replica.name for replica in world.folder.load().replicas] == ["llama-0"]
    kept = world.living()["replica-llama-0"]

    # the same plan again goes on where it stopped; a new plan without the bad one converges
    with pytest.raises(StartError):
        applied(world, plan)
    state = applied(world, world.plan([good, later]))
    assert [replica.name for replica in state.replicas] == ["llama-0", "zephyr-0"]
    assert world.living()["replica-llama-0"] == kept


def test_a_port_taken_by_another_program_is_found_before_anything_is_done(world: World) -> None:
    ports = free_ports(2)
    one, two = engine("llama-0", ports[0]), engine("qwen-0", ports[1], gpu=1)
    applied(world, world.plan([one, two]))
    before = world.living()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        moved = world.plan([engine("llama-0", port), two])
        with pytest.raises(ExecutorError, match=f"replica llama-0: 127.0.0.1:{port} is taken"):
            applied(world, moved)
    assert world.living() == before
    assert world.status().drift == ()
    applied(world, moved)
    # an address that a replica of ours leaves is no obstacle for the next one
    applied(world, world.plan([engine("qwen-0", port, gpu=1)]))
    assert world.status().drift == ()


@pytest.mark.parametrize("names", [("llama-0", "llama-1"), ("llama-0", "qwen-0")])
def test_streams_through_the_router_end_whole_while_their_replica_goes(
    world: World, names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both when an endpoint leaves a route and when a whole model leaves the router."""
    gate = tmp_path / "gate"
    monkeypatch.setenv("FAKE_GATE", str(gate))
    ports = free_ports(2)
    one, two = engine(names[0], ports[0], "held"), engine(names[1], ports[1], "held", gpu=1)
    applied(world, world.plan([one, two]))
    plan = world.plan([one])
    body = json.dumps({"model": two.served_name, "prompt": [1], "max_tokens": 300, "stream": True}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"

    async def stream() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.router.port)
        writer.write(head % len(body) + body)
        received = await reader.read()
        while not reader.at_eof():
            received += await reader.read()
        writer.close()
        await writer.wait_closed()
        return received.count(b'" tok"')

    async def streams_and_apply() -> list[int]:
        streams = [asyncio.ensure_future(stream()) for _ in range(4)]
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            while sum([seen.running for port in ports if (seen := await probes.load(session, "127.0.0.1", port))]) < 4:
                await asyncio.sleep(0.01)
        work = asyncio.ensure_future(world.apply(plan))
        # half of every stream is still to come when its replica has left the routes
        assert await wait_until(lambda: work.done() or ("drain", two.name) in begun(world), 60.0)
        gate.touch()
        await work
        return await asyncio.gather(*streams)

    assert asyncio.run(streams_and_apply()) == [300] * 4
    assert set(world.living()) == {"replica-llama-0", "router"}


def test_an_interrupt_ends_the_step_and_the_same_plan_goes_on(world: World) -> None:
    ports = free_ports(2)
    one, two = engine("llama-0", ports[0]), engine("qwen-0", ports[1], mode="silent", gpu=0)
    plan = world.plan([one, two])

    async def interrupted() -> None:
        work = asyncio.ensure_future(world.apply(plan))
        assert await wait_until(lambda: work.done() or ("start", "qwen-0") in begun(world), 60.0)
        assert not work.done()
        os.kill(os.getpid(), signal.SIGTERM)
        await work

    with pytest.raises(Exception, match="interrupted; what was done is kept"):
        asyncio.run(interrupted())
    assert set(world.living()) == {"replica-llama-0", "router"}
    last = Journal(world.folder.journal_path).records[-1]
    assert (last["event"], last["ok"], last["detail"]) == ("end", False, "interrupted")
    assert applied(world, world.plan([one])).serial == 2


def test_apply_starts_again_what_died_also_when_the_plan_changes_nothing_else(world: World) -> None:
    ports = free_ports(2)
    one, two = engine("llama-0", ports[0], mode="forking"), engine("qwen-0", ports[1], gpu=1)
    applied(world, world.plan([one, two]))
    before = world.living()
    # as the OOM killer does it: the server goes, its child keeps the memory
    world.kill("replica-llama-0")
    assert world.status().drift == ("replica llama-0: does not run",)
    plan = world.plan([one, two])
    assert plan.actions == ()
    applied(world, plan)
    after = world.living()
    assert world.status().drift == ()
    assert not set(after["replica-llama-0"]) & set(before["replica-llama-0"])
    assert after["replica-qwen-0"] == before["replica-qwen-0"]
    assert [event.detail for event in world.events if event.what == "note"] == ["does not run any more and is started again"]

    # one that the plan takes away is not started first
    world.kill("replica-llama-0")
    world.events.clear()
    applied(world, world.plan([two]))
    assert begun(world) == [("set_routes", "router"), ("drain", "llama-0"), ("stop", "llama-0")]
    assert set(world.living()) == {"replica-qwen-0", "router"}


def test_status_tells_of_an_apply_that_did_not_end(world: World) -> None:
    ports = free_ports(2)
    good, bad = engine("llama-0", ports[0]), engine("qwen-0", ports[1], "oom", gpu=1)
    with pytest.raises(StartError):
        applied(world, world.plan([good, bad]))
    [line] = world.status().drift
    assert line.startswith("apply: stopped with 1 of its plan's actions done: replica qwen-0: its process ended")
    assert line.endswith("apply that plan again, or plan again")
    with locked(world.folder.lock_path, "apply"):
        [line] = world.status().drift
    assert line.startswith(f"apply: works now: ullage apply of {getpass.getuser()}, process {os.getpid()}, since ")

    with world.folder.journal_path.open("a") as journal:
        journal.write("what is this?\nand this?\n")
    [line] = world.status().drift
    assert "not a journal record" in line


def test_status_names_what_is_missing_and_what_is_foreign(world: World) -> None:
    ports = free_ports(2)
    one, two = engine("llama-0", ports[0]), engine("qwen-0", ports[1])
    applied(world, world.plan([one, two]))
    for name in ("replica-llama-0", "router"):
        world.kill(name)
    report = world.status()
    assert conditions(report) == {"llama-0": "missing", "qwen-0": "ready"}
    assert report.drift == ("replica llama-0: does not run", "router: does not run")

    async def beside_a_stranger() -> StatusReport:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", ports[0])
        async with server:
            return await asyncio.to_thread(world.status)

    report = asyncio.run(beside_a_stranger())
    assert conditions(report) == {"llama-0": "foreign", "qwen-0": "ready"}
    assert report.drift[0] == f"replica llama-0: does not run, and another program answers on its port {ports[0]}"
