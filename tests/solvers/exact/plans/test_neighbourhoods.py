"""Plans found near a plan are legal and better and better, whoever found them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.problem import Pattern, Problem
from solvers.baselines import best_fit
from solvers.exact.effort import Breadth, completed, rank, value_of_plan
from solvers.exact.plans.cover_integer import WholeProgram
from solvers.exact.plans.mix_dive import MixDive
from solvers.exact.plans.neighbourhoods import Neighbourhoods, near, neighbourhoods
from solvers.solution import trimmed
from tests.solvers.exact.plans.test_mix_dive import wrong
from tests.solvers.exact.roots import goals, never, root_of, served_by_best_fit
from tests.strategies import problems, random_problem

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=25)

Patterns = tuple[Pattern, ...]


def near_plans(problem: Problem, start: Patterns, limits: Neighbourhoods) -> Iterator[Patterns]:
    *_, goal = goals(problem, served_by_best_fit(problem))
    root = root_of(problem, goal)
    root.run(40, never)
    dive = MixDive(root, lambda: False)
    yield from neighbourhoods(WholeProgram(root, dive, Breadth(), start), dive, partial(completed, problem), limits)


@SLOW
@given(problem=problems(gpus=6, demand_count=5, shape_count=16), seed=st.integers(0, 3))
def test_each_plan_is_legal_and_better_than_the_one_before(problem: Problem, seed: int) -> None:
    start = trimmed(problem, best_fit.solve(problem).patterns)
    ranks = []
    for plan in near_plans(problem, start, Neighbourhoods(turns=8, nodes=20, seed=seed)):
        assert wrong(problem, plan) == []
        assert value_of_plan(problem, plan) <= value_of_plan(problem, start)
        ranks.append(rank(problem, plan))
    assert all(later < earlier for earlier, later in pairwise(ranks))


@SLOW
@given(problem=problems(gpus=6, demand_count=5, shape_count=16))
def test_what_another_search_found_is_where_this_one_goes_on(problem: Problem) -> None:
    start = trimmed(problem, best_fit.solve(problem).patterns)
    known: list[list[Patterns]] = [[start]]
    found = list(near_plans(problem, (), Neighbourhoods(turns=1, nodes=0, others=lambda: known.pop() if known else [])))
    empty = value_of_plan(problem, completed(problem, ()))
    if value_of_plan(problem, start) < empty:
        assert found[0] == start
    assert not known


@given(problem=problems(gpus=6, demand_count=5, shape_count=16), count=st.integers(1, 8), seed=st.integers(0, 99))
def test_a_neighbourhood_has_the_size_that_is_asked_for(problem: Problem, count: int, seed: int) -> None:
    plan = best_fit.solve(problem).patterns
    found = near(problem, plan, count, Random(seed), 4.0)
    assert len(found) == min(count, len(problem.demands))


def test_those_that_share_a_gpu_are_nearest() -> None:
    problem = next(problem for problem in map(_drawn, range(200)) if _pairs(problem))
    plan = best_fit.solve(problem).patterns
    pairs = _pairs(problem)
    for seed in range(20):
        found = near(problem, plan, 2, Random(seed), 0.0)
        assert found in pairs or not any(found & pair for pair in pairs)


def _drawn(seed: int) -> Problem:
    return random_problem(seed, 6, 5, 16)


def _pairs(problem: Problem) -> list[set[int]]:
    """Demands that share a GPU, where each shares with one other at most."""
    found = [{problem.shapes[index].demand for index in pattern.residents} for pattern in best_fit.solve(problem).patterns]
    pairs = [each for each in found if len(each) == 2]
    alone = all(len(each) <= 2 for each in found) and sum(map(len, pairs)) == len(set().union(*pairs)) if pairs else False
    return pairs if alone else []
