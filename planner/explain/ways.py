"""The ways there are of running a model, priced by the part of a GPU that each fills, and those that are impossible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from planner.plan import Refusal, Way
from planner.problem import MICRO, Pool, Shape, active_by_window
from planner.sizing.blueprint import Blueprint

# What is told of each model: the cheapest ways, and refusals in the order of pools. Plans stay small however many pools there are.
MOST_WAYS = 6


def ways(blueprint: Blueprint, own: Sequence[int], standing: Counter[int]) -> tuple[Way, ...]:
    """One way per pool, mode, block size and MIG profile, the best of its sizes, cheapest first; chosen ones are always among them.

    own are the shape indexes of the model, standing how many replicas of each shape the plan has.
    """
    best: dict[tuple[str, str, int, str], Way] = {}
    for index in own:
        way = _way(blueprint, index, standing)
        key = (way.pool, way.mode, way.gpus, way.mig_profile or "")
        known = best.get(key)
        if known is None or (not way.chosen, way.usd_per_h, way.replicas) < (not known.chosen, known.usd_per_h, known.replicas):
            best[key] = way
    ordered = sorted(best.values(), key=lambda way: (way.usd_per_h, way.pool, way.mode, way.gpus, way.mig_profile or ""))
    others = [way for way in ordered if not way.chosen][: max(0, MOST_WAYS - sum(way.chosen for way in ordered))]
    return tuple(way for way in ordered if way.chosen or way in others)


def _way(blueprint: Blueprint, index: int, standing: Counter[int]) -> Way:
    candidate, shape = blueprint.candidates[index], blueprint.problem.shapes[index]
    pool = blueprint.problem.pools[shape.pool]
    demand = blueprint.problem.demands[shape.demand]
    replicas = max(1, demand.min_replicas, -(-demand.peak_microrps // max(1, shape.capacity_microrps)))
    gpu_fraction = replicas * gpu_fraction_of(blueprint, index)
    return Way(
        pool=pool.name,
        mode=candidate.mode,
        gpus=shape.gpus,
        mig_profile=shape.mig_profile,
        capacity_rps=candidate.capacity_rps,
        replicas=replicas,
        gpu_fraction=round(gpu_fraction, 4),
        usd_per_h=round(gpu_fraction * pool.price_microusd_per_h / MICRO, 4),
        chosen=standing[index] > 0,
    )


def gpu_fraction_of(blueprint: Blueprint, index: int) -> float:
    """How many GPUs one replica fills, by its fullest row: whole ones when it is exclusive."""
    candidate, shape = blueprint.candidates[index], blueprint.problem.shapes[index]
    pool = blueprint.problem.pools[shape.pool]
    if shape.mode == "exclusive":
        return float(shape.gpus)
    if candidate.mig is not None:
        gpu = candidate.site.gpu
        return max(candidate.mig.memory_slices / gpu.mig_memory_slices, candidate.mig.compute_slices / gpu.mig_compute_slices)
    if shape.mode == "mps":
        rows = (shape.memory_mib / pool.memory_mib, shape.compute_permille / 1000, shape.bandwidth_permille / 1000, 1 / shape.max_residents)
        return float(max(rows))
    active_fraction = active_fraction_of(pool, [shape])
    compute_fraction: float = max(*candidate.compute_permille, shape.bandwidth_permille) / pool.compute_limit_permille
    return max(shape.memory_mib / pool.memory_mib, active_fraction, compute_fraction)


def active_fraction_of(pool: Pool, shapes: Sequence[Shape]) -> float:
    """How much of the activity, or of the number of residents, is used up that the most sensitive of time-shared residents bears."""
    limit_permille = min(1000 * pool.max_active_residents, *(shape.active_limit_permille for shape in shapes))
    return max(max(active_by_window(shapes)) / limit_permille, len(shapes) / min(shape.max_residents for shape in shapes))


def refusals(blueprint: Blueprint, name: str) -> tuple[Refusal, ...]:
    """What is impossible for a model, each reason with its numbers."""
    return tuple(sorted(blueprint.refusals.get(name, ()), key=lambda item: (item.pool, item.mode, item.gpus, item.reason)))[:MOST_WAYS]
