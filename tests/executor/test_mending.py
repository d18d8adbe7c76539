"""While a start is waited for, the router and other replicas do not stay dead."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from executor.applying import mending
from executor.applying.apply import apply_to
from executor.backends.protocol import Say
from executor.waiting import wait_until
from planner.plan import Replica, State
from tests.executor.memory_backend import MemoryBackend
from tests.executor.reconcile.loops import Loop
from tests.executor.worlds import engine


class Slow(MemoryBackend):
    """The start of mistral-0 lasts until somebody says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def start(self, replica: Replica, say: Say) -> None:
        if replica.name == "mistral-0":
            self.done.append("mistral-0 is starting")
            await self.gate.wait()
        await super().start(replica, say)


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setattr(mending.Mending.__init__, "__defaults__", (0.01,))
    return Loop(tmp_path / "state", backend=Slow())


def broken_meanwhile(loop: Loop, *names: str) -> tuple[State, list[str]]:
    """What an apply that starts mistral-0 on GPU 2 leaves, and what was done before the start was let go on."""
    backend = loop.backend
    assert isinstance(backend, Slow)
    old = (engine("llama-0", 3000), engine("qwen-0", 3001, gpu=1), engine("zephyr-0", 3003, gpu=2))
    loop.apply(*old)
    plan = loop.plan(*old, engine("mistral-0", 3002, gpu=2))

    async def run() -> tuple[State, list[str]]:
        work = asyncio.create_task(apply_to(plan, loop.folder, backend, loop.events.append))
        assert await wait_until(lambda: "mistral-0 is starting" in backend.done, 60.0)
        for name in names:
            backend.engines[name].alive = False
        backend.router.settings = None
        assert await wait_until(lambda: backend.router.settings is not None, 60.0)
        on_the_same_gpu = {"zephyr-0"}
        mended = [name for name in names if name not in on_the_same_gpu]
        assert await wait_until(lambda: all(backend.engines[name].alive for name in mended), 60.0)
        before = list(backend.done)
        backend.gate.set()
        return await work, before

    return asyncio.run(run())


def test_the_router_and_a_replica_elsewhere_come_back_before_the_start_ends(loop: Loop) -> None:
    state, before = broken_meanwhile(loop, "llama-0")
    assert before == ["mistral-0 is starting", "start llama-0"]
    assert [replica.name for replica in state.replicas] == ["llama-0", "mistral-0", "qwen-0", "zephyr-0"]
    notes = [f"{event.subject}: {event.detail}" for event in loop.events if event.what == "note"]
    assert notes == ["router: does not run: is set right", "llama-0: does not run any more and is started again"]


def test_one_on_the_gpu_of_the_start_waits_for_its_end(loop: Loop) -> None:
    _, before = broken_meanwhile(loop, "zephyr-0")
    assert before == ["mistral-0 is starting"]
    assert loop.once().actions == ("start zephyr-0",)


def test_a_mend_that_fails_does_not_end_the_apply(loop: Loop) -> None:
    backend = loop.backend
    assert isinstance(backend, Slow)
    old = (engine("llama-0", 3000), engine("qwen-0", 3001, gpu=1))
    loop.apply(*old)
    plan = loop.plan(*old, engine("mistral-0", 3002, gpu=2))
    backend.fails = lambda name: "config" if name == "llama-0" else None

    async def run() -> State:
        work = asyncio.create_task(apply_to(plan, loop.folder, backend, loop.events.append))
        assert await wait_until(lambda: "mistral-0 is starting" in backend.done, 60.0)
        backend.engines["llama-0"].alive = False
        assert await wait_until(lambda: "start llama-0" in backend.done, 60.0)
        backend.gate.set()
        return await work

    assert "mistral-0" in {replica.name for replica in asyncio.run(run()).replicas}
    assert backend.done.count("start llama-0") == 1


def test_the_router_comes_back_while_a_hung_engine_is_drained(loop: Loop) -> None:
    backend = loop.backend
    assert isinstance(backend, Slow)
    old = (engine("llama-0", 3000), engine("qwen-0", 3001, gpu=1))
    loop.apply(*old)
    plan = loop.plan(old[0])
    draining = asyncio.Event()

    async def drain(replica: Replica) -> str:
        draining.set()
        await backend.gate.wait()
        return "it hangs"

    backend.drain = drain  # type: ignore[method-assign]

    async def run() -> State:
        work = asyncio.create_task(apply_to(plan, loop.folder, backend, loop.events.append))
        await draining.wait()
        backend.router.settings = None
        assert await wait_until(lambda: backend.router.settings is not None, 60.0)
        backend.gate.set()
        return await work

    assert [replica.name for replica in asyncio.run(run()).replicas] == ["llama-0"]
