"""diff and show --markdown as a user meets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.plan import Desired, Plan
from tests import sound_plans
from tests.plans import plan_of, replica, time_shared_plan
from tests.ullage.commands import ullage, write_plan
from ullage.planning.plan_change import change_between
from ullage.views.plan.diff_markdown import diff_markdown
from ullage.views.plan.replica_moves import replica_moves


def changed(plan: Plan, **fields: object) -> Plan:
    return plan.model_copy(update={"desired": plan.desired.model_copy(update=fields)})


def test_alike_plans_have_nothing_to_tell(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.json", sound_plans.shared())
    rehashed = changed(sound_plans.shared(), input_hashes={"fleet.yaml": "0" * 64}).model_copy(update={"actions": ()})
    other = write_plan(tmp_path / "other.json", rehashed)
    found = ullage("diff", plan, other, "--detailed-exitcode")
    assert (found.code, found.err) == (0, "")
    assert found.out.endswith("No actions: both plans run the same replicas in the same places.\n\nthe plans are alike\n")
    marked = ullage("diff", plan, other, "--markdown", "--detailed-exitcode")
    assert marked.code == 0
    assert "\n### Moves\n\nNone: " in marked.out
    assert "\n### Goals that change\n\nNone.\n" in marked.out


def test_a_difference_has_exit_code_2_only_when_it_is_asked_for(tmp_path: Path) -> None:
    plan = sound_plans.shared()
    dearer = changed(plan, cost_usd_per_h=plan.desired.cost_usd_per_h + 1)
    old, new = write_plan(tmp_path / "old.json", plan), write_plan(tmp_path / "new.json", dearer)
    assert ullage("diff", old, new).code == 0
    for more in ((), ("--markdown",)):
        assert ullage("diff", old, new, "--detailed-exitcode", *more).code == 2
    found = ullage("diff", old, new).out
    assert "change: +1.00 USD/h" in found
    assert found.endswith("differs in: cost_usd_per_h\n")


def test_every_part_of_a_plan_counts_but_the_hashes() -> None:
    plan = time_shared_plan()
    assert change_between(plan, changed(plan, warnings=("x",))).parts == ("warnings",)
    assert change_between(plan, changed(plan, input_hashes={})).parts == ()
    assert {"replicas", "gpus", "routes"} <= set(change_between(plan, plan_of((), gpu_count=2)).parts) <= set(Desired.model_fields)


def test_moves_say_from_where_to_where_and_why() -> None:
    stays, moves, grows = replica("a-0", "a"), replica("b-0", "b", args={"port": 8101}), replica("c-0", "c", gpus=(1,), args={"port": 8102})
    before = plan_of((stays, moves, grows, replica("d-0", "d", gpus=(1,), args={"port": 8103})), gpu_count=3)
    moved = replica("b-1", "b", gpus=(2,), args={"port": 8104})
    larger = replica("c-0", "c", gpus=(1,), args={"port": 8102, "max_num_seqs": 128})
    after = plan_of((stays, moved, larger, replica("e-0", "e", gpus=(2,), args={"port": 8105})), gpu_count=3)
    change = change_between(before, after)
    assert [(move.names, move.reason) for move in replica_moves(change)] == [
        (("b-0", "b-1"), "moves"),
        (("c-0",), "starts again: max_num_seqs 64 to 128"),
        (("d-0",), "not in the plan"),
        (("e-0",), "1.5 requests/s of e"),
    ]
    text = diff_markdown(change)
    assert "4 moves, 4 replicas in the end; 44.9 GiB of weights to load." in text
    assert "| `b-0`, `b-1` | `b` | `h100-0` GPU 0 | `h100-0` GPU 2 | 15.0 | moves |" in text
    assert "| `d-0` | `d` | `h100-0` GPU 1 | - | - | not in the plan |" in text
    assert "\n* c: UNAVAILABLE for up to " in text


def test_goals_and_risks_are_told_where_they_change() -> None:
    before = plan_of((replica("a-0", "a"), replica("b-0", "b", args={"port": 8101})), gpu_count=1)
    slower = before.desired.workloads[0].model_copy(update={"ttft_s": 0.4})
    new = slower.model_copy(update={"name": "extra", "rate_rps": 9.0})
    after = changed(before, workloads=(slower, new), warnings=("mind the gap",))
    text = diff_markdown(change_between(before, after))
    assert "| `a-chat` | 1.50 | 210 / 500 ms → 400 / 500 ms | 31 / 50 ms | 38% → 20% | - |" in text
    assert "| `b-chat` | gone (1.50) |" in text
    assert "| `extra` | new (9.00) |" in text
    assert "New:\n\n* warning: mind the gap\n\n1 risk as before." in text
    assert "Gone:\n\n* warning: mind the gap\n" in diff_markdown(change_between(after, before))


def test_show_prints_markdown_or_text(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.json", sound_plans.shared())
    marked = ullage("show", plan, "--markdown")
    assert (marked.code, marked.err) == (0, "")
    assert marked.out.startswith("## Plan: 3.00 USD/h, 1 of 2 GPUs\n\n**All demand is served.**\n")
    assert marked.out != ullage("show", plan).out


@pytest.mark.parametrize("missing", ["old.json", "new.json"])
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, missing: str) -> None:
    for name in {"old.json", "new.json"} - {missing}:
        write_plan(tmp_path / name, sound_plans.shared())
    found = ullage("diff", tmp_path / "old.json", tmp_path / "new.json")
    assert (found.code, found.out) == (1, "")
    assert f"{missing}: there is no such file; `ullage plan fleet.yaml -o plan.json` makes a plan" in found.err
    (tmp_path / missing).write_text("[]", encoding="utf-8")
    assert ullage("diff", tmp_path / "old.json", tmp_path / "new.json").err.startswith(f"error: {tmp_path / missing}: ")
