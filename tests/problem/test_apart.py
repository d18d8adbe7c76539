"""What counts tell of replicas that must be on different machines."""

from __future__ import annotations

from dataclasses import replace

from planner.problem import (
    Demand,
    Pattern,
    Placed,
    Pool,
    Problem,
    Shape,
    apart_counts,
    cost,
    counted,
    machines,
    most_apart,
    nodes_used,
    shared_machines,
    violations,
)
from solvers.solution import answer
from tests.strategies import MIG_LAYOUTS

POOL = Pool("p", nodes=2, gpus_per_node=4, memory_mib=100, price_microusd_per_h=10)
ONE = Shape("one", 0, 0, "exclusive", 50, 10)
APART = Demand("a", (10,), spread_nodes=True)


def _violations(problem: Problem, *patterns: Pattern) -> str:
    return "\n".join(violations(problem, answer(problem, "test", patterns)))


def test_a_pool_holds_as_many_replicas_as_machines() -> None:
    problem = Problem((POOL,), (APART,), (ONE,))
    assert _violations(problem, Pattern(0, (0,), 2)) == ""
    assert _violations(problem, Pattern(0, (0,), 3)) == "pool p: 3 replicas of a on 2 machines"
    one_machine = replace(problem, pools=(replace(POOL, machines=(7, 7)),))
    assert _violations(one_machine, Pattern(0, (0,), 2)) == "pool p: 2 replicas of a on 1 machines"
    assert apart_counts(problem, [Pattern(0, (0,), 2)], 0) == {0: 2}
    assert apart_counts(counted(problem), [Pattern(0, (0,), 2)], 0) == {}


def test_no_two_are_on_one_gpu_in_mig_mode_either() -> None:
    half = Shape("half", 0, 0, "mig", 40, 5, mig_profile="half")
    problem = Problem((replace(POOL, mig_layouts=MIG_LAYOUTS),), (APART,), (half,))
    said = "pool p, pattern [half, half]: 2 replicas of a on one GPU, which must be on different machines"
    assert _violations(problem, Pattern(0, (0, 0))) == said
    assert "a may not sit with a" in _violations(counted(problem), Pattern(0, (0, 0)))
    assert _violations(counted(problem), Pattern(0, (0,), 2)) == ""


def test_where_nodes_are_paid_whole_one_is_paid_for_each_replica() -> None:
    problem = Problem((replace(POOL, billing="node"),), (APART,), (ONE,))
    assert nodes_used(problem, [Pattern(0, (0,), 2)], 0) == 2
    assert cost(problem, [Pattern(0, (0,), 2)]) == 80
    assert cost(counted(problem), [Pattern(0, (0,), 2)]) == 40


def test_machines_of_several_pools_count_once() -> None:
    pools = (replace(POOL, machines=(0, 1)), replace(POOL, name="q", machines=(1, 2)), replace(POOL, name="r", nodes=0))
    there = tuple(replace(ONE, pool=pool) for pool in range(3))
    problem = Problem(pools, (APART, Demand("b", (1,))), there)
    assert (machines(problem, [0]), machines(problem, [0, 1]), most_apart(problem, 0), most_apart(problem, 1)) == (2, 3, 3, 0)
    assert [demand.max_replicas for demand in counted(problem).demands] == [3, 1_000_000]
    assert counted(counted(problem)) == counted(problem)
    (shared,) = shared_machines(problem, [Placed(0, 1, (0,)), Placed(1, 1, (0,)), Placed(1, 0, (3,))])
    assert (shared.demand, shared.replicas) == (0, (0, 2))
