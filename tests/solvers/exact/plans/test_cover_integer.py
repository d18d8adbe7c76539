"""Plans of the integer program over patterns are legal under every kind of rule, also with hardly any columns or nodes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from planner.problem import Problem
from solvers.baselines import best_fit
from solvers.exact.effort import Breadth
from solvers.exact.plans.cover_integer import WholeProgram
from solvers.exact.plans.mix_dive import MixDive
from solvers.highs import IntegerLimits
from solvers.solution import trimmed
from tests.solvers.exact.plans.test_mix_dive import wrong
from tests.solvers.exact.roots import FEATURES, goals, never, root_of, served_by_best_fit
from tests.strategies import problems

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=15)


@pytest.mark.parametrize("feature", FEATURES)
@SLOW
@given(problem=problems(gpus=6, demand_count=5, shape_count=16))
def test_whole_numbers_give_legal_plans(feature: str, problem: Problem) -> None:
    problem = FEATURES[feature](problem)
    start = trimmed(problem, best_fit.solve(problem).patterns)
    for goal in goals(problem, served_by_best_fit(problem)):
        for breadth, limits in ((Breadth(), IntegerLimits(60)), (Breadth(1.0, 1, 1, 5), IntegerLimits(0))):
            root = root_of(problem, goal)
            root.run(40, never)
            found = WholeProgram(root, MixDive(root, lambda: False), breadth, start).solve(limits)
            assert found is None or wrong(problem, found) == []
