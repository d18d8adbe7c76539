"""More work never gives a worse plan, and whenever somebody says stop there is a legal answer with valid bounds."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from planner.problem import Demand, Pattern, Pool, Problem, Shape, Solution, Watch, cost, objective, violations
from solvers.exact import lexicographic as exact
from solvers.exact.effort import Effort, Search, completed, value_of
from solvers.model.master import StageGoal
from solvers.model.useful_shapes import candidates
from tests.strategies import random_problem
from ullage.plugins import BASELINES, SOLVERS, load

_RELAXED = Effort(rounds=40, precise_rounds=5, dives=0, nodes=0, columns=0, proof_nodes=0)
# each does what the one before does, and more
EFFORTS = (
    replace(_RELAXED, rounds=2, precise_rounds=0),
    _RELAXED,
    replace(_RELAXED, dives=1),
    replace(_RELAXED, dives=3),
    replace(_RELAXED, dives=3, nodes=60),
    Effort(),
)
STOPS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 300)


def after(calls: int) -> Callable[[], bool]:
    """Says stop from the next call on when it was asked so often."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def legal(problem: Problem, solution: Solution) -> tuple[int, ...]:
    """The objective of an answer that breaks no rule."""
    assert violations(problem, solution) == ()
    return objective(problem, solution)


def best_baseline(problem: Problem) -> tuple[int, ...]:
    return min(objective(problem, load("solvers", SOLVERS, name)(problem)) for name in BASELINES)


def bounds_hold(problem: Problem, solution: Solution, other: Solution) -> bool:
    """Whether another answer is within the bounds that this one gives."""
    *theirs, cost_microusd_per_h = objective(problem, other)
    as_good = all(one <= most for one, most in zip(theirs, objective(problem, solution)[:-1], strict=True))
    within = solution.bound_unserved_microrps <= tuple(theirs)
    return within and (not as_good or solution.bound_microusd_per_h <= cost_microusd_per_h)


@pytest.mark.parametrize("seed", range(24))
def test_more_work_is_never_worse_and_no_bound_exceeds_the_best_plan(seed: int) -> None:
    problem = random_problem(seed, gpus=8, demand_count=6, shape_count=24)
    answers = [exact._solve(problem, exact.NAME, effort) for effort in EFFORTS]
    values = [legal(problem, solution) for solution in answers]
    assert values == sorted(values, reverse=True)
    assert values[0] <= best_baseline(problem)
    assert all(bounds_hold(problem, solution, answers[-1]) for solution in answers)


@pytest.mark.parametrize("seed", range(24))
def test_a_stop_at_any_time_leaves_a_legal_answer_with_valid_bounds(seed: int) -> None:
    problem = random_problem(Random(seed).getrandbits(32), gpus=8, demand_count=6, shape_count=24)
    full, baseline = exact.solve(problem), best_baseline(problem)
    for calls in STOPS:
        solution = exact.solve(problem, watch=Watch(report=lambda _: None, stop=after(calls)))
        assert legal(problem, solution) <= baseline
        assert bounds_hold(problem, solution, full)
        assert legal(problem, full) <= objective(problem, solution) or full.status == "feasible"


def two_pools() -> Problem:
    """A node of two GPUs at 1 $/h each, of which a demand has one more, and GPUs at 1.5 $/h one by one."""
    whole = Pool(name="whole", nodes=3, gpus_per_node=2, memory_mib=80, price_microusd_per_h=1_000_000, billing="node")
    single = Pool(name="single", nodes=3, gpus_per_node=2, memory_mib=80, price_microusd_per_h=1_500_000)
    shapes = tuple(
        Shape(name=f"on-{pool}", demand=0, pool=pool, mode="exclusive", memory_mib=70, capacity_microrps=10) for pool in range(2)
    )
    return Problem((whole, single), (Demand(name="chat", rate_microrps=(30,)),), shapes)


def test_what_a_plan_lacks_goes_where_no_other_node_is_paid_for() -> None:
    problem = two_pools()
    plan = completed(problem, [Pattern(0, (0,), 2)])
    assert plan == (Pattern(0, (0,), 2), Pattern(1, (1,), 1))
    # another node would cost 2 $/h
    assert cost(problem, plan) == 3_500_000


def test_a_node_that_is_paid_for_is_filled_first() -> None:
    assert cost(two_pools(), completed(two_pools(), [Pattern(0, (0,), 1), Pattern(1, (1,), 1)])) == 3_500_000


def test_where_only_another_node_helps_it_is_opened() -> None:
    problem = two_pools()
    alone = replace(problem, pools=(problem.pools[0], replace(problem.pools[1], nodes=0)))
    assert completed(alone, [Pattern(0, (0,), 2)]) == (Pattern(0, (0,), 3),)


def test_no_pool_is_filled_beyond_its_nodes_whatever_is_paid_for() -> None:
    """Of a pool that others use in part, one part may have fewer nodes than are paid for in all."""
    problem = two_pools()
    small = replace(problem, pools=(replace(problem.pools[0], nodes=1, min_nodes=3), replace(problem.pools[1], nodes=0)))
    assert completed(small, []) == (Pattern(0, (0,), 2),)


def test_the_value_of_the_best_plan_follows_it() -> None:
    problem = two_pools()
    search = Search(problem, candidates(problem), Effort(), (), "exact")
    unmet, dollars = StageGoal(0, ()), StageGoal(None, ((0, 0),))
    assert (search.value(unmet), search.value(dollars)) == (30, 0)
    search.offer((Pattern(0, (0,), 3),))
    assert search.value(unmet) == value_of(problem, search.incumbent, unmet) == 0
    assert search.value(dollars) == value_of(problem, search.incumbent, dollars) == 4_000_000


def test_old_objects_are_left_alone_during_a_solve_and_only_then() -> None:
    frozen: list[int] = []

    def stop() -> bool:
        frozen.append(gc.get_freeze_count())
        return False

    exact.solve(two_pools(), watch=Watch(report=lambda _: None, stop=stop))
    assert min(frozen) > 0
    assert gc.get_freeze_count() == 0


def test_what_others_have_frozen_stays_frozen() -> None:
    gc.freeze()
    try:
        before = gc.get_freeze_count()
        exact.solve(two_pools())
        # of those some may have become free
        assert 0 < gc.get_freeze_count() <= before
    finally:
        gc.unfreeze()


def test_a_solve_that_fails_leaves_the_collector_as_it_was() -> None:
    def stop() -> bool:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        exact.solve(two_pools(), watch=Watch(report=lambda _: None, stop=stop))
    assert gc.get_freeze_count() == 0
