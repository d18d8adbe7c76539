"""Bounds of the relaxation against every legal solution, however early it stops."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from planner.problem import Problem, priorities
from solvers.exact.relaxation.cover_cuts import CutRounds
from tests.brute_force import every_objective
from tests.solvers.exact.roots import goals, never, root_of, served_by_best_fit
from tests.strategies import tiny_problems

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=30)


@pytest.mark.parametrize("loose", [False, True], ids=["best served", "as best fit serves"])
@SLOW
@given(problem=tiny_problems())
def test_bounds_never_exceed_the_best_of_all(loose: bool, problem: Problem) -> None:
    known = every_objective(problem)
    pinned_microrps = served_by_best_fit(problem) if loose else min(known)[:-1]
    for goal in goals(problem, pinned_microrps):
        at = len(goal.pinned) if goal.priority is None else priorities(problem).index(goal.priority)
        within = [value[at] for value in known if all(one <= most for one, (_, most) in zip(value, goal.pinned, strict=False))]
        for rounds, precise_rounds, quick in ((0, 0, False), (2, 0, True), (400, 30, False), (400, 30, True)):
            root = root_of(problem, goal)
            root.run(rounds, never, CutRounds(quick, precise_rounds=precise_rounds))
            assert root.master.exact_bound(root.bound) <= min(within)
            if goal.priority is None:
                assert root.master.exact_bound(root.counts.solve()) <= min(within)
