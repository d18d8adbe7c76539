from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from planner.check.losses import loss_problems
from planner.plan import Plan, State
from planner.problem import Demand, Pattern, Pool, Problem, Shape, node_losses, placement_violations
from planner.spec import SpecError
from solvers.baselines import first_fit
from solvers.placement.physical import place
from solvers.solution import answer
from tests.fleets import fleet, workload
from tests.strategies import problems
from ullage.planning.plan import plan_fleet
from ullage.views.plan.plan_text import plan_text

POOL = Pool("p", nodes=2, gpus_per_node=2, memory_mib=100, price_microusd_per_h=10)
ONE = Shape("one", 0, 0, "exclusive", 50, 10)
OTHER = Shape("other", 1, 0, "exclusive", 50, 10)


def _plan(nodes: int, gpus_per_node: int = 2, **changes: Any) -> Plan:
    tolerant = {name: workload(name, tolerate="1 node") for name in ("small", "middle")}
    pools = {"h100": {"gpu": "H100", "nodes": nodes, "gpus_per_node": gpus_per_node, "price": "3 USD/h", **changes}}
    return plan_fleet(fleet(pools=pools, workloads={**tolerant, "large": workload("large")}), State()).plan


def test_replicas_of_a_tolerant_demand_are_spread_over_nodes() -> None:
    problem = Problem((POOL,), (Demand("a", (10,), tolerate_nodes=1), Demand("b", (20,))), (ONE, OTHER))
    solution = answer(problem, "test", [Pattern(0, (0,), 2), Pattern(0, (1,), 2)])
    placed = place(problem, solution)
    assert {item.node for item in placed if item.shape == 0} == {0, 1}
    assert [loss.missing_microrps for loss in node_losses(problem, placed)] == [0]
    assert placement_violations(problem, solution, placed) == ()


def test_parts_of_one_machine_are_lost_together() -> None:
    pools = (Pool("p", 1, 1, 100, 10, machines=(7,)), Pool("q", 1, 1, 100, 10, machines=(7,)))
    problem = Problem(pools, (Demand("a", (10,), tolerate_nodes=1),), (ONE, Shape("there", 0, 1, "exclusive", 50, 10)))
    placed = place(problem, answer(problem, "test", [Pattern(0, (0,)), Pattern(1, (1,))]))
    assert [loss.missing_microrps for loss in node_losses(problem, placed)] == [10]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems(gpus=8))
def test_a_loss_is_never_smaller_than_what_a_solution_counts(problem: Problem) -> None:
    solution = first_fit.solve(problem)
    for loss in node_losses(problem, place(problem, solution)):
        counted = max(0, problem.demands[loss.demand].peak_microrps - _all_but_the_largest(problem, solution.patterns, loss.demand))
        assert loss.missing_microrps >= counted


def _all_but_the_largest(problem: Problem, patterns: tuple[Pattern, ...], demand: int) -> int:
    shapes = [problem.shapes[index] for pattern in patterns for index in pattern.residents * pattern.count]
    own = [shape.capacity_microrps for shape in shapes if shape.demand == demand]
    return sum(own) - max(own)


def test_a_plan_survives_the_loss_of_any_node_and_says_what_that_costs() -> None:
    plan = _plan(nodes=2)
    desired = plan.desired
    assert {loss.served_name: loss.unserved_rps for loss in desired.node_losses} == {"middle": 0.0, "small": 0.0}
    for name in ("small", "middle"):
        assert len({replica.node for replica in desired.replicas if replica.served_name == name}) == 2
    assert desired.tolerance_cost_usd_per_h is not None
    assert desired.tolerance_cost_usd_per_h > 0
    assert "small: survived" in plan_text(plan)


def test_nodes_that_are_paid_whole_are_spread_over_as_well() -> None:
    plan = _plan(nodes=2, ownership="rentable")
    assert all(loss.unserved_rps == 0 for loss in plan.desired.node_losses)
    assert plan.desired.cost_usd_per_h == pytest.approx(12.0)


def test_one_node_cannot_be_lost_and_the_plan_says_so_and_serves_all_the_same() -> None:
    plan = _plan(nodes=1)
    assert [loss.unserved_rps for loss in plan.desired.node_losses] == [pytest.approx(1.0)] * 2
    assert all(row.unserved_rps == 0 for row in plan.desired.workloads)
    assert "small: NOT survived, without h100-0 1 requests/s cannot be served" in plan_text(plan)


def test_the_checker_counts_every_node_itself() -> None:
    desired = _plan(nodes=2).desired
    assert list(loss_problems(desired)) == []
    moved = tuple(replica.model_copy(update={"node": "h100-0"}) for replica in desired.replicas)
    found = list(loss_problems(desired.model_copy(update={"replicas": moved})))
    assert len(found) == 2
    assert "small: without node h100-0 its other replicas carry 0 of 1 requests/s" in found[1]


def test_limits_of_replicas_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SpecError, match="at most 1 replicas, where small asks for 2 \\(tolerate: 1 node\\) at least"):
        fleet(workloads={"small": workload("small", tolerate="1 node", max_replicas="1")})
    with pytest.raises(SpecError, match="at most 1 replicas, where small asks for 3 at least"):
        fleet(workloads={"small": workload("small", min_replicas="3"), "too": workload("small", max_replicas="1")})


def test_max_replicas_limits_a_model_and_the_plan_says_why_it_is_short() -> None:
    plan = plan_fleet(fleet(workloads={"large": workload("large", "500/s", max_replicas="1")}), State()).plan
    assert len(plan.desired.replicas) == 1
    assert "max_replicas allows 1" in (plan.desired.workloads[0].unserved_reason or "")
