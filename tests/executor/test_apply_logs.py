"""Logs of what apply starts: kept over a restart, bounded at its end."""

from __future__ import annotations

import asyncio

import pytest

from executor.errors import StartError
from executor.processes.logs import LogLimits
from executor.state.folder import StateFolder
from planner.plan import Plan, State
from tests.executor.worlds import World, engine, free_ports


def applied(world: World, plan: Plan) -> State:
    return asyncio.run(world.apply(plan))


def test_a_restart_keeps_the_log_of_the_crash(world: World) -> None:
    plan = world.plan([engine("llama-0", free_ports(1)[0], "oom")])
    for _ in range(2):
        with pytest.raises(StartError) as caught:
            applied(world, plan)
    assert not caught.value.failure.permanent
    assert "what to do: another process holds memory of this GPU" in str(caught.value)
    for name in ("replica-llama-0.log", "replica-llama-0.1.log"):
        assert (world.folder.logs / name).read_text().count("Free memory on device") == 1


@pytest.mark.parametrize("mode", ["ok", "oom"])
def test_apply_bounds_the_logs_at_its_end(world: World, mode: str) -> None:
    world.folder = StateFolder(world.folder.root, LogLimits(limit_bytes=1, kept=2))
    plan = world.plan([engine("llama-0", free_ports(1)[0], mode)])
    if mode == "ok":
        applied(world, plan)
        assert (world.folder.logs / "replica-llama-0.1.log").exists()
    else:
        with pytest.raises(StartError):
            applied(world, plan)
    former = world.folder.logs / "router.1.log"
    assert former.exists()
    # what cannot be done is told, and fails nothing
    log = world.folder.logs / "router.log"
    log.unlink()
    log.symlink_to(former)
    applied(world, world.plan([]))
    assert any(event.subject == "logs" and "it is a link" in event.detail for event in world.events)
