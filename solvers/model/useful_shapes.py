"""Which shapes are worth looking at: legal on their own, of use to their demand, and not dominated.

A shape dominates another of the same demand and pool when it asks for no more of any resource, limits its neighbours
no more, and offers at least the same capacity. Exchanging a shape for one that dominates it keeps every pattern legal
and every demand served, so engines drop the dominated ones without losing the optimum.
"""

from __future__ import annotations

from dataclasses import replace

from planner.problem import Pattern, Problem, Shape, is_legal
from solvers.model.dominance import first_dominators
from solvers.model.remembered import per_problem


@per_problem
def usable_shapes(problem: Problem) -> tuple[int, ...]:
    """Indexes of the shapes that are legal alone on a GPU (or block) of their pool and help their demand."""
    legal: dict[tuple[object, ...], bool] = {}
    return tuple(index for index, shape in enumerate(problem.shapes) if _helps(problem, shape) and _fits_alone(problem, shape, legal))


def _helps(problem: Problem, shape: Shape) -> bool:
    demand = problem.demands[shape.demand]
    return demand.max_replicas > 0 and (demand.min_replicas > 0 or (demand.peak_microrps > 0 and shape.capacity_microrps > 0))


def _fits_alone(problem: Problem, shape: Shape, legal: dict[tuple[object, ...], bool]) -> bool:
    """Whether a shape is legal alone; legal remembers the answers for shapes that differ in nothing but memory and what they serve."""
    pool = problem.pools[shape.pool]
    if pool.nodes < 1 or shape.gpus > pool.gpus_per_node:
        return False
    if shape.mode != "mig" and shape.memory_mib + shape.start_extra_mib > pool.memory_mib:
        return False
    place = (shape.pool, shape.mode, shape.gpus, shape.mig_profile, shape.host_cores, shape.host_memory_mib)
    key = (
        *place,
        shape.compute_permille,
        shape.bandwidth_permille,
        max(shape.active_permille),
        shape.max_residents,
        shape.active_limit_permille,
    )
    if key not in legal:
        bare = replace(shape, memory_mib=0, start_extra_mib=0)
        legal[key] = is_legal(replace(problem, shapes=(bare,)), Pattern(shape.pool, (0,)))
    return legal[key]


def takes_whole_gpus(shape: Shape) -> bool:
    """Whether a shape shares with nobody: exclusive, or tensor parallel over a block."""
    return shape.mode == "exclusive" or shape.gpus > 1


def dominators(problem: Problem) -> dict[int, int]:
    """Maps every usable shape to the shape that stands for it; the values are the undominated candidates."""
    return dict(zip(usable_shapes(problem), _standing(problem), strict=True))


@per_problem
def _standing(problem: Problem) -> tuple[int, ...]:
    """Which shape stands for each usable one."""
    usable = usable_shapes(problem)
    shapes = [problem.shapes[index] for index in usable]
    return tuple(usable[above] for above in first_dominators(shapes, [takes_whole_gpus(shape) for shape in shapes]))


@per_problem
def candidates(problem: Problem) -> tuple[int, ...]:
    """Indexes of the usable, undominated shapes in ascending order."""
    return tuple(sorted(set(_standing(problem))))
