"""kill -9 of a pass with real processes: engines and a router that it started, half started or half stopped."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from planner.plan import to_json
from tests.executor.faults.keeping import Keeper
from tests.executor.worlds import World, engine, free_ports


@pytest.mark.parametrize("after", [1, 8, 16, 25, 34, 43, 52, 61])
def test_a_new_loop_goes_on_where_a_killed_one_stopped(world: World, tmp_path: Path, after: int) -> None:
    ports = free_ports(4)
    stays = engine("zephyr-0", ports[2], gpu=2)
    asyncio.run(world.apply(world.plan([engine("llama-0", ports[0]), engine("qwen-0", ports[1], gpu=1), stays])))
    kept = world.living()["replica-zephyr-0"]
    plan = world.plan([engine("llama-0", ports[3]), engine("mistral-0", ports[1], gpu=1), stays])
    # dead already when the pass begins
    world.kill("replica-llama-0")
    path = tmp_path / "plan.json"
    path.write_text(to_json(plan), encoding="utf-8")
    argv = [sys.executable, "-m", "tests.executor.faults.killed_pass", str(world.folder.root), str(path), str(after)]
    ended = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr

    Keeper(world).until_steady(plan)

    assert world.folder.load().replicas == plan.desired.replicas
    living = world.living()
    assert set(living) == {"replica-llama-0", "replica-mistral-0", "replica-zephyr-0", "router"}
    assert all(len(pids) == 1 for pids in living.values())
    assert living["replica-zephyr-0"] == kept
    assert world.status().drift == ()
