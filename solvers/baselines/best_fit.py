"""Best fit: each demand, largest first, goes to the GPU in use where it serves most and leaves the least memory free."""

from __future__ import annotations

from planner.problem import Problem, Solution, Watch
from solvers.baselines.greedy import Openings, open_fresh, order, shapes_by_demand
from solvers.baselines.packing import OpenGpu, Packing
from solvers.model.useful_shapes import candidates
from solvers.solution import answer, trimmed

NAME = "best_fit"


def solve(
    problem: Problem,
    *,
    time_limit_s: float | None = None,  # noqa: ARG001 (a pass over the demands ends by itself)
    watch: Watch | None = None,  # noqa: ARG001 (as above)
) -> Solution:
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
        shapes = choices.get(demand, [])
        openings = Openings(packing, shapes)
        while packing.wants(demand) and (join_tightest(packing, openings) or open_fresh(packing, shapes)):
            pass


def join_tightest(packing: Packing, openings: Openings) -> bool:
    """Add the shape that serves most to the GPU in use with the least memory left after it; False when none takes it."""
    shapes = packing.problem.shapes
    best: tuple[tuple[int, ...], OpenGpu, int] | None = None
    for at, (gpu, fitting) in enumerate(openings.every()):
        free_mib = packing.problem.pools[gpu.pool].memory_mib - sum(shapes[i].memory_mib for i in gpu.residents)
        for index in fitting:
            key = (-packing.served(index), free_mib - shapes[index].memory_mib, at, index)
            if best is None or key < best[0]:
                best = (key, gpu, index)
    if best is not None:
        packing.join(best[1], best[2])
    return best is not None
