"""First-fit decreasing: each demand, largest first, goes to the first GPU in use that takes one of its shapes."""

from __future__ import annotations

from collections.abc import Sequence

from planner.problem import Problem, Solution
from solvers.answer import answer, trimmed
from solvers.candidates import candidates
from solvers.greedy import joinable, open_fresh, order, shapes_by_demand
from solvers.packing import Packing

NAME = "first_fit"


def solve(problem: Problem, *, time_limit_s: float | None = None) -> Solution:  # noqa: ARG001 (a pass over the demands ends by itself)
    """Answer a problem greedily; what finds no room stays unserved, lowest priority first."""
    packing = Packing(problem)
    choices = shapes_by_demand(problem, candidates(problem))
    for demand in order(problem):
        shapes = choices.get(demand, [])
        while packing.wants(demand) and _place_one(packing, shapes):
            pass
    return answer(problem, NAME, trimmed(problem, packing.patterns()))


def _place_one(packing: Packing, shapes: Sequence[int]) -> bool:
    for gpu in packing.gpus:
        fitting = joinable(packing, gpu, shapes)
        if fitting:
            memory = packing.problem.shapes
            packing.join(gpu, min(fitting, key=lambda index: (-packing.served(index), memory[index].memory_mib, index)))
            return True
    return open_fresh(packing, shapes)
