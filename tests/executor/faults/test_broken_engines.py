"""Real processes that die, hang or never come: the loop mends them, and touches nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from executor.backends import probes
from executor.processes import proc
from executor.processes import table as processes
from tests.executor.faults.keeping import Keeper
from tests.executor.faults.strangers import stranger
from tests.executor.worlds import World, engine, free_ports, until

LLAMA, QWEN = "replica-llama-0", "replica-qwen-0"


def two(world: World, mode: str = "ok") -> Keeper:
    """llama-0 in this mode, and qwen-0, which nobody touches."""
    ports = free_ports(2)
    asyncio.run(world.apply(world.plan([engine("llama-0", ports[0], mode), engine("qwen-0", ports[1], gpu=1)])))
    return Keeper(world)


def assert_mended(world: World, before: dict[str, tuple[int, ...]], *, forks: bool = False) -> None:
    """llama-0 runs in other processes, everything else in the same, and nothing of the old ones is left."""
    after = world.living()
    assert set(after) == set(before)
    assert {name: pids for name, pids in after.items() if name != LLAMA} == {name: pids for name, pids in before.items() if name != LLAMA}
    assert not set(after[LLAMA]) & set(before[LLAMA])
    assert len(after[LLAMA]) == 1 + forks
    for pid in before[LLAMA]:
        found = proc.facts(pid)
        assert found is None or not found.living
    assert world.status().drift == ()


def test_an_engine_that_was_killed_starts_again(world: World) -> None:
    keeper = two(world)
    before = world.living()
    world.kill(LLAMA)
    assert keeper.once().actions == ("start llama-0",)
    assert_mended(world, before)
    assert keeper.once().outcome == "steady"


def test_a_killed_leader_whose_worker_lives_on_leaves_nothing(world: World) -> None:
    keeper = two(world, "forking")
    assert until(lambda: len(world.living()[LLAMA]) == 2)
    before = world.living()
    world.kill(LLAMA)
    assert len(world.living()[LLAMA]) == 1
    keeper.until_steady()
    assert until(lambda: len(world.living()[LLAMA]) == 2)
    assert_mended(world, before, forks=True)


def test_an_engine_whose_worker_was_killed_is_found_by_a_request(world: World) -> None:
    keeper = two(world, "worker")
    assert keeper.once().outcome == "steady"
    before = world.living()
    leader, worker = sorted(before[LLAMA], key=lambda pid: pid != _leader(world))
    os.kill(worker, signal.SIGKILL)
    assert until(lambda: world.living()[LLAMA] == (leader,))
    reports = [keeper.once(later_s=61.0)]
    assert reports[0].actions == ()
    assert "does not make a token" in reports[0].drift[0]
    keeper.until_steady()
    assert_mended(world, before, forks=True)


def test_an_engine_that_hangs_is_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "QUICK_LIMIT_S", 2.0)
    world.limits = replace(world.limits, still_s=0.5, hung_grace_s=0.5)
    keeper = two(world)
    before = world.living()
    os.kill(_leader(world), signal.SIGSTOP)
    report = keeper.once()
    assert report.actions == ()
    assert "does not answer for 0 s" in report.drift[0]
    assert keeper.reconciler.unsure
    keeper.until_steady(later_s=31.0)
    assert_mended(world, before)


def test_a_start_that_never_gets_ready_does_not_hold_up_others(world: World) -> None:
    ports = free_ports(3)
    asyncio.run(world.apply(world.plan([engine("llama-0", ports[0]), engine("qwen-0", ports[1], gpu=1)])))
    world.limits = replace(world.limits, start_s=lambda item: 0.5 if item.args.model == "silent" else 60.0)
    keeper = Keeper(world)
    goal = world.plan([engine("llama-0", ports[0]), engine("qwen-0", ports[1], gpu=1), engine("mistral-0", ports[2], "silent", gpu=2)])
    first = keeper.once(goal)
    assert first.outcome == "failed"
    assert "not ready within" in first.failures[0]
    before = world.living()
    assert "replica-mistral-0" not in before
    world.kill(LLAMA)
    second = keeper.once(goal)
    assert (second.actions, second.failures) == (("start llama-0",), ())
    assert second.drift[0].startswith("replica mistral-0: failed, is tried again in 4 s")
    assert_started(world, before)
    assert keeper.once(goal, later_s=keeper.longest_wait_s).failures != ()


def assert_started(world: World, before: dict[str, tuple[int, ...]]) -> None:
    after = world.living()
    assert set(after) == set(before)
    assert after[QWEN] == before[QWEN]
    assert not set(after[LLAMA]) & set(before[LLAMA])


def test_a_port_that_a_stranger_took_is_told_and_the_stranger_left_alone(world: World) -> None:
    keeper = two(world)
    before = world.living()
    port = next(item.args.port for item in world.folder.load().replicas if item.name == "llama-0")
    world.kill(LLAMA)
    with stranger(port) as process:
        report = keeper.once()
        assert report.outcome == "failed"
        assert f"127.0.0.1:{port} is taken by another program" in report.failures[0]
        assert keeper.once(later_s=keeper.longest_wait_s).outcome == "failed"
        assert process.poll() is None
        assert world.living() == {name: pids for name, pids in before.items() if name != LLAMA}
    keeper.once(later_s=keeper.longest_wait_s)
    assert keeper.once().outcome == "steady"
    assert_mended(world, before)


def test_a_process_that_has_got_the_number_of_a_dead_engine_is_never_signalled(world: World) -> None:
    keeper = two(world)
    before = world.living()
    world.kill(LLAMA)
    table = processes.ProcessTable(world.folder.processes, world.folder.logs)
    record = table.record(LLAMA)
    assert record is not None
    with stranger(free_ports(1)[0]) as process:
        path = world.folder.processes / f"{LLAMA}.json"
        text = path.read_text(encoding="utf-8").replace(f'"pid": {record.pid}', f'"pid": {process.pid}')
        path.write_text(text, encoding="utf-8")
        reused = table.record(LLAMA)
        facts = proc.facts(process.pid)
        assert reused is not None
        assert facts is not None
        assert (reused.pid, facts.session) == (process.pid, process.pid)
        assert reused.start_ticks != facts.start_ticks
        assert keeper.once().actions == ("start llama-0",)
        assert_mended(world, before)
        assert process.poll() is None


def _leader(world: World) -> int:
    record = processes.ProcessTable(world.folder.processes, world.folder.logs).record(LLAMA)
    assert record is not None
    return record.pid
