"""What must follow when a Problem is changed in a known way: an easier one is never worse, the same one stays the same. Invariant 9.

An engine that only searches could be unlucky on the easier Problem, so the claim rests on what is proven: the easier Problem's bound
never lies above the harder one's value, and its value does not when it is proven optimal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.problem import Demand, MigSlot, Pool, Problem, Solution, objective, violations
from solvers.exact import lexicographic as exact
from solvers.portfolio import solve_all
from tests.strategies import problems
from ullage.plugins import BASELINES, load
from ullage.plugins import SOLVERS as TABLE

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=25)

Easier = Callable[[Problem], Problem]
Change = Callable[[Demand], Demand]


def portfolio(problem: Problem) -> Solution:
    solution = solve_all(problem, {name: load("solvers", TABLE, name) for name in ("exact", *BASELINES)}).solution
    assert violations(problem, solution) == ()
    return solution


def not_worse(easier: Problem, problem: Problem) -> None:
    first, second = portfolio(easier), portfolio(problem)
    value = objective(problem, second)
    assert first.bound_unserved_microrps <= value[:-1]
    if first.status == "optimal":
        assert objective(easier, first) <= value


def one_more_gpu(problem: Problem) -> Problem:
    """A node more of a single GPU; where nodes are paid whole the pool keeps its price and another one of the same GPUs is beside it."""
    pool = problem.pools[0]
    extra = replace(pool, name="one more", nodes=1, gpus_per_node=1, min_nodes=0, block_sizes=(1,), machines=())
    at = len(problem.pools)
    more = [replace(shape, pool=at) for shape in problem.shapes if shape.pool == 0 and shape.gpus == 1]
    return replace(problem, pools=(*problem.pools, extra), shapes=(*problem.shapes, *more))


def one_more_slice(problem: Problem) -> Problem:
    """Every layout of a MIG pool has one more quarter, at a slot of its own."""
    return replace(problem, pools=tuple(_with_slice(pool) for pool in problem.pools))


def _with_slice(pool: Pool) -> Pool:
    return replace(pool, mig_layouts=tuple((*layout, MigSlot("quarter", 4)) for layout in pool.mig_layouts))


def half_the_demand(problem: Problem) -> Problem:
    return _demands(problem, lambda demand: replace(demand, rate_microrps=tuple(rate // 2 for rate in demand.rate_microrps)))


def without_strangers(problem: Problem) -> Problem:
    return _demands(problem, lambda demand: replace(demand, not_with=frozenset()))


def more_memory(problem: Problem) -> Problem:
    return replace(problem, pools=tuple(replace(pool, memory_mib=pool.memory_mib + 10) for pool in problem.pools))


def half_the_price(problem: Problem) -> Problem:
    return replace(problem, pools=tuple(replace(pool, price_microusd_per_h=pool.price_microusd_per_h // 2) for pool in problem.pools))


def one_more_shape(problem: Problem) -> Problem:
    """Another way to run the first shape's replica: with a little more capacity."""
    extra = [replace(shape, name="new", capacity_microrps=shape.capacity_microrps + 1) for shape in problem.shapes[:1]]
    return replace(problem, shapes=(*problem.shapes, *extra))


def _demands(problem: Problem, change: Change) -> Problem:
    return replace(problem, demands=tuple(change(demand) for demand in problem.demands))


EASIER = (one_more_gpu, one_more_slice, half_the_demand, without_strangers, more_memory, half_the_price, one_more_shape)


@pytest.mark.parametrize("change", EASIER, ids=lambda change: change.__name__)
@STEADY
@given(problem=problems())
def test_an_easier_problem_is_never_worse(change: Easier, problem: Problem) -> None:
    not_worse(change(problem), problem)


@STEADY
@given(problem=problems(), seed=st.integers(0, 2**32))
def test_the_same_problem_in_another_order_and_other_words_has_the_same_value(problem: Problem, seed: int) -> None:
    rng = Random(seed)
    shuffled = _shuffled(problem, rng)
    first, second = exact.solve(problem), exact.solve(shuffled)
    assert first.bound_unserved_microrps <= objective(shuffled, second)[:-1]
    if first.status == second.status == "optimal":
        assert objective(problem, first) == objective(shuffled, second)


def _shuffled(problem: Problem, rng: Random) -> Problem:
    pools, demands, shapes = (rng.sample(range(len(items)), len(items)) for items in (problem.pools, problem.demands, problem.shapes))
    return Problem(
        pools=tuple(replace(problem.pools[i], name=f"p{i}-{rng.random()}") for i in pools),
        demands=tuple(
            replace(problem.demands[i], name=f"d{i}", not_with=frozenset(demands.index(j) for j in problem.demands[i].not_with))
            for i in demands
        ),
        shapes=tuple(
            replace(
                problem.shapes[i],
                name=f"s{i}",
                demand=demands.index(problem.shapes[i].demand),
                pool=pools.index(problem.shapes[i].pool),
            )
            for i in shapes
        ),
    )


@STEADY
@given(problem=problems(), factor=st.integers(2, 1000))
def test_other_units_give_the_same_answer(problem: Problem, factor: int) -> None:
    """Prices and rates counted in smaller units: the optimum is the same number of times larger."""
    scaled = Problem(
        pools=tuple(replace(pool, price_microusd_per_h=pool.price_microusd_per_h * factor) for pool in problem.pools),
        demands=problem.demands,
        shapes=problem.shapes,
    )
    first, second = exact.solve(problem), exact.solve(scaled)
    if first.status == second.status == "optimal":
        *unserved_microrps, cost_microusd_per_h = objective(problem, first)
        assert objective(scaled, second) == (*unserved_microrps, cost_microusd_per_h * factor)
