"""Best fit: each demand, largest first, goes to the GPU in use where it serves most and leaves the least memory free."""

from __future__ import annotations

from collections.abc import Callable

from planner.problem import Problem, Solution, Watch
from solvers.baselines.greedy import order, shapes_by_demand, stopper
from solvers.baselines.openings import Tightest
from solvers.baselines.packing import Packing
from solvers.model.useful_shapes import candidates
from solvers.solution import answer, trimmed

NAME = "best-fit"


def solve(problem: Problem, *, time_limit_s: float | None = None, watch: Watch | None = None) -> Solution:
    """Answer a problem greedily; what finds no room stays unserved, lowest priority first."""
    packing = Packing(problem)
    fill(packing, stopper(time_limit_s, watch))
    return answer(problem, NAME, trimmed(problem, packing.patterns()))


def fill(packing: Packing, stopped: Callable[[], bool] = lambda: False) -> None:
    """Serve what is still unserved, demand by demand, until stopped says so."""
    problem = packing.problem
    choices = shapes_by_demand(problem, candidates(problem))
    for demand in order(problem):
        if stopped():
            return
        if not packing.wants(demand):
            continue
        openings = Tightest(packing, choices.get(demand, []))
        while packing.wants(demand) and (openings.join_tightest() or openings.open_fresh()):
            pass
