"""A stage knows every bound that its relaxation found, of the cost and of what stays unserved."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from planner.problem import priorities
from solvers.exact import stage as stages
from solvers.exact.effort import Effort, Search
from solvers.model.master import StageGoal
from solvers.model.useful_shapes import candidates
from tests.strategies import random_problem


@pytest.mark.parametrize(("billing", "rounds"), [("gpu", Effort().precise_rounds), ("node", 4)])
def test_rounds_are_saved_for_other_numbers_of_nodes_where_there_are_any(
    billing: Literal["gpu", "node"], rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(stages._Stage, "run", lambda stage: seen.append(stage.settling.precise_rounds))
    problem = random_problem(1, 4, 3, 8)
    problem = replace(problem, pools=tuple(replace(pool, billing=billing) for pool in problem.pools))
    search = Search(problem, candidates(problem), Effort(), (), "exact")
    for priority in priorities(problem):
        stages.run_stage(search, StageGoal(priority, ()))
    assert seen
    assert set(seen) == {rounds}


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
