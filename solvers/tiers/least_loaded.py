"""Weights that every answer loads which serves as much: what runs may stay, and the rest of each demand is covered at the least."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from planner.problem import Demand, Problem, Solution, stays_as, weights_mib
from solvers.model.useful_shapes import usable_shapes
from solvers.searches.least import cheapest

# of a MiB: what sums of floats may be off
_NEAR = 1e-3


def least_load_mib(problem: Problem, best: Solution) -> int:
    """A lower bound in MiB over all GPUs. Demands count that are served in full by every answer that leaves no more unserved than best.

    Of what runs all may stay, whatever memory there is; what is missing then needs new replicas.
    """
    own: list[list[int]] = [[] for _ in problem.demands]
    for index in usable_shapes(problem):
        own[problem.shapes[index].demand].append(index)
    carried: Counter[int] = Counter()
    replicas: Counter[int] = Counter()
    for running, count in Counter(item.shape for item in problem.current).items():
        i = problem.shapes[running].demand
        as_other = [problem.shapes[index].capacity_microrps for index in own[i] if stays_as(problem, running, index)]
        carried[i] += count * max(problem.shapes[running].capacity_microrps, *as_other, 0)
        replicas[i] += count
    short = {problem.demands[i].priority for i, missing in enumerate(best.unserved_microrps) if missing}
    return sum(
        _least_mib(problem, demand, own[i], demand.peak_microrps - carried[i], demand.min_replicas - replicas[i])
        for i, demand in enumerate(problem.demands)
        if demand.priority not in short
    )


def _least_mib(problem: Problem, demand: Demand, shapes: list[int], missing_microrps: int, missing_replicas: int) -> int:
    loads = {index: weights_mib(problem, [index]) for index in shapes}
    by_count_mib = max(0, missing_replicas) * min(loads.values(), default=0)
    carriers = [index for index in shapes if problem.shapes[index].capacity_microrps]
    if missing_microrps <= 0 or not carriers:
        return by_count_mib
    capacity = np.array([min(problem.shapes[index].capacity_microrps, demand.peak_microrps) for index in carriers], dtype=np.int64)
    price = np.array([loads[index] for index in carriers], dtype=np.float64)
    # weights are whole MiB, so what lies just below a whole number is it
    return max(by_count_mib, math.ceil(cheapest(capacity, price, missing_microrps).value - _NEAR))
