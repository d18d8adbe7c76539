"""A disk that is full: what cannot be written is told, nothing is lost, and the first pass with room goes on."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest

from executor.processes import logs
from executor.processes import table as processes
from tests.executor.faults.keeping import Keeper
from tests.executor.reconcile.loops import Loop
from tests.executor.worlds import World, engine, free_ports

SAID = "No space left on device"


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("module", ["executor.state.folder", "executor.state.goal", "executor.state.applied_plans"])
def test_no_room_for_a_document(loop: Loop, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    goal = loop.plan(engine("llama-0", 3000), engine("mistral-0", 3002, gpu=2))
    kept = loop.backend.engines["llama-0"].pid
    monkeypatch.setattr(f"{module}.write_atomic", full)
    for _ in range(2):
        report = loop.once(goal)
        assert report.outcome == "failed"
        assert SAID in report.failures[0]
    monkeypatch.undo()
    assert loop.once(goal).failures == ()
    assert loop.once(goal).outcome == "steady"
    assert loop.folder.load().replicas == goal.desired.replicas
    assert set(loop.backend.engines) == {"llama-0", "mistral-0"}
    assert loop.backend.engines["llama-0"].pid == kept


def test_no_room_for_what_the_loop_remembers(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.reconcile.memory.write_atomic", full)
    loop.backend.engines["llama-0"].alive = False
    assert loop.once().actions == ("start llama-0",)


def test_a_journal_with_room_for_half_a_line(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.backend.engines["llama-0"].alive = False
    write = os.pwrite

    def half(descriptor: int, raw: bytes, offset: int) -> int:
        if b'"event": "result"' in raw:
            write(descriptor, raw[: len(raw) // 2], offset)
            full()
        return write(descriptor, raw, offset)

    monkeypatch.setattr("executor.state.journal.os.pwrite", half)
    assert SAID in loop.once().failures[0]
    monkeypatch.undo()
    assert loop.once().failures == ()
    assert loop.once().outcome == "steady"
    assert loop.backend.engines["llama-0"].alive


def test_no_room_for_the_log_or_the_record_of_a_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    keeper = Keeper(world)
    asyncio.run(world.apply(world.plan([engine("llama-0", port)])))
    for module, name in ((logs, "open_new"), (processes, "write_atomic")):
        world.kill("replica-llama-0")
        monkeypatch.setattr(module, name, full)
        report = keeper.once()
        assert report.outcome == "failed"
        assert SAID in report.failures[0]
        assert "replica-llama-0" not in world.living()
        monkeypatch.undo()
        keeper.once(later_s=keeper.longest_wait_s)
        assert keeper.once().outcome == "steady"
        assert "replica-llama-0" in world.living()
