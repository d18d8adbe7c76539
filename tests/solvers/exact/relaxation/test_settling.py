"""The bound from whole numbers of GPUs never exceeds the cost of a legal plan, and the relaxation is as free afterwards as before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.problem import Problem, priorities
from solvers.exact.relaxation.counts import Counts
from solvers.exact.relaxation.cover_cuts import CutRounds
from solvers.exact.relaxation.settling import Settling
from solvers.model.master import StageGoal
from tests.brute_force import every_objective
from tests.solvers.exact.roots import never, root_of
from tests.strategies import random_problem, tiny_problems

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)


@SLOW
@given(problem=tiny_problems(), precise_rounds=st.sampled_from((0, 1, 3)))
def test_the_bound_holds_against_every_plan_and_the_relaxation_is_free_again(problem: Problem, precise_rounds: int) -> None:
    best = min(every_objective(problem))
    pinned = tuple(zip(priorities(problem), best[:-1], strict=True))
    root = root_of(problem, StageGoal(None, pinned))
    root.run(100, never, CutRounds(precise_rounds=5))
    before = root.program.solver.solve()
    settling = Settling(root, precise_rounds)
    settling.every_way(never)
    settling.run(20, never)
    assert root.master.exact_bound(root.counts.bound) <= best[-1]
    after = root.program.solver.solve()
    assert (before is None) == (after is None)
    # columns may have come, so the relaxation is cheaper if anything
    assert before is None or after is None or after.value <= before.value + 1e-6 * max(1.0, abs(before.value))


def test_a_bound_without_whole_numbers_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Branch and bound of the small program over numbers of GPUs and nodes may end with a bound alone."""
    drawn = random_problem(1, 4, 3, 8)
    problem = replace(drawn, pools=tuple(replace(pool, billing="node") for pool in drawn.pools))
    root = root_of(problem, StageGoal(None, tuple((each, 0) for each in priorities(problem))))
    root.run(100, never)
    root.counts.gpus, root.counts.nodes = [], []
    monkeypatch.setattr(Counts, "solve", lambda counts: counts.bound)
    Settling(root, 3).run(20, never)
    assert root.counts.gpus == []
