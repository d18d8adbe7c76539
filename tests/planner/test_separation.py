"""Replicas on different machines, from the fleet file to the checked plan."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.assembly.certificate import Outcome
from planner.check.rules import rule_problems
from planner.newcomer import estimate
from planner.plan import Plan, State, as_applied
from planner.problem import Problem, counted, objective, placement_violations, shared_machines, violations
from planner.sizing.blueprint import build
from solvers.baselines import first_fit
from solvers.exact.lexicographic import solve
from tests.brute_force import best_objective, legal_patterns
from tests.fleets import fleet, workload
from tests.strategies import random_problem
from ullage.planning.plan import plan_fleet
from ullage.planning.tolerance import answer_with_places
from ullage.views.plan.plan_text import plan_text


def _pool(nodes: int, gpus_per_node: int = 2, **changes: Any) -> dict[str, Any]:
    return {"gpu": "H100", "nodes": nodes, "gpus_per_node": gpus_per_node, "price": "3 USD/h", **changes}


def _plan(pools: dict[str, Any], state: State | None = None, **workloads: Any) -> Plan:
    return plan_fleet(fleet(pools=pools, workloads=workloads), state or State()).plan


def _nodes(plan: Plan, name: str) -> list[str]:
    return sorted(replica.node for replica in plan.desired.replicas if replica.served_name == name)


def _apart(name: str, rate: str = "1/s", **changes: Any) -> dict[str, Any]:
    return workload(name, rate, spread="nodes", **changes)


def test_replicas_are_on_different_machines() -> None:
    pools = {"h100": _pool(3)}
    plan = _plan(pools, small=_apart("small", min_replicas=3), large=workload("large"))
    assert _nodes(plan, "small") == ["h100-0", "h100-1", "h100-2"]
    assert all(row.unserved_rps == 0 for row in plan.desired.workloads)
    without = _plan(pools, small=workload("small", min_replicas=3), large=workload("large"))
    assert '"spread_nodes":true' in plan.model_dump_json()
    assert "spread_nodes" not in without.model_dump_json()


def test_one_workload_of_a_model_is_enough() -> None:
    plan = _plan({"h100": _pool(2, 4)}, one=workload("small", min_replicas=2), two=_apart("small"))
    assert _nodes(plan, "small") == ["h100-0", "h100-1"]


def test_more_replicas_than_machines_are_told_with_numbers() -> None:
    plan = _plan({"h100": _pool(3)}, small=_apart("small", min_replicas=5))
    (row,) = plan.desired.workloads
    assert _nodes(plan, "small") == ["h100-0", "h100-1", "h100-2"]
    assert row.unserved_rps == pytest.approx(0.4)
    assert (row.unserved_reason or "").startswith(
        "min_replicas asks for 5 replicas, and with spread: nodes there are 3, one on each of the 3 machines that it may use"
    )
    assert "add nodes or write spread: any" in plan_text(plan)
    assert plan.desired.certificate.tiers[0].gap_fraction == 0.0


def test_more_demand_than_machines_carry_is_told_with_numbers() -> None:
    plan = _plan({"h100": _pool(1, 4)}, large=_apart("large", "300/s"), small=workload("small"))
    row = next(row for row in plan.desired.workloads if row.name == "large")
    assert _nodes(plan, "large") == ["h100-0"]
    assert "spread: nodes allows 1 replica, one on each of the 1 machine that it may use; they carry" in (row.unserved_reason or "")


def test_a_cheap_pool_of_one_machine_is_not_asked_for_more_than_one() -> None:
    """Counts alone would put all replicas there."""
    pools = {"cheap": _pool(1, 8, price="1 USD/h"), "dear": _pool(2, 8)}
    plan = _plan(pools, large=_apart("large", "90/s"))
    assert len(_nodes(plan, "large")) == len(set(_nodes(plan, "large"))) > 1
    assert plan.desired.workloads[0].unserved_rps == 0


def test_where_nodes_are_paid_whole_the_nodes_in_use_are_paid() -> None:
    plan = _plan({"h100": _pool(2, ownership="rentable", sharing=["exclusive"])}, small=_apart("small", min_replicas=2))
    assert _nodes(plan, "small") == ["h100-0", "h100-1"]
    assert plan.desired.cost_usd_per_h == pytest.approx(12.0)


def test_a_loss_that_is_survived_on_nodes_paid_whole_costs_these_nodes() -> None:
    plan = _plan({"h100": _pool(2, ownership="rentable", sharing=["exclusive"])}, small=workload("small", tolerate="1 node"))
    assert plan.desired.cost_usd_per_h == pytest.approx(12.0)


def test_mig_instances_are_on_different_machines_too() -> None:
    plan = _plan({"h100": _pool(2, mig="repartition")}, small=_apart("small", min_replicas=2, tolerate="1 node"))
    assert _nodes(plan, "small") == ["h100-0", "h100-1"]


def _halves(*hosts: str) -> dict[str, Any]:
    """Two pools that divide the GPUs of each host."""
    nodes = range(len(hosts))
    return {
        "front": _pool(len(hosts), hosts=list(hosts), taken=[{"node": node, "gpus": [1]} for node in nodes]),
        "rear": _pool(len(hosts), hosts=list(hosts), taken=[{"node": node, "gpus": [0]} for node in nodes]),
    }


def test_a_machine_that_two_pools_divide_counts_once() -> None:
    plan = _plan(_halves("10.0.0.1"), small=_apart("small", min_replicas=2))
    assert len(_nodes(plan, "small")) == 1
    assert "one on each of the 1 machine" in (plan.desired.workloads[0].unserved_reason or "")
    plan = _plan(_halves("10.0.0.1", "10.0.0.2"), small=_apart("small", min_replicas=2))
    assert sorted(replica.host for replica in plan.desired.replicas) == ["10.0.0.1", "10.0.0.2"]
    loss = _plan(_halves("10.0.0.1"), small=workload("small", tolerate="1 node")).desired.node_losses
    assert [item.unserved_rps for item in loss] == [pytest.approx(1.0)]


def test_the_checker_names_replicas_on_one_machine() -> None:
    desired = _plan(_halves("10.0.0.1", "10.0.0.2"), small=_apart("small", min_replicas=2)).desired
    assert list(rule_problems(desired)) == []
    here = tuple(node.model_copy(update={"host": "10.0.0.1"}) for node in desired.nodes)
    (problem,) = rule_problems(desired.model_copy(update={"nodes": here}))
    assert problem.startswith("small: replicas small-")
    assert problem.endswith("are on one machine, 10.0.0.1 (spread: nodes)")


def test_what_runs_together_is_taken_apart() -> None:
    pools = {"h100": _pool(2, 2, sharing=["exclusive"])}
    together = _plan(pools, small=workload("small", min_replicas=2))
    assert _nodes(together, "small") == ["h100-0", "h100-0"]
    plan = _plan(pools, as_applied(together), small=_apart("small", min_replicas=2))
    assert _nodes(plan, "small") == ["h100-0", "h100-1"]
    assert _plan(pools, as_applied(plan), small=_apart("small", min_replicas=2)).actions == ()


def test_a_newcomer_finds_room_on_different_machines_only() -> None:
    pools = {"h100": _pool(2, 4)}
    running = as_applied(_plan(pools, large=workload("large")))

    def replicas(count: int) -> float | None:
        joined = fleet(pools=pools, workloads={"large": workload("large"), "small": _apart("small", min_replicas=count)})
        return estimate(build(joined, running), "small").usd_per_h

    assert replicas(2) is not None
    assert replicas(3) is None
    plan = _plan(pools, running, large=workload("large"), small=_apart("small", min_replicas=2))
    assert _nodes(plan, "small") == ["h100-0", "h100-1"]
    assert plan.desired.replicas[0] == running.replicas[0]


def _problem(seed: int, gpus: int, demand_count: int, shape_count: int) -> Problem:
    """A random problem with replicas that must be apart, and machines that are nodes of several pools."""
    problem, rng = random_problem(seed, gpus, demand_count, shape_count), Random(seed + 1)
    demands = tuple(replace(demand, spread_nodes=rng.random() < 0.8) for demand in problem.demands)
    shared = rng.random() < 0.4
    numbers = range(max((pool.nodes for pool in problem.pools), default=0) + 1)
    pools = tuple(replace(pool, machines=tuple(rng.sample(numbers, pool.nodes)) if shared else ()) for pool in problem.pools)
    return replace(problem, pools=pools, demands=demands)


def _exactly(problem: Problem) -> Outcome:
    return Outcome(solve(counted(problem)), (), {})


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_no_two_replicas_that_must_be_apart_share_a_machine(seed: int) -> None:
    """Invariant 34, with places: whatever an engine counts; what is not served for it is reported."""
    problem = _problem(seed, gpus=12, demand_count=4, shape_count=10)
    for ask in (_exactly, lambda asked: Outcome(first_fit.solve(counted(asked)), (), {})):
        answered = answer_with_places(problem, ask)
        best = answered.outcome.best
        assert shared_machines(answered.problem, answered.placed) == ()
        assert placement_violations(answered.problem, best, answered.placed) == ()
        # that nodes are paid for a loss that is survived is no matter of counts
        assert [said for said in violations(answered.problem, best) if not said.startswith("cost is reported")] == []


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(seed=st.integers(0, 2**32))
def test_engines_answer_the_counted_form_exactly(seed: int) -> None:
    """Invariant 8 for replicas that keep away from themselves; and the rule only ever costs."""
    problem = _problem(seed, gpus=3, demand_count=3, shape_count=7)
    asked = counted(problem)
    if len(legal_patterns(asked)) > 30:
        return
    assert objective(asked, solve(asked)) == best_objective(asked)
    if not any(demand.tolerate_nodes for demand in problem.demands):
        assert objective(problem, answer_with_places(problem, _exactly).outcome.best) >= best_objective(problem)
