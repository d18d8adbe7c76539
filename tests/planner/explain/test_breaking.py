"""Breaking points: at the factor the goal breaks, just below it holds; nodes are named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.explain.breaking import MOST_FACTOR, SLO_QUANTILE, limit_broken, smallest_factor
from planner.plan import Limit, State, WorkloadForecast
from planner.sizing.blueprint import build
from tests.fleets import fleet, workload
from ullage.planning.plan import plan_fleet


def rows(**changes: Any) -> dict[str, WorkloadForecast]:
    return {row.name: row for row in plan_fleet(fleet(**changes), State()).plan.desired.workloads}


def test_every_served_workload_has_one_and_its_demand_can_grow_to_it() -> None:
    for row in rows().values():
        assert row.breaking is not None
        assert row.breaking.demand_factor is None or row.breaking.demand_factor > 1.0
        assert row.breaking.interference_factor is None or row.breaking.interference_factor > 1.0
        assert row.breaking.nodes == ("h100-0",)


def test_what_is_not_served_is_broken_already() -> None:
    assert rows(workloads={"large": workload("large", "500/s")})["large"].breaking is None


def test_a_looser_goal_of_the_same_model_breaks_no_earlier() -> None:
    found = rows(workloads={"tight": workload("large"), "loose": workload("large", **{"class": "background"})})
    tight, loose = found["tight"].breaking, found["loose"].breaking
    assert tight is not None
    assert loose is not None
    assert (loose.interference_factor or MOST_FACTOR) >= (tight.interference_factor or MOST_FACTOR)


def test_the_loss_of_one_of_two_nodes_is_borne_when_each_replica_carries_all() -> None:
    pools = {"h100": {"gpu": "H100", "nodes": 2, "gpus_per_node": 1, "price": "3 USD/h", "sharing": ["exclusive"]}}
    row = rows(pools=pools, workloads={"small": workload("small", min_replicas=2)})["small"]
    assert row.breaking is not None
    assert row.breaking.nodes == ()


def test_invariant_14_goals_hold_just_below_the_factor_and_break_at_it() -> None:
    blueprint = build(fleet(), State())
    candidate = next(item for item in blueprint.candidates if item.mode == "time_shared")
    slo = candidate.group.slo

    def breaks(factor: float) -> Limit | None:
        return limit_broken(candidate, candidate.capacity_rps * factor, slo, SLO_QUANTILE)

    factor, limit = smallest_factor(breaks)
    assert factor is not None
    assert breaks(factor) == limit
    assert breaks(factor * 0.99) is None


@given(st.floats(1.01, 100.0))
def test_the_smallest_factor_is_found_to_a_thousandth(edge: float) -> None:
    factor, limit = smallest_factor(lambda value: "ttft" if value >= edge else None)
    if edge > MOST_FACTOR:
        assert (factor, limit) == (None, None)
    else:
        assert factor == pytest.approx(edge, rel=1e-3)
        assert limit == "ttft"
