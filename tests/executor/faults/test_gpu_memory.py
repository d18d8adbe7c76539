"""Emulated GPUs count when they are asked for more memory than they have: no repair may ever do that."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from executor.applying.apply import apply_to
from executor.applying.destroy import destroy
from executor.backends.engine_kinds import emulated_backend
from planner.plan import Plan, Replica
from tests.executor.faults.keeping import Keeper
from tests.executor.worlds import World, free_ports
from tests.plans import replica


@pytest.fixture(autouse=True)
def quick_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")


def sharing(ports: list[int]) -> list[Replica]:
    """Three on one GPU fill it: a second of any beside the first would not fit. One has another GPU."""
    crowd = [replica(f"llama-8b-{i}", gpus=(0,), args={"port": ports[i], "gpu_memory_utilization": 0.33}) for i in range(3)]
    return [*crowd, replica("qwen3-8b-0", "qwen3-8b", "Qwen/Qwen3-8B", gpus=(1,), args={"port": ports[3]})]


def plan_on(world: World, replicas: list[Replica]) -> Plan:
    plan = world.plan(replicas)
    assert plan.desired.gpus_used == 2
    return plan


def test_no_repair_asks_a_gpu_for_more_than_it_has(world: World) -> None:
    ports = free_ports(5)
    world.folder.create()
    backend = emulated_backend(world.folder, world.folder.root)
    asyncio.run(apply_to(plan_on(world, sharing(ports)), world.folder, backend))
    keeper = Keeper(world, backend)
    untouched = world.living()["replica-qwen3-8b-0"]
    for name in ("replica-llama-8b-0", "replica-llama-8b-1", "replica-llama-8b-2"):
        world.kill(name)
    keeper.until_steady()
    assert backend.over_commits() == 0
    # another command for one of them while another one is dead
    world.kill("replica-llama-8b-0")
    changed = [item.model_copy(update={"args": item.args.model_copy(update={"port": ports[4]})}) for item in sharing(ports)[1:2]]
    goal = plan_on(world, [*sharing(ports)[:1], *changed, *sharing(ports)[2:]])
    keeper.until_steady(goal, later_s=400.0)
    assert backend.over_commits() == 0
    assert world.living()["replica-qwen3-8b-0"] == untouched
    assert world.status().drift == ()
    for pids in world.living().values():
        os.kill(pids[0], signal.SIGKILL)
    keeper.until_steady(later_s=400.0)
    assert backend.over_commits() == 0
    gone = destroy(world.folder.root)
    assert (gone.leftovers, gone.over_commits) == ((), 0)
