"""A stage knows every bound that its relaxation found, of the cost and of what stays unserved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.problem import priorities
from solvers.exact import stage as stages
from solvers.exact.effort import Effort, Search
from solvers.model.master import StageGoal
from solvers.model.useful_shapes import candidates
from tests.strategies import random_problem


@pytest.mark.parametrize("rounds", [1, 3, 400])
def test_the_bound_of_the_last_look_counts(rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    relax = stages._Stage.relax

    def watched(stage: stages._Stage, precise_rounds: int, part: float) -> None:
        relax(stage, precise_rounds, part)
        seen.append((stage.floor, stage.master.exact_bound(stage.root.bound)))

    monkeypatch.setattr(stages._Stage, "relax", watched)
    for seed in range(40):
        problem = random_problem(seed, 4, 4, 10)
        if not problem.demands:
            continue
        # more than there is room for, so that something stays unserved
        problem = replace(problem, demands=tuple(replace(each, rate_microrps=(500,)) for each in problem.demands))
        shapes = candidates(problem)
        stages.run_stage(Search(problem, shapes, Effort(rounds=rounds), (), "exact"), StageGoal(priorities(problem)[0], ()))
    assert any(bound for _, bound in seen)
    assert all(floor >= bound for floor, bound in seen)
