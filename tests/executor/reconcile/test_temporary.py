"""The loop carries out changes with a copy as apply does, and does without where the copy cannot start or the change has to wait."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from executor.applying.apply import apply_to
from executor.errors import StartError
from planner.disruption_budget import DisruptionBudget
from planner.plan import Plan, Replica
from tests.executor.reconcile.loops import Loop
from tests.executor.worlds import engine

WEEKEND = ((5 * 86_400.0 + 7_200.0, 5 * 86_400.0 + 21_600.0),)
COPY = "llama-0-meanwhile"
WITH_COPY = (f"start {COPY}", "drain llama-0", "stop llama-0", "start llama-0", f"drain {COPY}", f"stop {COPY}")
WITHOUT = ("drain llama-0", "stop llama-0", "start llama-0")


def alone(length: int, found: Replica | None = None) -> Replica:
    """A replica that has its GPU for itself."""
    found = found if found is not None else engine("llama-0", 8100)
    return found.model_copy(update={"mode": "exclusive", "args": found.args.model_copy(update={"max_model_len": length})})


def loop_with(folder: Path, **limits: object) -> tuple[Loop, Plan]:
    """GPU 1 of three is free; the goal has another engine on GPU 0."""
    loop = Loop(folder / "state", budget=DisruptionBudget.model_validate(limits))
    qwen = engine("qwen-0", 8102, gpu=2)
    loop.apply(alone(4096), qwen)
    goal = loop.plan(alone(8192), qwen)
    assert [copy.name for copy in goal.temporary] == ["llama-0-meanwhile"]
    return loop, goal


def of_replicas(actions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(action for action in actions if "router" not in action)


def test_a_copy_serves_meanwhile(tmp_path: Path) -> None:
    loop, goal = loop_with(tmp_path)
    report = loop.once(goal)
    assert of_replicas(report.actions) == WITH_COPY
    assert all(any(route.served_name == "llama" and route.backends for route in routes) for routes in loop.backend.router.switches)
    assert set(loop.backend.engines) == {"llama-0", "qwen-0"}
    assert loop.once(goal).outcome == "steady"
    assert {item.name for item in loop.folder.load().replicas} == {"llama-0", "qwen-0"}


def test_a_copy_that_does_not_start_is_done_without(tmp_path: Path) -> None:
    loop, goal = loop_with(tmp_path)
    loop.backend.fails = lambda name: "free_memory" if name.endswith("meanwhile") else None
    report = loop.once(goal)
    assert report.failures
    assert of_replicas(report.actions) == WITHOUT
    assert set(loop.backend.engines) == {"llama-0", "qwen-0"}
    assert loop.once(goal).outcome == "steady"


def test_what_has_to_wait_does_not_wait_with_a_copy(tmp_path: Path) -> None:
    loop, goal = loop_with(tmp_path, windows_s=WEEKEND)
    assert of_replicas(loop.once(goal).actions) == ()
    assert set(loop.backend.engines) == {"llama-0", "qwen-0"}
    loop.today = datetime(2026, 1, 3, 2, 30, tzinfo=UTC)
    assert of_replicas(loop.once(goal).actions) == WITH_COPY


def test_a_budget_that_a_dip_would_break_is_kept_with_a_copy(tmp_path: Path) -> None:
    loop, goal = loop_with(tmp_path, min_available={"llama": 1})
    assert of_replicas(loop.once(goal).actions) == WITH_COPY


def test_apply_does_it_too_and_stops_before_anything_where_the_copy_does_not_start(tmp_path: Path) -> None:
    loop, goal = loop_with(tmp_path)
    loop.backend.fails = lambda name: "free_memory" if name.endswith("meanwhile") else None
    with pytest.raises(StartError):
        asyncio.run(apply_to(goal, loop.folder, loop.backend))
    assert loop.backend.engines["llama-0"].alive
    loop.backend.fails = lambda _: None
    asyncio.run(apply_to(goal, loop.folder, loop.backend))
    assert set(loop.backend.engines) == {"llama-0", "qwen-0"}
    assert loop.folder.load().replicas == goal.desired.replicas


def test_an_interrupted_change_is_ended_by_the_next_pass(tmp_path: Path) -> None:
    """The copy has started, and then the process died: the state names it, the plan does not."""
    loop, goal = loop_with(tmp_path)
    loop.backend.fails = lambda name: "free_memory" if name == "llama-0" else None
    with pytest.raises(StartError):
        asyncio.run(apply_to(goal, loop.folder, loop.backend))
    assert {item.name for item in loop.folder.load().replicas} == {"llama-0-meanwhile", "qwen-0"}
    loop.backend.fails = lambda _: None
    report = loop.once(goal)
    assert of_replicas(report.actions) == ("start llama-0", "drain llama-0-meanwhile", "stop llama-0-meanwhile")
    assert loop.once(goal).outcome == "steady"


def loop_with_two(folder: Path, **limits: object) -> tuple[Loop, Plan]:
    """Two engines are to be replaced where they are, and one GPU is free."""
    loop = Loop(folder / "state", budget=DisruptionBudget.model_validate(limits))
    beside, far = engine("qwen-0", 8101, gpu=1), engine("other-0", 8102, gpu=3)
    loop.apply(alone(4096), alone(4096, beside), far)
    goal = loop.plan(alone(8192), alone(8192, beside), far)
    assert [copy.name for copy in goal.temporary] == ["llama-0-meanwhile", "qwen-0-meanwhile"]
    assert {copy.gpus for copy in goal.temporary} == {(2,)}
    return loop, goal


def test_models_change_one_after_another_on_one_free_gpu(tmp_path: Path) -> None:
    loop, goal = loop_with_two(tmp_path)
    report = loop.once(goal)
    assert of_replicas(report.actions) == (*WITH_COPY, *(action.replace("llama", "qwen") for action in WITH_COPY))
    for name in ("llama", "qwen"):
        assert all(any(route.served_name == name and route.backends for route in routes) for routes in loop.backend.router.switches)
    assert loop.once(goal).outcome == "steady"


def test_each_batch_looks_whether_the_window_is_still_open(tmp_path: Path) -> None:
    """The rest waits for the next window, without a copy meanwhile."""
    loop, goal = loop_with_two(tmp_path, windows_s=WEEKEND)
    loop.today = datetime(2026, 1, 3, 5, 58, tzinfo=UTC)

    def too_late(name: str) -> None:
        if name == "llama-0":
            loop.today = datetime(2026, 1, 3, 6, 1, tzinfo=UTC)

    loop.backend.fails = too_late
    report = loop.once(goal)
    assert of_replicas(report.actions) == WITH_COPY
    assert any("maintenance window" in line for line in report.drift)
    assert set(loop.backend.engines) == {"llama-0", "qwen-0", "other-0"}
    loop.today = datetime(2026, 1, 4, 12, tzinfo=UTC)
    assert loop.once(goal).actions == ()
    loop.today = datetime(2026, 1, 10, 2, 30, tzinfo=UTC)
    assert of_replicas(loop.once(goal).actions) == tuple(action.replace("llama", "qwen") for action in WITH_COPY)
    assert loop.once(goal).outcome == "steady"


def test_who_is_protected_waits_and_the_batch_before_is_done(tmp_path: Path) -> None:
    loop, goal = loop_with_two(tmp_path, protected=["qwen"])
    report = loop.once(goal)
    assert of_replicas(report.actions) == WITH_COPY
    assert any("protected" in line for line in report.drift)
    assert set(loop.backend.engines) == {"llama-0", "qwen-0", "other-0"}


def test_a_dry_run_says_what_would_be_done_now(tmp_path: Path) -> None:
    """No more than a pass does: what waits for a window is told as such."""
    loop, goal = loop_with(tmp_path, windows_s=WEEKEND)
    waits = asyncio.run(loop.reconciler.once(lambda: goal, dry_run=True))
    assert not [line for line in waits.actions if "router" not in line and "routes" not in line]
    assert any("maintenance window" in line for line in waits.drift)
    loop.today = datetime(2026, 1, 3, 2, 30, tzinfo=UTC)
    would = asyncio.run(loop.reconciler.once(lambda: goal, dry_run=True))
    assert [line.partition(":")[0] for line in would.actions if "routes" not in line] == list(WITH_COPY)
    assert set(loop.backend.engines) == {"llama-0", "qwen-0"}
