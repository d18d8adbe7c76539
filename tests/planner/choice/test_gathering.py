"""Steps of compact on random problems: legal, no dearer, no less served, within their moves, and less scattered each time."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given

from planner.choice.fragmentation import unusable_gpus
from planner.choice.gathering import GatheringSteps, as_now
from planner.problem import Pattern, Placed, Pool, Problem, Shape, holdings_now, violations
from planner.problem.model import Demand
from solvers.placement.physical import place
from tests.strategies import problems
from ullage.plugins import BASELINES, SOLVERS, load

MOVES = 2


@pytest.mark.parametrize("engine", BASELINES)
@given(problem=problems())
def test_a_step_scatters_less_and_worsens_nothing(engine: str, problem: Problem) -> None:
    runs = replace(problem, current=place(problem, load("solvers", SOLVERS, engine)(problem)))
    start = as_now(runs, "compact")
    assert not any(violations(runs, start.solution))
    assert start.scattered.unusable_gpus == pytest.approx(unusable_gpus(runs, start.solution))
    for step in islice(GatheringSteps(runs, start).after(start, MOVES), 4):
        assert not any(violations(runs, step.solution))
        assert step.solution.cost_microusd_per_h <= start.solution.cost_microusd_per_h
        assert all(then <= now for then, now in zip(step.solution.unserved_microrps, start.solution.unserved_microrps, strict=True))
        assert step.scattered.rank() < start.scattered.rank()
        assert 1 <= step.moves <= MOVES
        replicas = [sum(len(pattern.residents) * pattern.count for pattern in each.solution.patterns) for each in (step, start)]
        assert replicas[0] == replicas[1]
        place(runs, step.solution)


def test_a_gpu_is_emptied_where_one_replica_alone_frees_none() -> None:
    shapes = tuple(
        Shape(name, demand, 0, "time_shared", memory_mib, 10, max_residents=4, active_limit_permille=4000, compute_permille=0)
        for demand, (name, memory_mib) in enumerate((("a", 70), ("b", 75), ("c", 30), ("d", 25)))
    )
    demands = tuple(Demand(shape.name, (10,)) for shape in shapes)
    current = (Placed(0, 0, (0,)), Placed(1, 0, (1,)), Placed(2, 0, (2,)), Placed(3, 0, (2,)))
    runs = Problem((Pool("pool", 1, 3, 100, 1_000_000),), demands, shapes, current)
    steps, start = GatheringSteps(runs, as_now(runs, "compact")), as_now(runs, "compact")
    assert len(holdings_now(runs)) == 3
    assert all(step.scattered.gpus_used == 3 for step in steps.after(start, 1))
    best = next(iter(steps.after(start, 2)))
    assert best.solution.patterns == (Pattern(0, (0, 2)), Pattern(0, (1, 3)))
    assert (best.moves, best.scattered.gpus_used, best.solution.cost_microusd_per_h) == (2, 2, 2_000_000)
