"""What a fleet costs at least, and about, before any engine is asked."""

from __future__ import annotations

from collections.abc import Callable

from planner.explain.ways import gpu_fraction_of
from planner.sizing.blueprint import Blueprint


def least_microusd_per_h(blueprint: Blueprint) -> float:
    """No plan that serves all demand costs less.

    A GPU in use costs its price, and the memory of its residents adds up to no more than it has: so a replica costs at least the part of
    the memory that it takes. All of a demand needs as many replicas as carry its peak, parts of one counted, and its fewest replicas.
    """
    return sum(_of_demand(blueprint, index, _memory_part, whole=False) for index in range(len(blueprint.groups)))


def usual_microusd_per_h(blueprint: Blueprint) -> float:
    """About what a plan costs: each demand by its cheapest kind of replica, whole ones, each by the part of a GPU that it fills.

    Infinite where a demand has no way to be served at all.
    """
    return sum(_of_demand(blueprint, index, gpu_fraction_of, whole=True) for index in range(len(blueprint.groups)))


def _of_demand(blueprint: Blueprint, demand: int, gpus_of: Callable[[Blueprint, int], float], *, whole: bool) -> float:
    problem = blueprint.problem
    asked = problem.demands[demand]
    fewest = max(1, asked.min_replicas)
    prices = []
    for index, shape in enumerate(problem.shapes):
        if shape.demand == demand and shape.capacity_microrps > 0:
            replicas = asked.peak_microrps / shape.capacity_microrps
            counted = max(fewest, -(-asked.peak_microrps // shape.capacity_microrps)) if whole else replicas
            prices.append((counted, gpus_of(blueprint, index) * problem.pools[shape.pool].price_microusd_per_h))
    if not prices:
        return float("inf") if whole else 0.0
    by_rate = min(counted * each for counted, each in prices)
    return by_rate if whole else max(by_rate, fewest * min(each for _, each in prices))


def _memory_part(blueprint: Blueprint, index: int) -> float:
    """GPUs whose memory a replica takes: whole ones where it is alone."""
    candidate, shape = blueprint.candidates[index], blueprint.problem.shapes[index]
    if candidate.mig is not None:
        return candidate.mig.memory_slices / candidate.site.gpu.mig_memory_slices
    if shape.mode == "exclusive":
        return float(shape.gpus)
    return shape.memory_mib / blueprint.problem.pools[shape.pool].memory_mib
