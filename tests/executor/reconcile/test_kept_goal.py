"""Which plan is kept: the one that is asked for where it can be used, else the last good one."""

from __future__ import annotations

import asyncio

import pytest

from executor.applying.destroy import destroy
from executor.errors import ExecutorError
from executor.state.folder import StateFolder
from executor.state.journal import Journal
from planner.plan import Plan, State, plan_hash
from tests.executor.reconcile.loops import Loop, two
from tests.executor.worlds import engine


def test_a_new_goal_is_led_to_and_noted_as_applied(loop: Loop) -> None:
    loop.apply(*two())
    one, other = two()
    goal = loop.plan(one, engine("mistral-0", 3002, gpu=2), state=loop.folder.load())
    report = loop.once(goal)
    assert (report.outcome, report.drift) == ("changed", ())
    state = loop.folder.load()
    assert (state.serial, [replica.name for replica in state.replicas]) == (2, ["llama-0", "mistral-0"])
    assert (loop.folder.plans / "00000002.json").exists()
    assert loop.once().outcome == "steady"
    assert other.name not in loop.backend.engines


def test_a_plan_of_another_fleet_is_refused(loop: Loop) -> None:
    loop.apply(*two())
    plan = loop.plan(*two())
    elsewhere = plan.desired.model_copy(
        update={"nodes": tuple(node.model_copy(update={"name": f"other-{node.name}"}) for node in plan.desired.nodes)}
    )
    report = loop.once(plan.model_copy(update={"desired": elsewhere}))
    assert report.outcome == "failed"
    assert "is of another fleet: its nodes are other-" in report.failures[0]
    assert loop.backend.done == []


def test_a_goal_that_cannot_be_read_is_told_and_the_last_one_is_kept(loop: Loop) -> None:
    loop.apply(*two())
    loop.backend.engines["llama-0"].alive = False

    def unreadable() -> Plan | None:
        raise ExecutorError("plan.json: cannot be read")

    report = asyncio.run(loop.reconciler.once(unreadable))
    assert (report.failures, report.actions) == (("plan.json: cannot be read",), ("start llama-0",))


def test_without_a_plan_there_is_nothing_to_keep(loop: Loop) -> None:
    report = loop.once()
    assert (report.outcome, report.actions) == ("steady", ())
    assert "no plan was applied" in report.drift[0]
    # a wrong name does not make a state folder
    assert not loop.root.exists()


def test_what_a_destroy_took_away_does_not_come_back(loop: Loop) -> None:
    loop.apply(*two())
    destroy(loop.folder.root, open_backend=lambda *_: loop.backend)
    assert loop.backend.engines == {}
    report = loop.once()
    assert report.actions == ()
    assert StateFolder(loop.root).load().replicas == ()


def test_repairs_do_not_count_as_the_plan_of_a_later_apply(loop: Loop) -> None:
    plan = loop.apply(*two())
    loop.backend.engines["llama-0"].alive = False
    loop.once()
    journal = Journal(loop.folder.journal_path)
    assert journal.reached() == plan_hash(plan)
    assert journal.unfinished() is None


def test_a_goal_that_fails_its_preflight_does_not_replace_the_last_good_one(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.apply(*two())
    kept = loop.folder.goal_path.read_bytes()
    goal = loop.plan(*two(), engine("mistral-0", 3005, gpu=2))

    def taken(plan: Plan, state: State) -> None:
        raise ExecutorError("replica mistral-0: 127.0.0.1:3005 is taken by another program")

    monkeypatch.setattr(loop.backend, "preflight", taken)
    loop.backend.engines["llama-0"].alive = False
    report = loop.once(goal)
    assert report.failures == ("replica mistral-0: 127.0.0.1:3005 is taken by another program",)
    assert report.actions == ("start llama-0",)
    assert loop.folder.goal_path.read_bytes() == kept
    monkeypatch.undo()
    assert loop.once(goal).drift == ()


def test_without_a_safe_way_to_the_plan_what_ran_before_is_mended(loop: Loop) -> None:
    loop.apply(*two(), engine("zephyr-0", 3007, gpu=3))
    # llama-0 moves to another port, and mistral-0 takes its old one; but llama-0 may not be started now
    moved = engine("llama-0", 3010)
    goal = loop.plan(moved, two()[1], engine("zephyr-0", 3007, gpu=3), engine("mistral-0", 3000, gpu=2))
    loop.reconciler._with.attempts.failed("llama-0", loop.backend.wanted_hash(moved), "did not start", loop.now_s)
    loop.backend.engines["zephyr-0"].alive = False
    report = loop.once(goal)
    assert report.actions == ("start zephyr-0",)
    assert any(line.startswith("there is no safe way to the plan now, and what ran before is kept: ") for line in report.drift)
    assert loop.once(goal).actions == ()
    assert loop.once(goal, later_s=6.0).drift == ()
