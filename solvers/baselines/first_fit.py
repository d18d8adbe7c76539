"""First-fit decreasing: each demand, largest first, goes to the first GPU in use that takes one of its shapes."""

from __future__ import annotations

from planner.problem import Problem, Solution, Watch
from solvers.baselines.greedy import Openings, open_fresh, order, shapes_by_demand
from solvers.baselines.packing import Packing
from solvers.model.useful_shapes import candidates
from solvers.solution import answer, trimmed

NAME = "first_fit"


def solve(
    problem: Problem,
    *,
    time_limit_s: float | None = None,  # noqa: ARG001 (a pass over the demands ends by itself)
    watch: Watch | None = None,  # noqa: ARG001 (as above)
) -> Solution:
    """Answer a problem greedily; what finds no room stays unserved, lowest priority first."""
    packing = Packing(problem)
    choices = shapes_by_demand(problem, candidates(problem))
    for demand in order(problem):
        shapes = choices.get(demand, [])
        openings = Openings(packing, shapes)
        while packing.wants(demand) and (_join_first(packing, openings) or open_fresh(packing, shapes)):
            pass
    return answer(problem, NAME, trimmed(problem, packing.patterns()))


def _join_first(packing: Packing, openings: Openings) -> bool:
    """Add to the first GPU in use that takes any the shape that serves most; False when none takes one."""
    offer = openings.first()
    if offer is not None:
        gpu, fitting = offer
        packing.join(gpu, min(fitting, key=lambda index: (-packing.served(index), packing.problem.shapes[index].memory_mib, index)))
    return offer is not None
