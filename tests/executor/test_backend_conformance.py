"""What every backend promises: those of the plug-in table, local ones of fake engines, and one that only remembers."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from executor.backends.protocol import Backend
from executor.errors import ExecutorError, StartError
from executor.events import ignore
from planner.plan import Plan, Replica, RouterPlan, State
from planner.routes import routes_for
from tests.executor.memory_backend import MemoryBackend
from tests.executor.test_emulated import SHIM
from tests.executor.worlds import FAKE_ENGINE, World, engine, free_ports
from tests.plans import mig_plan, plan_of, replica
from ullage.plugins import BACKENDS, load, names

KINDS = ("memory", "local fake engines", *names("backends", BACKENDS))


@dataclass(frozen=True, slots=True)
class Stage:
    """A backend with a plan of two replicas on two GPUs that it can run."""

    backend: Callable[[], Backend]
    plan: Plan
    router: RouterPlan

    @property
    def one(self) -> Replica:
        return self.plan.desired.replicas[0]


def made(world: World, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    ports = free_ports(2)
    replicas: tuple[Replica, ...] = (engine("llama-0", ports[0]), engine("qwen-0", ports[1], gpu=1))
    if kind in BACKENDS:
        monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")
        program = folder / "vllm"
        program.write_text(SHIM.format(python=sys.executable, engine=FAKE_ENGINE))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        model = "Qwen/Qwen3-0.6B"
        replicas = tuple(
            replica(f"{name}-0", name, model, gpus=(gpu,), args={"port": ports[gpu]}) for gpu, name in enumerate(("llama", "qwen"))
        )
    plan = plan_of(replicas, gpu_count=2)
    world.folder.create()
    if kind == "memory":
        remembered = MemoryBackend()
        return Stage(lambda: remembered, plan, world.router)
    if kind in BACKENDS:
        # a real driver would be asked for GPUs that this machine does not have
        monkeypatch.setattr("executor.backends.machine.visible_gpus", lambda: 2)
        return Stage(lambda: load("backends", BACKENDS, kind)(world.folder, folder), plan, world.router)
    return Stage(world.backend, plan, world.router)


@pytest.fixture(params=KINDS)
def stage(request: pytest.FixtureRequest, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return made(world, request.param, tmp_path, monkeypatch)


def silent(text: str) -> None:
    del text


def test_a_replica_starts_answers_drains_and_stops_and_each_step_can_be_repeated(stage: Stage) -> None:
    async def run() -> None:
        backend = stage.backend()
        backend.preflight(stage.plan, State())
        for _ in range(2):
            await backend.start(stage.one, silent)
        # another process of ours sees the same
        backend = stage.backend()
        seen = backend.observe()
        assert set(seen) == {stage.one.name}
        assert seen[stage.one.name].alive
        assert seen[stage.one.name].pid in seen[stage.one.name].pids
        assert seen[stage.one.name].command_hash == backend.wanted_hash(stage.one)
        answer = await backend.ask(stage.one)
        assert answer.names is not None
        assert stage.one.served_name in answer.names
        assert not answer.denied
        assert answer.load is not None
        assert (answer.load.running, answer.load.waiting) == (0, 0)
        assert await backend.try_out(stage.one, 60.0) is None
        assert await backend.latencies(stage.one) is not None
        assert await backend.drain(stage.one) == ""
        for _ in range(2):
            await backend.stop(stage.one.name)
            assert backend.observe() == {}
        assert (await backend.ask(stage.one)).names is None
        assert await backend.try_out(stage.one, 1.0) is not None
        assert backend.tidy() == ()

    asyncio.run(run())


def test_one_command_is_one_hash_and_another_is_another(stage: Stage) -> None:
    backend = stage.backend()
    hashes = [backend.wanted_hash(stage.one) for _ in range(2)]
    assert hashes[0] == hashes[1]
    changed = stage.one.model_copy(update={"args": stage.one.args.model_copy(update={"max_num_seqs": 7, "port": stage.one.args.port + 1})})
    assert backend.wanted_hash(changed) != hashes[0]
    # what the plan expects of it is no part of the command
    slower = stage.one.model_copy(update={"start_s": stage.one.start_s + 100.0, "planned_rps": 0.1})
    assert backend.wanted_hash(slower) == hashes[0]


def test_capabilities_are_kept(stage: Stage) -> None:
    backend = stage.backend()
    backend.preflight(stage.plan, State())
    found = {gpu.index for gpu in backend.gpus()}
    assert (found >= {0, 1}) if backend.capabilities.reads_gpus else (found == set())
    if not backend.capabilities.mig_layouts:
        with pytest.raises(ExecutorError, match="MIG"):
            backend.preflight(mig_plan(), State())


def test_a_start_that_fails_says_why_and_leaves_nothing(stage: Stage) -> None:
    backend = stage.backend()
    backend.preflight(stage.plan, State())
    if isinstance(backend, MemoryBackend):
        backend.fails = lambda _: "port"

    async def run() -> None:
        # a port that somebody else has fails for every engine
        server = await asyncio.start_server(lambda _, writer: writer.close(), stage.one.host, stage.one.args.port)
        async with server:
            with pytest.raises(StartError) as caught:
                await backend.start(stage.one, silent)
        assert caught.value.replica == stage.one.name
        assert caught.value.failure.advice
        assert backend.observe() == {}

    asyncio.run(run())


def test_the_router_does_what_it_is_told_and_tells_what_differs(stage: Stage) -> None:
    async def run() -> None:
        router = stage.backend().router
        routes = routes_for(stage.plan.desired.replicas)
        assert await router.difference(stage.router, routes) is not None
        assert router.pid() is None
        for _ in range(2):
            await router.ensure(stage.router, routes)
        assert await router.difference(stage.router, routes) is None
        assert router.pid() is not None
        fewer = routes[:1]
        assert await router.difference(stage.router, fewer) is not None
        await router.set_routes(stage.router, fewer, routes)
        assert await router.difference(stage.router, fewer) is None
        assert await stage.backend().router.difference(stage.router, fewer) is None

    asyncio.run(run())


def test_everything_ends_router_first_and_a_second_time_there_is_nothing(stage: Stage) -> None:
    async def run() -> None:
        backend = stage.backend()
        backend.preflight(stage.plan, State())
        await backend.router.ensure(stage.router, ())
        await backend.start(stage.one, silent)
        stopped, left = await stage.backend().end_all(ignore)
        assert [name for name in stopped if name.endswith(stage.one.name)]
        assert left == ()
        assert backend.observe() == {}
        assert backend.router.pid() is None
        assert await backend.end_all(ignore) == ((), ())

    asyncio.run(run())


def test_every_backend_of_the_table_is_here() -> None:
    assert set(BACKENDS) <= set(KINDS)
