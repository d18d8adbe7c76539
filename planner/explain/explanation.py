"""The part of an explanation that needs no further solving: per model and per GPU."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from planner.explain.binding import binding
from planner.explain.ways import active_fraction_of, refusals, ways
from planner.plan import Explanation, GpuRows, ModelReasons
from planner.problem import Placed, Pool, Shape
from planner.sizing.blueprint import Blueprint
from planner.sizing.candidates import Candidate
from planner.sizing.parts import node_name


def explanation(blueprint: Blueprint, placed: Sequence[Placed], quantile: float) -> Explanation:
    """Reasons per served model, sorted by name, and the rows of every GPU in use; quantile is the one that replicas are sized for."""
    standing = Counter(item.shape for item in placed)
    models = []
    for demand, group in enumerate(blueprint.groups):
        own = [index for index, shape in enumerate(blueprint.problem.shapes) if shape.demand == demand]
        limit, reason = binding(blueprint, own, standing, quantile)
        models.append(
            ModelReasons(
                served_name=group.name,
                limit=limit,
                limit_reason=reason,
                ways=ways(blueprint, own, standing),
                refusals=refusals(blueprint, group.name),
            )
        )
    return Explanation(models=tuple(models), gpus=gpu_rows(blueprint, placed))


def gpu_rows(blueprint: Blueprint, placed: Sequence[Placed]) -> tuple[GpuRows, ...]:
    """How full each GPU in use is; a tensor-parallel block counts once, under its first GPU."""
    residents: defaultdict[tuple[int, int, int], list[int]] = defaultdict(list)
    for item in blueprint.real(placed):
        residents[blueprint.problem.shapes[item.shape].pool, item.node, item.gpus[0]].append(item.shape)
    found = []
    for (pool, node, gpu), here in sorted(residents.items()):
        memory_fraction, active_fraction, compute_fraction = rows_of(blueprint, here)
        found.append(
            GpuRows(
                node=node_name(blueprint.pools[pool], node),
                gpu=gpu,
                memory_fraction=round(memory_fraction, 4),
                active_fraction=round(active_fraction, 4),
                compute_fraction=round(compute_fraction, 4),
            )
        )
    return tuple(found)


def rows_of(blueprint: Blueprint, residents: Sequence[int]) -> tuple[float, float, float]:
    """Memory, active residents and compute of one GPU as fractions of what it offers; residents are shape indexes, at least one."""
    problem = blueprint.problem
    shapes = [problem.shapes[index] for index in residents]
    pool = problem.pools[shapes[0].pool]
    if shapes[0].mode == "mig":
        slices = [candidate.mig for candidate in (blueprint.candidates[index] for index in residents) if candidate.mig is not None]
        gpu = blueprint.candidates[residents[0]].site.gpu
        memory_fraction = sum(mig.memory_slices for mig in slices) / gpu.mig_memory_slices
        return memory_fraction, 0.0, sum(mig.compute_slices for mig in slices) / gpu.mig_compute_slices
    memory_fraction = sum(shape.memory_mib for shape in shapes) / pool.memory_mib
    if shapes[0].mode == "exclusive":
        return memory_fraction, 1.0, 1.0
    return (
        memory_fraction,
        active_fraction_of(pool, shapes),
        _compute_fraction(pool, shapes, [blueprint.candidates[index] for index in residents]),
    )


def _compute_fraction(pool: Pool, shapes: Sequence[Shape], residents: Sequence[Candidate]) -> float:
    """What the residents take of the GPU's time in the window in which they take most."""
    busiest_permille = max(map(sum, zip(*(candidate.compute_permille for candidate in residents), strict=True)))
    used_permille = busiest_permille + pool.resident_cost_permille * (len(shapes) - 1)
    bandwidth_permille = sum(shape.bandwidth_permille for shape in shapes)
    return max(used_permille, bandwidth_permille) / pool.compute_limit_permille
