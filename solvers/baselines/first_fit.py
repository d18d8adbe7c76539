"""First-fit decreasing: each demand, largest first, goes to the first GPU in use that takes one of its shapes."""

from __future__ import annotations

from planner.problem import Problem, Solution
from solvers.baselines.greedy import at_once, order, shapes_by_demand
from solvers.baselines.openings import InOrder
from solvers.baselines.packing import Packing
from solvers.model.useful_shapes import candidates
from solvers.solution import answer, trimmed

NAME = "first-fit-decreasing"


@at_once
def solve(problem: Problem) -> Solution:
    """Answer a problem greedily; what finds no room stays unserved, lowest priority first."""
    packing = Packing(problem)
    choices = shapes_by_demand(problem, candidates(problem))
    for demand in order(problem):
        openings = InOrder(packing, choices.get(demand, []))
        while packing.wants(demand) and (openings.join_first() or openings.open_fresh()):
            pass
    return answer(problem, NAME, trimmed(problem, packing.patterns()))
