from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from planner.problem import Demand, Pool, Problem, Shape, Solution, Watch, objective, violations
from solvers.baselines import best_fit, exclusive, first_fit, squishy
from solvers.errors import UnavailableError
from solvers.exact import lexicographic as exact
from solvers.portfolio import solve_all
from solvers.unlimited import unlimited
from tests.strategies import problems

ENGINES = {
    exclusive.NAME: exclusive.solve,
    first_fit.NAME: first_fit.solve,
    best_fit.NAME: best_fit.solve,
    squishy.NAME: squishy.solve,
    exact.NAME: exact.solve,
}
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)


def _missing(problem: Problem, *, time_limit_s: float | None = None, watch: Watch | None = None) -> Solution:
    raise UnavailableError("its solver is not installed")


@SLOW
@given(problem=problems())
def test_best_answer_is_never_worse_than_any_engine(problem: Problem) -> None:
    found = solve_all(problem, ENGINES)
    assert violations(problem, found.solution) == ()
    for solve in ENGINES.values():
        alone = solve(problem)
        assert objective(problem, found.solution) <= objective(problem, alone)
        assert found.solution.bound_unserved_microrps >= alone.bound_unserved_microrps


def test_ties_go_to_the_first_and_take_the_bound_of_the_others() -> None:
    problem = Problem((), (), ())
    found = solve_all(problem, {first_fit.NAME: first_fit.solve, exact.NAME: exact.solve})
    assert found.solution.engine == first_fit.NAME
    assert found.solution.status == "optimal"


def test_engines_that_are_not_there_are_reported() -> None:
    found = solve_all(Problem((), (), ()), {"gone": _missing, first_fit.NAME: first_fit.solve})
    assert found.reports[0].skipped == "its solver is not installed"
    assert found.solution.engine == first_fit.NAME
    with pytest.raises(UnavailableError, match="gone: its solver is not installed"):
        solve_all(Problem((), (), ()), {"gone": _missing})


def test_defects_of_engines_are_not_hidden() -> None:
    def broken(problem: Problem, *, time_limit_s: float | None = None, watch: Watch | None = None) -> Solution:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        solve_all(Problem((), (), ()), {"broken": broken})


@SLOW
@given(problem=problems())
def test_unlimited_pools_leave_nothing_unserved_that_could_be_served(problem: Problem) -> None:
    larger = unlimited(problem)
    for name in (exclusive.NAME, first_fit.NAME, best_fit.NAME, squishy.NAME):
        solution = ENGINES[name](larger)
        assert violations(larger, solution) == ()
        again = unlimited(larger)
        assert solution.unserved_microrps == ENGINES[name](again).unserved_microrps


def test_unlimited_pools_grow_with_the_replicas_that_a_demand_needs_and_not_with_the_ways_to_run_it() -> None:
    one = Problem((Pool("p", 1, 8, 100, 1),), (Demand("d", (10,)),), (Shape("s", 0, 0, "exclusive", 9, 5),))
    many = replace(one, shapes=tuple(replace(one.shapes[0], name=str(i), capacity_microrps=5 + i) for i in range(50)))
    assert unlimited(many).pools == unlimited(one).pools == (replace(one.pools[0], nodes=2),)
