"""Which shapes are worth looking at: legal on their own, of use to their demand, and not dominated.

A shape dominates another of the same demand and pool when it asks for no more of any resource, limits its neighbours
no more, and offers at least the same capacity. Exchanging a shape for one that dominates it keeps every pattern legal
and every demand served, so engines drop the dominated ones without losing the optimum.
"""

from __future__ import annotations

from collections import defaultdict

from planner.problem import Pattern, Problem, Shape, pattern_violations


def usable_shapes(problem: Problem) -> tuple[int, ...]:
    """Indexes of the shapes that are legal alone on a GPU (or block) of their pool and help their demand."""
    return tuple(index for index, shape in enumerate(problem.shapes) if _helps(problem, shape) and _fits_alone(problem, index))


def _helps(problem: Problem, shape: Shape) -> bool:
    demand = problem.demands[shape.demand]
    return demand.max_replicas > 0 and (demand.min_replicas > 0 or (demand.peak_microrps > 0 and shape.capacity_microrps > 0))


def _fits_alone(problem: Problem, index: int) -> bool:
    shape = problem.shapes[index]
    pool = problem.pools[shape.pool]
    if pool.nodes < 1 or shape.gpus > pool.gpus_per_node:
        return False
    return next(pattern_violations(problem, Pattern(shape.pool, (index,))), None) is None


def takes_whole_gpus(shape: Shape) -> bool:
    """Whether a shape shares with nobody: exclusive, or tensor parallel over a block."""
    return shape.mode == "exclusive" or shape.gpus > 1


def dominators(problem: Problem) -> dict[int, int]:
    """Maps every usable shape to the shape that stands for it; the values are the undominated candidates."""
    groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for index in usable_shapes(problem):
        groups[problem.shapes[index].demand, problem.shapes[index].pool].append(index)
    standing: dict[int, int] = {}
    for group in groups.values():
        for index in group:
            standing[index] = _dominator(problem, index, group)
    return {index: _root(standing, index) for index in standing}


def candidates(problem: Problem) -> tuple[int, ...]:
    """Indexes of the usable, undominated shapes in ascending order."""
    return tuple(sorted(set(dominators(problem).values())))


def _dominator(problem: Problem, index: int, group: list[int]) -> int:
    shape = problem.shapes[index]
    for other in group:
        rival = problem.shapes[other]
        # two shapes that dominate each other are equal in all that counts: the first stands for both
        if other != index and _dominates(rival, shape) and (other < index or not _dominates(shape, rival)):
            return other
    return index


def _root(standing: dict[int, int], index: int) -> int:
    while standing[index] != index:
        index = standing[index]
    return index


def _dominates(rival: Shape, shape: Shape) -> bool:
    if rival.capacity_microrps < shape.capacity_microrps or rival.gpus > shape.gpus:
        return False
    if takes_whole_gpus(shape):
        return rival.mode != "mig"
    same_place = (rival.mode, rival.mig_profile, rival.colocation_class) == (shape.mode, shape.mig_profile, shape.colocation_class)
    if not same_place or rival.host_cores > shape.host_cores or rival.host_memory_mib > shape.host_memory_mib:
        return False
    return shape.mode == "mig" or (
        rival.memory_mib <= shape.memory_mib
        and rival.start_extra_mib <= shape.start_extra_mib
        and rival.compute_permille <= shape.compute_permille
        and rival.bandwidth_permille <= shape.bandwidth_permille
        and _never_more_active(rival, shape)
        and rival.max_residents >= shape.max_residents
        and rival.active_limit_permille >= shape.active_limit_permille
    )


def _never_more_active(rival: Shape, shape: Shape) -> bool:
    """Whether a shape counts for no more than another in any window."""
    ours, theirs = rival.active_permille, shape.active_permille
    pairs = zip(ours, theirs, strict=True) if len(ours) == len(theirs) else ((max(ours), min(theirs)),)
    return all(mine <= other for mine, other in pairs)
