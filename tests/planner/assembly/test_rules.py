from __future__ import annotations

from typing import Any

import pytest

from planner.check.rules import rule_problems
from planner.plan import Desired, Rules, State
from planner.spec import SpecError
from tests.fleets import fleet, workload
from ullage.planning.plan import plan_fleet

TEAMS = {"small": "red", "middle": "blue", "large": "red"}


def _desired(**changes: Any) -> Desired:
    return plan_fleet(fleet(**changes), State()).plan.desired


def _of_teams(**changes: Any) -> Desired:
    workloads = {name: workload(name, team=team) for name, team in TEAMS.items()}
    return _desired(workloads=workloads, policy={"isolate_teams": "true"}, **changes)


def _neighbours(desired: Desired) -> list[set[str]]:
    served = {replica.name: replica.served_name for replica in desired.replicas}
    return [{served[name] for name in gpu.replicas} for gpu in desired.gpus if gpu.replicas]


def _with(desired: Desired, **changes: Any) -> str:
    return "\n".join(rule_problems(desired.model_copy(update=changes)))


def _rules(desired: Desired, of: str, **changes: Any) -> Rules:
    assert desired.rules is not None
    models = tuple(model.model_copy(update=changes if model.served_name == of else {}) for model in desired.rules.models)
    return desired.rules.model_copy(update={"models": models})


def test_teams_share_gpus_unless_they_are_kept_apart() -> None:
    assert _neighbours(_desired()) == [{"small", "middle", "large"}]
    apart = _neighbours(_of_teams())
    assert sorted(map(sorted, apart)) == [["large", "small"], ["middle"]]


def test_teams_are_kept_apart_on_mig_as_well() -> None:
    pools = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h", "mig": "repartition"}}
    for together in _neighbours(_of_teams(pools=pools)):
        assert len({TEAMS[name] for name in together}) == 1


def test_teams_that_share_replicas_cannot_be_kept_apart() -> None:
    workloads = {"one": workload("small", team="red"), "two": workload("small")}
    with pytest.raises(SpecError, match="no team would share the replicas of small with one of red"):
        fleet(workloads=workloads, policy={"isolate_teams": "true"})
    fleet(workloads={"one": workload("small", team="red"), "two": workload("small", isolate="true")}, policy={"isolate_teams": "true"})


def test_the_checker_judges_pins_neighbours_teams_numbers_and_money() -> None:
    desired = _desired()
    assert _with(desired) == ""
    faults: dict[str, dict[str, Any]] = {
        "is in pool h100, small may only be in a100": {"rules": _rules(desired, "small", pools=("a100",))},
        "large may not share a GPU with small (not_with)": {"rules": _rules(desired, "small", not_with=("large",))},
        "large: 1 replicas, at most 0": {"rules": _rules(desired, "large", max_replicas=0)},
        "cost_usd_per_h says 1, the GPUs and nodes in use cost 3": {"cost_usd_per_h": 1.0},
        "which the rules of the plan do not know": {"rules": _rules(desired, "small", served_name="other")},
    }
    for said, change in faults.items():
        assert said in _with(desired, **change)
    teams = _rules(desired, "small", team="red").model_copy(update={"isolate_teams": True})
    assert "large of team None shares it with small of team red" in _with(desired, rules=teams)


def _cost_gap(desired: Desired) -> float:
    return next(tier.gap_fraction for tier in desired.certificate.tiers if tier.goal == "cost_usd_per_h")


def test_whole_nodes_are_paid_and_the_bound_says_so() -> None:
    pools = {
        "h100": {
            "gpu": "H100",
            "nodes": 1,
            "gpus_per_node": 4,
            "price": "3 USD/h",
            "ownership": "rentable",
            "min_nodes": "1",
            "max_nodes": "3",
            "sharing": ["exclusive"],
        }
    }
    desired = _desired(pools=pools, workloads={"large": workload("large", "1/s", min_replicas="6")})
    assert len({replica.node for replica in desired.replicas}) == 2
    assert desired.cost_usd_per_h == pytest.approx(24.0)
    assert _cost_gap(desired) == 0.0
    idle = _desired(pools=pools, workloads={"large": workload("large", "1/s")})
    assert idle.cost_usd_per_h == pytest.approx(12.0)
    assert _cost_gap(idle) == 0.0
