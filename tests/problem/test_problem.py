from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.problem import (
    Demand,
    Pattern,
    Placed,
    Pool,
    Problem,
    Shape,
    Solution,
    blocks_used,
    cost,
    fits_layout,
    nodes_needed,
    objective,
    placement_violations,
    priorities,
    shortfall,
    unserved,
    unserved_by_priority,
    violations,
)
from solvers.baselines.packing import Packing
from solvers.model.useful_shapes import usable_shapes
from solvers.solution import answer
from tests.brute_force import legal_patterns
from tests.strategies import MIG_LAYOUTS, tiny_problems

POOL = Pool("p", nodes=2, gpus_per_node=4, memory_mib=100, price_microusd_per_h=10, block_sizes=(1, 2, 4))
SHARED = Shape("s", 0, 0, "time_shared", 30, 5, compute_permille=300, bandwidth_permille=100, max_residents=2, active_limit_permille=2000)


def _problem(*shapes: Shape, pool: Pool = POOL, demands: tuple[Demand, ...] | None = None) -> Problem:
    count = max((shape.demand for shape in shapes), default=0) + 1
    return Problem((pool,), demands or tuple(Demand(f"d{i}", (10,)) for i in range(count)), shapes)


def _found(problem: Problem, *patterns: Pattern) -> str:
    solution = Solution(
        engine="test",
        patterns=patterns,
        unserved_microrps=unserved(problem, patterns),
        cost_microusd_per_h=cost(problem, patterns),
        bound_microusd_per_h=0,
        bound_unserved_microrps=(0,) * len(priorities(problem)),
        status="feasible",
    )
    return "\n".join(violations(problem, solution))


def test_legal_pair_has_no_violation() -> None:
    problem = _problem(SHARED, replace(SHARED, demand=1))
    assert _found(problem, Pattern(0, (0, 1))) == ""


@pytest.mark.parametrize(
    ("change", "pool", "said"),
    [
        ({"memory_mib": 71}, {}, "101 MiB of 100 MiB"),
        ({"compute_permille": 701}, {}, "1001 per mille of compute of 1000"),
        ({"compute_permille": 690}, {"resident_cost_permille": 20}, "1010 per mille of compute of 1000"),
        ({"bandwidth_permille": 901}, {}, "1001 per mille of memory bandwidth of 1000"),
        ({"start_extra_mib": 41}, {}, "101 MiB while one of them starts, of 100 MiB"),
        ({"max_residents": 1}, {}, "2 residents where 1 may sit together"),
        ({"active_limit_permille": 1999}, {}, "active 2.000 in window 0 where the residents bear 1.999"),
        ({"active_permille": (0, 1001)}, {}, "active 2.001 in window 1 where the residents bear 2.000"),
        ({}, {"max_active_residents": 1}, "active 2.000 in window 0 where the residents bear 1.000"),
        ({"host_cores": 9}, {"host_cores_per_gpu": 8}, "9 host cores of 8"),
        ({"host_memory_mib": 9}, {"host_memory_mib_per_gpu": 8}, "9 MiB of host memory of 8 MiB"),
        ({"demand": 0}, {}, "the same model sits twice"),
        ({"colocation_class": "b"}, {}, "different modes or colocation classes"),
        ({"mode": "exclusive"}, {}, "different modes or colocation classes"),
        ({"gpus": 2}, {}, "a tensor-parallel shape shares its block"),
        ({}, {"mig_layouts": MIG_LAYOUTS}, "whole GPUs cannot be used"),
    ],
)
def test_every_rule_of_a_shared_gpu_is_judged(change: dict[str, object], pool: dict[str, object], said: str) -> None:
    second = replace(SHARED, **{"demand": 1, **change})  # type: ignore[arg-type]
    problem = _problem(SHARED, second, pool=replace(POOL, **pool), demands=(Demand("a", (1,)), Demand("b", (1,))))  # type: ignore[arg-type]
    assert said in _found(problem, Pattern(0, (0, 1)))


def test_an_idle_resident_counts_by_its_busy_fraction() -> None:
    idle = replace(SHARED, demand=1, active_permille=(400,), active_limit_permille=1000)
    problem = _problem(replace(SHARED, active_permille=(600,), active_limit_permille=1000), idle)
    assert _found(problem, Pattern(0, (0, 1))) == ""


def test_not_with_holds_in_both_directions_and_on_mig() -> None:
    half = Shape("h", 0, 0, "mig", 40, 5, mig_profile="half")
    problem = _problem(
        half,
        replace(half, demand=1),
        pool=replace(POOL, mig_layouts=MIG_LAYOUTS),
        demands=(Demand("a", (1,)), Demand("b", (1,), not_with=frozenset({0}))),
    )
    assert "a may not sit with b" in _found(problem, Pattern(0, (0, 1)))
    assert _found(problem, Pattern(0, (0, 0))) == ""
    assert "no legal MIG layout" in _found(problem, Pattern(0, (0, 0, 0)))


def test_mig_instances_are_never_tensor_parallel() -> None:
    problem = _problem(Shape("h", 0, 0, "mig", 40, 5, gpus=2, mig_profile="half"), pool=replace(POOL, mig_layouts=MIG_LAYOUTS))
    assert "cannot be part of a tensor-parallel block" in _found(problem, Pattern(0, (0,)))


def test_pools_replicas_and_order_are_judged() -> None:
    whole = Shape("w", 0, 0, "exclusive", 90, 5, gpus=4)
    problem = _problem(whole, replace(SHARED, demand=1), SHARED, demands=(Demand("a", (10,), max_replicas=2), Demand("b", (10,))))
    assert "do not fit 2 nodes of 4" in _found(problem, Pattern(0, (0,), 3))
    assert "3 replicas, at most 2" in _found(problem, Pattern(0, (0,), 3))
    assert "not in ascending order" in _found(problem, Pattern(0, (2, 1)))
    assert "empty pattern" in _found(problem, Pattern(0, ()))
    assert "is not one of" in _found(_problem(replace(whole, gpus=8)), Pattern(0, (0,)))


def test_dishonest_numbers_are_found() -> None:
    problem = _problem(SHARED)
    solution = answer(problem, "test", [Pattern(0, (0,))])
    assert violations(problem, solution) == ()
    lies: tuple[tuple[Solution, str], ...] = (
        (replace(solution, unserved_microrps=(0,)), "unserved demand is reported as (0,)"),
        (replace(solution, cost_microusd_per_h=9), "cost is reported as 9, it is 10"),
        (replace(solution, bound_microusd_per_h=11), "cost bound 11 lies above the cost 10"),
        (replace(solution, bound_unserved_microrps=(6,)), "bound on unserved demand (6,) lies above (5,)"),
    )
    for lie, said in lies:
        assert said in "\n".join(violations(problem, lie))


def test_shortfall_counts_missing_capacity_or_missing_replicas() -> None:
    demand = Demand("d", (4, 10), min_replicas=3)
    assert shortfall(demand, 10, 3, 4) == 0
    assert shortfall(demand, 7, 3, 3) == 3
    assert shortfall(demand, 99, 1, 99) == 7
    assert shortfall(Demand("idle", (0,), min_replicas=1), 0, 0, 0) == 1
    assert shortfall(Demand("idle", (0,)), 0, 0, 0) == 0


def test_objective_is_lexicographic_by_priority() -> None:
    problem = _problem(SHARED, replace(SHARED, demand=1), demands=(Demand("low", (10,)), Demand("high", (10,), priority=5)))
    assert priorities(problem) == (5, 0)
    high = answer(problem, "test", [Pattern(0, (1,))])
    low = answer(problem, "test", [Pattern(0, (0,))])
    assert unserved_by_priority(problem, high.unserved_microrps) == (5, 10)
    assert objective(problem, high) == (5, 10, 10)
    assert objective(problem, high) < objective(problem, low)


def test_cost_of_whole_nodes() -> None:
    pool = replace(POOL, billing="node", min_nodes=1)
    problem = _problem(replace(SHARED, mode="exclusive"), replace(SHARED, mode="exclusive", gpus=4), pool=pool)
    assert cost(problem, ()) == 40
    assert cost(problem, (Pattern(0, (0,)),)) == 40
    assert cost(problem, (Pattern(0, (0,)), Pattern(0, (1,)))) == 80


@given(blocks=st.dictionaries(st.sampled_from([1, 2, 4, 8]), st.integers(0, 6), max_size=4), gpus_per_node=st.integers(1, 9))
def test_nodes_needed_is_what_first_fit_of_aligned_blocks_takes(blocks: dict[int, int], gpus_per_node: int) -> None:
    pool = replace(POOL, nodes=100, gpus_per_node=gpus_per_node)
    used = {size: size * count for size, count in blocks.items()}
    if any(count and size > gpus_per_node for size, count in blocks.items()):
        assert nodes_needed(pool, used) > pool.nodes
        return
    nodes: list[set[int]] = []
    for size in sorted(blocks, reverse=True):
        for _ in range(blocks[size]):
            _occupy(nodes, size, gpus_per_node)
    assert nodes_needed(pool, used) == len(nodes)


def _occupy(nodes: list[set[int]], size: int, gpus_per_node: int) -> None:
    for node in nodes:
        for start in range(0, gpus_per_node - size + 1, size):
            block = set(range(start, start + size))
            if not block & node:
                node.update(block)
                return
    nodes.append(set(range(size)))


def test_layouts_are_compared_as_multisets() -> None:
    assert fits_layout(MIG_LAYOUTS, ["quarter", "half", "quarter"])
    assert not fits_layout(MIG_LAYOUTS, ["half", "half", "quarter"])
    assert not fits_layout((), ["half"])


@settings(deadline=None)
@given(problem=tiny_problems())
def test_parts_of_legal_patterns_are_legal_and_joining_agrees_with_the_judge(problem: Problem) -> None:
    legal = {(pattern.pool, pattern.residents) for pattern in legal_patterns(problem)}
    usable = usable_shapes(problem)
    packing = Packing(problem)
    for pool, residents in legal:
        for at in range(len(residents)):
            rest = residents[:at] + residents[at + 1 :]
            assert not rest or (pool, rest) in legal
        if len(residents) < 4:
            for index in usable:
                joined = (pool, tuple(sorted((*residents, index))))
                assert packing.may_join(packing.group(pool, residents), index) == (joined in legal)


def test_placements_are_judged() -> None:
    pair = Shape("pair", 0, 0, "exclusive", 50, 5, gpus=2)
    problem = _problem(pair, replace(SHARED, demand=1))
    solution = answer(problem, "test", [Pattern(0, (0,)), Pattern(0, (1,))])
    assert placement_violations(problem, solution, (Placed(0, 0, (0, 1)), Placed(1, 0, (2,)))) == ()
    wrong = {
        "not an aligned block": (Placed(0, 0, (1, 2)), Placed(1, 0, (3,))),
        "is not an aligned block of 1": (Placed(0, 0, (0, 1)), Placed(1, 2, (0,))),
        "blocks overlap": (Placed(0, 0, (0, 1)), Placed(1, 0, (1,))),
        "other patterns than the solution": (Placed(0, 0, (0, 1)),),
    }
    for said, placed in wrong.items():
        assert said in "\n".join(placement_violations(problem, solution, placed))


def test_start_slots_are_judged() -> None:
    problem = _problem(Shape("h", 0, 0, "mig", 40, 5, mig_profile="half"), pool=replace(POOL, mig_layouts=MIG_LAYOUTS))
    solution = answer(problem, "test", [Pattern(0, (0, 0))])
    assert placement_violations(problem, solution, (Placed(0, 0, (0,), 0), Placed(0, 0, (0,), 2))) == ()
    for first, second in ((0, 0), (0, 1), (0, None)):
        placed = (Placed(0, 0, (0,), first), Placed(0, 0, (0,), second))
        assert "no legal MIG layout has these start slots" in "\n".join(placement_violations(problem, solution, placed))


def test_blocks_are_counted_by_size() -> None:
    problem = _problem(replace(SHARED, mode="exclusive", gpus=2), replace(SHARED, demand=1))
    assert Counter(blocks_used(problem, (Pattern(0, (0,), 2), Pattern(0, (1,), 3)), 0)) == {2: 4, 1: 3}


def test_a_demand_that_tolerates_the_loss_of_a_node_cannot_count_on_its_largest_replica() -> None:
    large = replace(SHARED, capacity_microrps=8, mode="exclusive")
    problem = _problem(replace(SHARED, mode="exclusive"), large, replace(large, demand=0), demands=(Demand("d", (10,), tolerate_nodes=1),))
    problem = replace(problem, shapes=tuple(replace(shape, demand=0) for shape in problem.shapes))
    assert unserved(problem, [Pattern(0, (1,))]) == (10,)
    assert unserved(problem, [Pattern(0, (0,)), Pattern(0, (1,))]) == (5,)
    assert unserved(problem, [Pattern(0, (0,), 2), Pattern(0, (1,))]) == (0,)


@pytest.mark.parametrize(
    ("change", "pool", "said"),
    [
        ({}, {}, ""),
        ({"compute_permille": 701}, {"compute_limit_permille": 2000}, "1001 per mille of compute of 1000 under MPS"),
        ({"bandwidth_permille": 901}, {}, "1001 per mille of memory bandwidth of 1000 under MPS"),
        ({"memory_mib": 71}, {}, "101 MiB of 100 MiB"),
        ({"max_residents": 1}, {}, "2 residents under MPS where 1 may be active together"),
        ({"colocation_class": "b"}, {}, "different modes or colocation classes"),
        ({"mode": "time_shared"}, {}, "different modes or colocation classes"),
        ({"demand": 0}, {}, "the same model sits twice"),
    ],
)
def test_every_rule_of_mps_is_judged(change: dict[str, object], pool: dict[str, object], said: str) -> None:
    first = replace(SHARED, mode="mps", active_permille=(10,))
    second = replace(first, **{"demand": 1, **change})  # type: ignore[arg-type]
    problem = _problem(first, second, pool=replace(POOL, **pool), demands=(Demand("a", (1,)), Demand("b", (1,))))  # type: ignore[arg-type]
    found = _found(problem, Pattern(0, (0, 1)))
    assert said in found
    assert bool(said) == bool(found)
