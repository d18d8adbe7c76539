"""More work never gives a worse plan, and whenever somebody says stop there is a legal answer with valid bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from planner.problem import Problem, Solution, Watch, objective, violations
from solvers.exact import lexicographic as exact
from solvers.exact.effort import Effort
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
