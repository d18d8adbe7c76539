"""The tool dies after each of its durable effects, one after the other; passes of a new loop then lead to the plan."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from executor.applying.apply import apply_to
from executor.state.applied_plans import applied_plans
from executor.state.goal import goal_of
from executor.state.journal import Journal
from planner.plan import Plan, Replica, plan_hash
from tests.executor.faults.killing import Effects, Killed, counted, killable
from tests.executor.reconcile.loops import Loop
from tests.executor.worlds import engine

STAYS = engine("zephyr-0", 3002, gpu=2)
BEFORE = (engine("llama-0", 3000), engine("llama-1", 3010, gpu=3), engine("qwen-0", 3001, gpu=1), STAYS)
# llama-0 is replaced, llama-1 goes, qwen-0 goes and mistral-0 takes its place
AFTER = (engine("llama-0", 3003), engine("mistral-0", 3001, gpu=1), STAYS)

Prepare = Callable[[Loop], Plan]
Work = Callable[[Loop, Plan], None]


def nothing_yet(loop: Loop) -> Plan:
    return loop.plan(*BEFORE)


def other_plan(loop: Loop) -> Plan:
    loop.apply(*BEFORE)
    return loop.plan(*AFTER)


def broken(loop: Loop) -> Plan:
    """One dead, one with another command, one that nobody knows, and a router with routes of its own."""
    plan = loop.apply(*BEFORE)
    loop.backend.engines["llama-0"].alive = False
    loop.backend.engines["qwen-0"].command = "something else"
    loop.backend.engines["old-0"] = replace(loop.backend.engines["llama-1"], pid=99)
    loop.backend.router.routes = ()
    return plan


def by_apply(loop: Loop, plan: Plan) -> None:
    asyncio.run(apply_to(plan, loop.folder, loop.backend))


def by_pass(loop: Loop, plan: Plan) -> None:
    assert loop.once(plan).failures == ()


def world(root: Path) -> tuple[Loop, Effects]:
    backend, effects = killable()
    return Loop(root, backend), effects


def killed(root: Path, prepare: Prepare, work: Work, left: int) -> tuple[Loop, Plan]:
    """A world whose tool died after that many effects, and the plan that it was on its way to."""
    loop, effects = world(root)
    with counted(effects, None):
        plan = prepare(loop)
    with counted(effects, left), pytest.raises(Killed):
        work(loop, plan)
    loop.reconciler = loop.fresh()
    return loop, plan


def assert_as_planned(loop: Loop, plan: Plan, where: str) -> None:
    state, desired = loop.folder.load(), plan.desired
    assert (state.replicas, state.routes, state.gpus, state.nodes) == (desired.replicas, desired.routes, desired.gpus, desired.nodes), where
    assert set(loop.backend.engines) == {replica.name for replica in desired.replicas}, where
    assert all(seen.alive for seen in loop.backend.observe().values()), where
    assert loop.backend.router.routes == desired.routes, where
    assert loop.once().outcome == "steady", where


CASES: list[tuple[str, Prepare, Work, tuple[Replica, ...]]] = [
    ("first apply", nothing_yet, by_apply, ()),
    ("apply", other_plan, by_apply, (STAYS,)),
    ("first pass", nothing_yet, by_pass, ()),
    ("pass to another plan", other_plan, by_pass, (STAYS,)),
    ("repairs", broken, by_pass, (STAYS, BEFORE[1])),
]


@pytest.mark.parametrize(("prepare", "work", "untouched"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_invariant_27_passes_after_a_death_at_any_moment_lead_to_the_plan(
    tmp_path: Path, prepare: Prepare, work: Work, untouched: tuple[Replica, ...]
) -> None:
    loop, effects = world(tmp_path / "whole")
    with counted(effects, None):
        plan = prepare(loop)
    with counted(effects, None):
        work(loop, plan)
        seen = list(effects.seen)
    assert_as_planned(loop, plan, "not killed")
    assert len(seen) > 30
    for left in range(len(seen)):
        where = f"killed before effect {left} of {len(seen)}: {seen[left]}"
        loop, plan = killed(tmp_path / str(left), prepare, work, left)
        pids = {name: found.pid for name, found in loop.backend.observe().items()}
        with counted(effects, None):
            # before its goal is on disk, a loop without a plan file keeps what was kept before
            goal = None if goal_of(loop.folder) == plan else plan
            report = loop.once(goal)
            assert (report.failures, report.drift) == ((), ()), where
            assert_as_planned(loop, plan, where)
        assert all(loop.backend.engines[item.name].pid == pids[item.name] for item in untouched), where
        journal = Journal(loop.folder.journal_path)
        assert (journal.unfinished(), journal.reached()) == (None, plan_hash(plan)), where
        kept = applied_plans(loop.folder)[-1]
        assert (kept.serial, kept.plan) == (loop.folder.load().serial, plan), where
        shutil.rmtree(loop.root)


@pytest.mark.parametrize("prepare", [nothing_yet, other_plan])
def test_an_apply_after_the_death_of_a_loop_at_any_moment_leads_to_the_plan(tmp_path: Path, prepare: Prepare) -> None:
    loop, effects = world(tmp_path / "whole")
    with counted(effects, None):
        plan = prepare(loop)
    with counted(effects, None):
        by_pass(loop, plan)
        seen = list(effects.seen)
    for left in range(len(seen)):
        loop, plan = killed(tmp_path / str(left), prepare, by_pass, left)
        with counted(effects, None):
            by_apply(loop, loop.plan(*plan.desired.replicas))
            assert_as_planned(loop, plan, f"killed before effect {left} of {len(seen)}: {seen[left]}")
        shutil.rmtree(loop.root)
