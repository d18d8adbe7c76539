"""Applied plans are kept, listed, and planned back to through the same checker."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.state.applied_plans import applied_plans, keep
from executor.state.folder import HISTORY_LENGTH, StateFolder
from executor.state.journal import Journal
from planner.plan import Plan, State, as_applied, plan_from_json, plan_hash, to_json
from tests.fleets import fleet, workload
from tests.ullage.commands import ullage
from ullage.planning.plan import plan_fleet


def _plan(state: State, large_rate: str) -> Plan:
    """The sample fleet with another rate of its largest model."""
    return plan_fleet(fleet(workloads={"small": workload("small", "1/s"), "large": workload("large", large_rate)}), state).plan


@pytest.fixture
def applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, Plan]:
    """Two plans applied one after the other from .ullage, as far as the folder knows."""
    monkeypatch.chdir(tmp_path)
    folder = StateFolder(tmp_path / ".ullage")
    folder.create()
    first = _plan(State(), "0.5/s")
    second = _plan(as_applied(first), "25/s")
    for plan, at in ((first, "2026-11-29T08:00:00.000+00:00"), (second, "2026-11-29T09:00:00.000+00:00")):
        journal = Journal(folder.journal_path, now=lambda at=at: at)  # type: ignore[misc]
        journal.begin(plan_hash(plan), plan.prior.serial)
        journal.end(ok=True)
        state = as_applied(plan)
        folder.save(state)
        keep(folder, plan, state.serial)
    return first, second


def test_history_lists_what_was_applied_and_when(applied: tuple[Plan, Plan]) -> None:
    head, *rows = ullage("history").out.splitlines()
    assert head.split()[0] == "state"
    assert [row.split()[0] for row in rows] == ["1", "2"]
    assert "2026-11-29 08:00:00" in rows[0]
    assert [row.endswith("now") for row in rows] == [False, True]
    assert f"{applied[1].desired.cost_usd_per_h:.2f}" in rows[1]


def test_undo_plans_back_to_the_desired_world_before(applied: tuple[Plan, Plan]) -> None:
    first, second = applied
    assert first.desired.replicas != second.desired.replicas
    result = ullage("undo", "-o", "back.json")
    assert (result.code, result.err) == (0, "")
    assert "back to state 1" in result.out
    back = plan_from_json(Path("back.json").read_text(encoding="utf-8"), "back.json")
    assert back.desired == first.desired
    assert back.prior.serial == 2
    assert back.actions
    assert as_applied(back).replicas == as_applied(first).replicas
    assert ullage("undo", "1", "-o", "again.json").out.replace("again.json", "back.json") == result.out
    assert "No changes" in ullage("undo", "2").out


def test_what_cannot_be_undone_to_says_why(applied: tuple[Plan, Plan]) -> None:
    assert applied
    unknown = ullage("undo", "7")
    assert (unknown.code, "the plan of state 7 is not kept; kept are those of states 1, 2" in unknown.err) == (1, True)
    Path(".ullage/plans/00000001.json").write_text("{}", encoding="utf-8")
    assert "cannot be read" in ullage("history").out
    damaged = ullage("undo")
    assert (damaged.code, "the plan of state 1 cannot be read" in damaged.err) == (1, True)


def test_a_folder_without_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ullage("history").out == "no plan was applied from this state folder\n"
    assert "kept are those of states none" in ullage("undo").err


def test_the_last_plans_are_kept_and_the_first_of_a_state_stays(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.create()
    plan = _plan(State(), "0.5/s")
    for serial in range(1, HISTORY_LENGTH + 4):
        keep(folder, plan, serial)
    keep(folder, plan.model_copy(update={"actions": ()}), HISTORY_LENGTH + 3)
    kept = applied_plans(folder)
    assert [item.serial for item in kept] == list(range(4, HISTORY_LENGTH + 4))
    assert all(item.plan == plan for item in kept)
    # a state folder that was begun anew counts from 1 again
    other = _plan(State(), "25/s")
    keep(folder, other, HISTORY_LENGTH + 3)
    assert applied_plans(folder)[-1].plan == other
    keep(folder, other, 5)
    assert [item.serial for item in applied_plans(folder)] == [4, 5]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(applied: tuple[Plan, Plan]) -> None:
    first, _ = applied
    before = {path: path.read_bytes() for path in Path(".ullage").rglob("*") if path.is_file()}
    assert ullage("undo", "-o", "back.json").code == 0
    result = ullage("apply", "back.json", "--dry-run", "--engine", "emulated")
    back = plan_from_json(Path("back.json").read_text(encoding="utf-8"), "back.json")
    count = len(back.actions)
    assert (result.code, result.out.splitlines()[-1]) == (0, f"dry run: {count} of {count} actions would be done; nothing was")
    Path("first.json").write_text(to_json(first), encoding="utf-8")
    stale = ullage("apply", "first.json", "--dry-run", "--engine", "emulated")
    assert (stale.code, "plan again" in stale.err) == (1, True)
    assert {path: path.read_bytes() for path in Path(".ullage").rglob("*") if path.is_file()} == before


def test_a_dry_run_after_an_apply_that_was_cut_off_counts_what_is_left(applied: tuple[Plan, Plan]) -> None:
    assert applied
    assert ullage("undo", "-o", "back.json").code == 0
    back = plan_from_json(Path("back.json").read_text(encoding="utf-8"), "back.json")
    journal = Journal(Path(".ullage/journal.jsonl"))
    journal.begin(plan_hash(back), 2)
    journal.intent(0, back.actions[0].kind, "")
    journal.result(0, ok=True)
    last = ullage("apply", "back.json", "--dry-run", "--engine", "emulated").out.splitlines()[-1]
    count = len(back.actions)
    assert last == f"dry run: {count - 1} of {count} actions would be done; an earlier apply of this plan did 1; nothing was"


def test_a_target_is_a_part_of_the_plan_and_what_is_no_target_is_told(applied: tuple[Plan, Plan]) -> None:
    del applied
    assert ullage("undo", "-o", "back.json").code == 0
    whole = ullage("apply", "back.json", "--dry-run", "--engine", "emulated").out
    part = ullage("apply", "back.json", "--target", "small", "--dry-run", "--engine", "emulated")
    assert part.code == 0, part.err
    assert "large" in whole
    assert "start large" not in part.out
    assert "0 of 0 actions would be done" in part.out
    unknown = ullage("apply", "back.json", "--target", "smal", "--dry-run", "--engine", "emulated")
    assert (unknown.code, unknown.err) == (
        1,
        "error: --target smal: no such model or replica in plan and state; did you mean small?\n",
    )
