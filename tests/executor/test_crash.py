"""kill -9 of apply after some of its durable writes; then apply again, with the same plan or a new one, converges."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from planner.plan import Plan, to_json
from tests.executor.worlds import World, engine, free_ports, until


def crash_command(world: World, plan: Plan, after: int, folder: Path) -> list[str]:
    path = folder / "plan.json"
    path.write_text(to_json(plan), encoding="utf-8")
    return [sys.executable, "-m", "tests.executor.crash", str(world.folder.root), str(path), str(after)]


def crash(world: World, plan: Plan, after: int, folder: Path) -> None:
    """Apply in a process that dies after that many durable writes."""
    argv = crash_command(world, plan, after, folder)
    ended = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("after", "again"),
    [
        (1, "same plan"),
        (8, "new plan"),
        (13, "same plan"),
        (17, "new plan"),
        (20, "same plan"),
        (24, "new plan"),
        (31, "same plan"),
        (39, "new plan"),
    ],
)
def test_apply_after_a_crash_converges(world: World, tmp_path: Path, after: int, again: str) -> None:
    ports = free_ports(4)
    keeps, goes, stays = engine("llama-0", ports[0]), engine("qwen-0", ports[1]), engine("zephyr-0", ports[2])
    asyncio.run(world.apply(world.plan([keeps, goes, stays])))
    kept = world.living()["replica-zephyr-0"]
    wanted = [engine("llama-0", ports[3]), engine("mistral-0", ports[1]), stays]
    plan = world.plan(wanted)
    crash(world, plan, after, tmp_path)

    plan = plan if again == "same plan" else world.plan(wanted)
    state = asyncio.run(world.apply(plan))

    assert state.replicas == plan.desired.replicas
    assert set(world.living()) == {"replica-llama-0", "replica-mistral-0", "replica-zephyr-0", "router"}
    assert world.living()["replica-zephyr-0"] == kept
    assert world.status().drift == ()
    assert world.plan(wanted).actions == ()


@pytest.mark.parametrize("slower_s", [0.0, 300.0], ids=["same plan", "another forecast of its start"])
def test_an_engine_that_was_starting_when_apply_died_is_adopted(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slower_s: float
) -> None:
    monkeypatch.setenv("FAKE_GATE", str(tmp_path / "gate"))
    item = engine("llama-0", free_ports(1)[0], mode="slow")
    plan = world.plan([item])
    with subprocess.Popen(crash_command(world, plan, 10_000, tmp_path)) as tool:
        # not merely on record: a process that has not been told to go ends with the tool
        log = world.folder.logs / "replica-llama-0.log"
        assert until(lambda: log.exists() and "waits" in log.read_text())
        tool.kill()
    started = world.living()["replica-llama-0"]
    (tmp_path / "gate").touch()
    asyncio.run(world.apply(world.plan([item.model_copy(update={"start_s": item.start_s + slower_s})]) if slower_s else plan))
    assert world.living()["replica-llama-0"] == started
    assert [event.detail for event in world.events if event.what == "done" and event.kind == "start"] == [
        f"runs already as process {started[0]}"
    ]
