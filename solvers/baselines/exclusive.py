"""Exclusive: every replica on whole GPUs of its own, each demand in its cheapest mix of shapes.

This is what a fleet without sharing costs. Where a demand has no exclusive shape (a pool that only shares or slices), its
replicas are still left alone on their GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.problem import Problem, Solution
from solvers.baselines.greedy import at_once, largest, open_fresh, order, shapes_by_demand
from solvers.baselines.packing import Packing
from solvers.model.shape_catalogue import options_of
from solvers.model.useful_shapes import takes_whole_gpus, usable_shapes
from solvers.searches.mixes import MixSearch
from solvers.solution import answer, trimmed

NAME = "exclusive"


@at_once
def solve(problem: Problem) -> Solution:
    """Answer a problem without any sharing; what finds no room stays unserved, lowest priority first."""
    packing = Packing(problem)
    usable = shapes_by_demand(problem, usable_shapes(problem))
    for demand in order(problem):
        own = usable.get(demand, [])
        shapes = [index for index in own if takes_whole_gpus(problem.shapes[index])] or own
        for index, count in _cheapest_mix(problem, demand, shapes):
            held = min(count, packing.room(index))
            if held:
                packing.open(index, held)
        while packing.wants(demand) and open_fresh(packing, shapes, largest(problem, shapes)):
            pass
    return answer(problem, NAME, trimmed(problem, packing.patterns()))


def _cheapest_mix(problem: Problem, demand: int, shapes: Sequence[int]) -> list[tuple[int, int]]:
    """Shapes of the cheapest mix with their counts, as far as the pools could ever hold it; empty when none serves the demand."""
    options = options_of(problem, demand, shapes)
    prices = [float(problem.pools[problem.shapes[i].pool].price_microusd_per_h * problem.shapes[i].gpus) for i in shapes]
    found = MixSearch(options, prices).run().found
    return [(shapes[option], count) for option, count in (found[-1][1].counts if found else ())]
