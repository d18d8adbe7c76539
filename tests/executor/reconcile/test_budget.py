"""Unattended changes stop nobody whom the disruption budget protects now; what has died is mended at any time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import pytest

from executor.applying.apply import apply_to
from executor.backends.protocol import EngineLoad
from executor.errors import BudgetError, StartError
from planner.disruption_budget import DisruptionBudget
from planner.plan import Drain, Plan
from tests.executor.memory_backend import Engine
from tests.executor.reconcile.loops import Loop
from tests.executor.worlds import engine
from tests.sleepers import sleeper

# Saturdays and Sundays, 2 to 6 o'clock
WEEKEND = ((5 * 86_400.0 + 7_200.0, 5 * 86_400.0 + 21_600.0), (6 * 86_400.0 + 7_200.0, 6 * 86_400.0 + 21_600.0))


def loop_with(folder: Path, **limits: object) -> Loop:
    loop = Loop(folder / "state", budget=DisruptionBudget.model_validate(limits))
    loop.apply(engine("llama-0", 3000), engine("llama-1", 3001, gpu=1), engine("qwen-0", 3002, gpu=2))
    return loop


def changed(loop: Loop) -> Plan:
    """Both of llama on other ports, where they fit beside the old ones only one after the other, and one more of mistral."""
    return loop.plan(
        engine("llama-0", 3003), engine("llama-1", 3004, gpu=1), engine("qwen-0", 3002, gpu=2), engine("mistral-0", 3005, gpu=3)
    )


def test_replicas_that_serve_go_in_a_maintenance_window_only(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, windows_s=WEEKEND)
    goal = changed(loop)
    report = loop.once(goal)
    # what is new is let in, what may not go serves on
    assert report.actions == ("set_routes router", "start mistral-0", "set_routes router")
    assert {route.served_name: len(route.backends) for route in loop.folder.load().routes} == {"llama": 2, "mistral": 1, "qwen": 1}
    assert [line for line in report.drift if "maintenance window only; the next one opens Sat 02:00 UTC" in line]
    assert loop.once(goal).actions == ()
    # a death is no matter of windows
    loop.backend.engines["qwen-0"].alive = False
    assert loop.once(goal).actions == ("start qwen-0",)
    loop.today = datetime(2026, 1, 3, 2, 30, tzinfo=UTC)
    assert loop.once(goal).drift == ()
    assert loop.once(goal).outcome == "steady"
    assert {replica.args.port for replica in loop.folder.load().replicas} == {3002, 3003, 3004, 3005}


def test_protected_workloads_lose_no_replica_unattended(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, protected=("llama",))
    report = loop.once(changed(loop))
    assert [action for action in report.actions if action.startswith("stop")] == []
    assert "llama-0 serves llama, which is protected by policy.disruption_budget" in report.drift[-1]
    # one that hangs serves nobody
    loop.backend.engines["llama-0"].silent = True
    for _ in range(5):
        report = loop.once(later_s=10.0)
    assert loop.backend.engines["llama-0"].silent is False


def test_no_round_leaves_a_workload_with_fewer_ready_replicas_than_it_must_have(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, min_available={"llama": 2})
    report = loop.once(changed(loop))
    assert [action for action in report.actions if action.startswith("stop")] == []
    assert "llama would have 1 ready replicas, and policy.disruption_budget asks for 2" in report.drift[-1]


@pytest.mark.parametrize("most", [1, 2])
def test_at_most_so_many_leave_at_once(tmp_path: Path, most: int) -> None:
    loop = loop_with(tmp_path, max_concurrent=most)
    goal = loop.plan(*(engine(f"{name}-0", 4000 + place, gpu=place) for place, name in enumerate(("a", "b", "c"))))
    rounds = [len(list(group)) for kind, group in groupby(goal.actions, key=lambda action: action.kind) if kind == "stop"]
    assert max(rounds) <= most
    assert sum(rounds) == 3
    assert sum(isinstance(action, Drain) for action in goal.actions) == 3


def test_what_is_down_counts_among_those_that_leave(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, max_concurrent=1)
    loop.backend.fails = lambda name: "config" if name == "qwen-0" else None
    loop.backend.engines["qwen-0"].alive = False
    report = loop.once(changed(loop))
    assert [action for action in report.actions if action.startswith("stop")] == []
    assert "waits: 1 replicas are down already, of 1 that may be at once" in report.drift[-1]


def test_apply_refuses_what_the_budget_does_not_allow_unless_somebody_has_decided(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, windows_s=WEEKEND)
    goal = changed(loop)
    with pytest.raises(BudgetError, match="opens Sat 02:00 UTC\napply it when it is allowed, or give --ignore-budget"):
        asyncio.run(apply_to(goal, loop.folder, loop.backend, today=lambda: loop.today))
    assert loop.backend.done == []
    asyncio.run(apply_to(goal, loop.folder, loop.backend, today=lambda: loop.today, ignore_budget=True))
    assert loop.once().outcome == "steady"


def test_while_a_change_waits_all_else_is_mended(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, windows_s=WEEKEND)
    goal = changed(loop)
    loop.once(goal)
    assert loop.once(goal).actions == ()
    # the router
    loop.backend.router.settings = None
    assert loop.once(goal).actions == ("set_routes router",)
    assert loop.once(goal).actions == ()
    # one that hangs leaves the routes and comes back into them
    loop.backend.engines["qwen-0"].silent = True
    for _ in range(6):
        loop.once(goal, later_s=10.0)
    assert not loop.backend.engines["qwen-0"].silent
    assert {route.served_name: len(route.backends) for route in loop.backend.router.routes} == {"llama": 2, "mistral": 1, "qwen": 1}
    assert loop.once(goal).actions == ()


def test_a_wanted_stray_whose_start_waits_is_left_alone_and_written_about_once(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, windows_s=WEEKEND)
    # on the GPU of qwen-0, which may not go yet
    wanted = engine("zephyr-0", 3009, gpu=2).model_copy(update={"mode": "exclusive"})
    goal = loop.plan(engine("llama-0", 3000), engine("llama-1", 3001, gpu=1), wanted)
    loop.backend.engines["zephyr-0"] = Engine(77, loop.backend.wanted_hash(wanted), ("zephyr",))
    loop.once(goal)
    lines = loop.folder.journal_path.read_text().count("\n")
    for _ in range(3):
        assert loop.once(goal).actions == ()
    assert loop.folder.journal_path.read_text().count("\n") == lines
    assert loop.backend.engines["zephyr-0"].pid == 77


def test_a_resumed_apply_is_not_held_up_by_what_it_has_done_already(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, windows_s=WEEKEND)
    # mistral-0 takes the GPU of qwen-0 for itself
    mistral = engine("mistral-0", 3005, gpu=2).model_copy(update={"mode": "exclusive"})
    plan = loop.plan(engine("llama-0", 3000), engine("llama-1", 3001, gpu=1), mistral)
    loop.backend.fails = lambda name: "crashed" if name == "mistral-0" else None
    with pytest.raises(StartError):
        asyncio.run(apply_to(plan, loop.folder, loop.backend, today=lambda: datetime(2026, 1, 3, 2, 30, tzinfo=UTC)))
    assert "qwen-0" not in loop.backend.engines
    loop.backend.fails = lambda _: None
    asyncio.run(apply_to(plan, loop.folder, loop.backend, today=lambda: loop.today))
    assert "mistral-0" in loop.backend.engines


def test_a_sleeper_serves_nobody_and_is_woken_at_any_time(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "state", budget=DisruptionBudget(windows_s=WEEKEND))
    loop.apply(sleeper("llama-0", 3000), engine("qwen-0", 3002, gpu=2))
    loop.backend.engines["llama-0"].load = EngineLoad(0, 0, 0.0, 0, 0, asleep=1)
    report = loop.once()
    assert "wake llama-0" in report.actions
    assert report.drift == ()
