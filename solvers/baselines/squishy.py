"""Squishy bin packing after Nexus (SOSP'19): saturate whole GPUs first, then merge the under-full residuals.

Every demand gets as many full replicas on GPUs of their own as its load saturates. What is left of each is
less than one replica; these residuals, largest first, are squished together onto shared GPUs, each to the GPU that it fills best.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.problem import Problem, Solution
from solvers.baselines.greedy import at_once, largest, open_fresh, order, shapes_by_demand
from solvers.baselines.openings import Tightest
from solvers.baselines.packing import Packing
from solvers.model.useful_shapes import candidates, takes_whole_gpus, usable_shapes
from solvers.solution import answer, trimmed

NAME = "squishy"


@at_once
def solve(problem: Problem) -> Solution:
    """Answer a problem greedily; what finds no room stays unserved, lowest priority first."""
    packing = Packing(problem)
    whole = shapes_by_demand(problem, [i for i in usable_shapes(problem) if takes_whole_gpus(problem.shapes[i])])
    choices = shapes_by_demand(problem, candidates(problem))
    for priority in sorted({demand.priority for demand in problem.demands}, reverse=True):
        demands = [i for i in order(problem) if problem.demands[i].priority == priority]
        for demand in demands:
            while packing.wants(demand) and _saturate(packing, whole.get(demand, [])):
                pass
        for demand in sorted(demands, key=lambda i: (-packing.missing(i), i)):
            openings = Tightest(packing, choices.get(demand, []))
            while packing.wants(demand) and (openings.join_tightest() or openings.open_fresh()):
                pass
    return answer(problem, NAME, trimmed(problem, packing.patterns()))


def _saturate(packing: Packing, shapes: Sequence[int]) -> bool:
    """Open GPUs for replicas whose whole capacity is needed."""
    full = [index for index in shapes if 0 < packing.problem.shapes[index].capacity_microrps <= packing.served(index)]
    return open_fresh(packing, full, largest(packing.problem, shapes)) is not None
