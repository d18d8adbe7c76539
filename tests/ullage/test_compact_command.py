"""`ullage compact`: within its budget, for no more money, with all served; and what it says where nothing helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.plan import Start, State, Stop, as_applied, plan_from_json, to_json
from tests.fleets import fleet, workload
from tests.ullage.commands import ullage, write_fleet, write_plan
from tests.ullage.scattered import GATHERED, SCATTERED, left, running, running_plan, written
from ullage.planning.compacting import MoveBudget, compact_fleet, largest_free_mib, unusable_gpus_of
from ullage.planning.frontier import FrontierPoint
from ullage.planning.plan import plan_fleet


@pytest.fixture
def scattered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a fleet whose free capacity is scattered, and the plan that runs."""
    monkeypatch.chdir(tmp_path)
    write_plan(tmp_path / "before.json", running_plan(SCATTERED))
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(written(SCATTERED)), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("budget", [MoveBudget(0), MoveBudget(1), MoveBudget(3), MoveBudget(8, 15.0), MoveBudget(8, 0.5)])
def test_the_budget_holds_and_nothing_gets_worse(seed: int, budget: MoveBudget) -> None:
    compacted = compact_fleet(left(seed), running(seed), budget)
    before, after = compacted.before.desired, compacted.after.desired
    stops = [action for action in compacted.after.actions if isinstance(action, Stop)]
    starts = [action for action in compacted.after.actions if isinstance(action, Start)]
    assert max(len(stops), len(starts)) <= budget.replicas
    if budget.load_gib is not None:
        assert FrontierPoint("", compacted.after).loads_gib <= budget.load_gib
    assert after.cost_usd_per_h <= before.cost_usd_per_h
    assert sorted(item.served_name for item in after.replicas) == sorted(item.served_name for item in before.replicas)
    for then, now in zip(after.workloads, before.workloads, strict=True):
        assert then.name == now.name
        assert then.unserved_rps == pytest.approx(now.unserved_rps)
    figures = [(unusable_gpus_of(plan), plan.desired.gpus_used) for plan in (compacted.after, compacted.before)]
    assert figures[0] < figures[1] if compacted.helps else figures[0] == figures[1]
    assert compacted.helps is bool(starts)
    assert largest_free_mib(compacted.after) >= largest_free_mib(compacted.before)


def test_it_says_what_moves_and_what_that_frees_and_plan_and_apply_agree(scattered: Path) -> None:
    result = ullage("compact", "--prior", "before.json", "--moves", "2", "-o", "compact.json")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("1 replica moves, 14.2 GiB of weights to load, 3.00 USD/h\n")
    assert "fragmentation (GPUs that nobody could use)               0.68    0.38\n" in result.out
    assert "whole GPUs free                                          6       7\n" in result.out
    assert "+ start m1-1 on h100-0 GPU 0" in result.out
    assert result.out.endswith("wrote compact.json; next: ullage apply compact.json\n")
    assert ullage("show", "compact.json").code == 0
    plan = plan_from_json((scattered / "compact.json").read_text(encoding="utf-8"), "compact.json")
    assert plan.desired.certificate.solver == "compact"
    assert all(row.simulated for row in plan.desired.workloads)
    # once that is applied nothing is left to do, neither for compact nor for plan
    again = ullage("compact", "--prior", "compact.json")
    assert again.out == "Within 3 moves nothing brings free capacity together: fragmentation stays 0.38 GPUs.\n"
    assert ullage("plan", "--no-verify", "--prior", "compact.json", "--detailed-exitcode").code == 0


def test_where_nothing_helps_nothing_is_written(scattered: Path) -> None:
    for budget, words in ((("--moves", "0"), "0 moves"), (("--moves", "1", "--load", "2"), "1 move and 2 GiB of weights")):
        result = ullage("compact", "--prior", "before.json", *budget, "-o", "compact.json")
        assert (result.code, result.err) == (0, "")
        assert result.out == f"Within {words} nothing brings free capacity together: fragmentation stays 0.68 GPUs.\n"
    assert not (scattered / "compact.json").exists()
    assert not compact_fleet(left(GATHERED), running(GATHERED), MoveBudget()).helps


def test_two_runs_give_the_same_bytes() -> None:
    plans = [to_json(compact_fleet(left(SCATTERED), running(SCATTERED), MoveBudget()).after) for _ in range(2)]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(("option", "value"), [("--moves", "-1"), ("--load", "-0.5"), ("--load", "nan")])
def test_a_budget_below_zero_is_refused(option: str, value: str, scattered: Path) -> None:
    result = ullage("compact", "--prior", "before.json", option, value)
    assert result.code == 1
    assert result.err.startswith(f"error: {option} {value}: give ")


def test_where_nothing_runs_or_something_else_does(scattered: Path) -> None:
    nothing = ullage("compact")
    assert nothing.code == 1
    assert nothing.err.startswith("error: nothing runs, so there is nothing to compact")
    write_fleet(scattered / "fleet.yaml")
    other = ullage("compact", "--prior", "before.json")
    assert other.code == 1
    assert "error: what runs is not as this fleet asks for it (m" in other.err
    (scattered / ".ullage").mkdir()
    (scattered / ".ullage" / "state.json").write_text("{", encoding="utf-8")
    unreadable = ullage("compact")
    assert unreadable.code == 1
    assert "state.json" in unreadable.err


@pytest.mark.parametrize("asked", [{"tolerate": "1 node"}, {"spread": "nodes", "min_replicas": 2}], ids=str)
def test_replicas_that_must_be_apart_stay_apart(asked: dict[str, Any]) -> None:
    pools = {"h100": {"gpu": "H100-SXM-80GB", "nodes": 2, "gpus_per_node": 2, "price": "3 USD/h"}}
    spec = fleet(pools=pools, workloads={name: workload(name, **asked) for name in ("small", "middle")})
    compacted = compact_fleet(spec, as_applied(plan_fleet(spec, State()).plan), MoveBudget(4))
    assert compacted.after.desired.cost_usd_per_h <= compacted.before.desired.cost_usd_per_h
    for name in ("small", "middle"):
        assert len({item.node for item in compacted.after.desired.replicas if item.served_name == name}) == 2
    assert all(not loss.unserved_rps for loss in compacted.after.desired.node_losses)
