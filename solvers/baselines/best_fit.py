"""Best fit: each demand, largest first, goes to the GPU in use where it serves most and leaves the least memory free."""

from __future__ import annotations

from planner.problem import Problem, Solution
from solvers.baselines.greedy import at_once, order, shapes_by_demand
from solvers.baselines.openings import Tightest
from solvers.baselines.packing import Packing
from solvers.model.useful_shapes import candidates
from solvers.solution import answer, trimmed

NAME = "best-fit"


@at_once
def solve(problem: Problem) -> Solution:
    """Answer a problem greedily; what finds no room stays unserved, lowest priority first."""
    packing = Packing(problem)
    fill(packing)
    return answer(problem, NAME, trimmed(problem, packing.patterns()))


def fill(packing: Packing) -> None:
    """Serve what is still unserved, demand by demand."""
    problem = packing.problem
    choices = shapes_by_demand(problem, candidates(problem))
    for demand in order(problem):
        if not packing.wants(demand):
            continue
        openings = Tightest(packing, choices.get(demand, []))
        while packing.wants(demand) and (openings.join_tightest() or openings.open_fresh()):
            pass
