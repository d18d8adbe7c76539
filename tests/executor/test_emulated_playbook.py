"""A playbook with a sleeper on emulated engines: it wakes under load where another sleeps, and no request of either is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from executor.applying.apply import apply
from executor.applying.destroy import destroy
from executor.applying.playbook_run import run_steps, undo_steps
from executor.clients.replay import ReplayRequest, replay
from executor.emulator import devices
from executor.state.goal import goal_of
from executor.status import status
from planner.plan import BurstStep
from planner.simulation.traffic_metrics import RequestRecord
from planner.transitions.change import change
from tests.executor.test_playbook_moves import steps_of
from tests.executor.worlds import World, free_ports
from tests.planner.playbook.sleepers_fleet import before_and_after, chat_beside_batch


@pytest.fixture(autouse=True)
def quick_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULLAGE_EMULATED_START_SCALE", "0.001")


def answers(world: World, name: str, count: int = 10) -> list[RequestRecord]:
    asked = [ReplayRequest(index * 0.2, name, name, 40, 30) for index in range(count)]
    return list(replay("127.0.0.1", world.router.port, asked, 1.0))


def errors(records: list[RequestRecord]) -> set[str | None]:
    return {record.error for record in records}


def conditions(world: World) -> dict[str, str]:
    report = status(world.folder.root)
    assert report.drift == ()
    assert [gpu.over_commits for gpu in devices.read_node(world.folder.node("h100-0")).gpus] == [0] * 3
    return {row.name: row.condition for row in report.replicas}


def under_load(world: World, root: Path, steps: tuple[BurstStep, ...], *, back: bool) -> list[RequestRecord]:
    """Steps, or the way back, while the chat gets requests; what became of these."""
    records: list[RequestRecord] = []
    clients = threading.Thread(target=lambda: records.extend(answers(world, "chat", 25)))
    clients.start()
    if back:
        undo_steps(root, steps)
    else:
        run_steps(root, steps, plan=goal_of(world.folder))
    clients.join()
    return records


@pytest.mark.parametrize("sleeps", [True, False], ids=["sleeps", "stops"])
def test_a_sleeper_wakes_in_anothers_place_and_goes_back(world: World, sleeps: bool) -> None:
    desired, root = chat_beside_batch(sleeps=sleeps, router=world.router, ports=free_ports(4)), world.folder.root
    for wanted in before_and_after(desired):
        state = apply(change(world.folder.load(), wanted), root)
    asleep = {"batch-0": "ready", "chat-0": "ready", "chat-1": "asleep"}
    assert conditions(world) == asleep
    steps = steps_of(desired)
    assert errors(under_load(world, root, steps, back=False)) == {None}
    assert conditions(world) == {"chat-0": "ready", "chat-1": "ready"} | ({"batch-0": "asleep"} if sleeps else {})
    assert errors(answers(world, "batch", 3)) == {"http 503"}
    assert errors(under_load(world, root, steps, back=True)) == {None}
    assert conditions(world) == asleep
    assert errors(answers(world, "batch", 3)) == {None}
    assert world.folder.load() == state
    assert destroy(root).leftovers == ()
