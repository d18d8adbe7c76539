"""How much of what is left of the GPUs the fleet's own models could not use.

After FGD (Weng et al., "Beware of Fragmentation", USENIX ATC 2023): the expected part of the free capacity that a model drawn from the
demand mix cannot take. Capacity is memory in units of one GPU; the mix is the share of each model in the replicas of the plan; a model can
use what is left of a GPU when one of its shapes may legally join the residents. A replica that has its GPU to itself takes all memory as KV
cache; what it needs is that of its model's smallest shape there, the rest is left and nobody can use it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from planner.problem import Pattern, Pool, Problem, Shape, Solution, blocks_used, is_legal


def unusable_gpus(problem: Problem, solution: Solution) -> float:
    """Expected unusable capacity, in GPUs: summed over all GPUs that hold a replica or are paid for, and free ones of the pools."""
    unusable = Unusable(problem, solution)
    free = [pool.gpus - sum(blocks_used(problem, solution.patterns, index).values()) for index, pool in enumerate(problem.pools)]
    total = sum(pattern.count * unusable.of_pattern(pattern) for pattern in solution.patterns)
    return total + sum(count * unusable.of_free(index, count) for index, count in enumerate(free))


class Unusable:
    """Expected unusable capacity of single GPUs for newcomers drawn from the mix of a solution."""

    def __init__(self, problem: Problem, solution: Solution) -> None:
        """The mix is the share of each demand in the replicas."""
        self._problem, self._mix = problem, _mix(problem, solution)
        self._shapes: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for index, shape in enumerate(problem.shapes):
            self._shapes[shape.pool, shape.demand].append(index)
        for own in self._shapes.values():
            own.sort(key=lambda index: (problem.shapes[index].memory_mib, index))
        self._known: dict[tuple[int, tuple[int, ...]], float] = {}

    def of_pattern(self, pattern: Pattern) -> float:
        """Of one GPU, or block, with a pattern, in GPUs."""
        key = (pattern.pool, pattern.residents)
        if key not in self._known:
            left_fraction = _left_fraction(self._problem, pattern, self._shapes) if self._mix else 0.0
            self._known[key] = left_fraction * _refused(self._problem, pattern, self._mix, self._shapes) if left_fraction else 0.0
        return self._known[key]

    def of_free(self, pool: int, free: int) -> float:
        """Of one of so many free GPUs of a pool."""
        asked = self._problem.pools[pool]
        return sum(
            part for demand, part in self._mix.items() if not _may_open(self._problem, asked, self._shapes.get((pool, demand), ()), free)
        )


def _mix(problem: Problem, solution: Solution) -> dict[int, float]:
    """Share of each demand in the replicas."""
    replicas: Counter[int] = Counter()
    for pattern in solution.patterns:
        for index in pattern.residents:
            replicas[problem.shapes[index].demand] += pattern.count
    total = sum(replicas.values())
    return {demand: count / total for demand, count in sorted(replicas.items())}


def _left_fraction(problem: Problem, pattern: Pattern, shapes: Mapping[tuple[int, int], Sequence[int]]) -> float:
    """Memory of a GPU that nobody needs; nothing of a tensor-parallel block, which is its owner's."""
    residents = [problem.shapes[index] for index in pattern.residents]
    pool = problem.pools[pattern.pool]
    if residents[0].gpus > 1 or not pool.memory_mib:
        return 0.0
    needed_mib = sum(resident.memory_mib for resident in residents)
    if residents[0].mode == "exclusive":
        needed_mib = problem.shapes[shapes[pattern.pool, residents[0].demand][0]].memory_mib
    return max(0.0, 1.0 - needed_mib / pool.memory_mib)


def _refused(problem: Problem, pattern: Pattern, mix: Mapping[int, float], shapes: Mapping[tuple[int, int], Sequence[int]]) -> float:
    """Share of the mix that cannot join a pattern."""
    residents = [problem.shapes[index] for index in pattern.residents]
    if residents[0].mode == "exclusive":
        return 1.0
    if residents[0].mode != "mig" and len(residents) >= min(shape.max_residents for shape in residents):
        return 1.0
    pool = problem.pools[pattern.pool]
    left_mib = pool.memory_mib - sum(shape.memory_mib for shape in residents)
    return sum(
        part
        for demand, part in mix.items()
        if not any(_joins(problem, pattern, residents, index, left_mib) for index in shapes.get((pattern.pool, demand), ()))
    )


def _joins(problem: Problem, pattern: Pattern, residents: Sequence[Shape], index: int, left_mib: int) -> bool:
    shape = problem.shapes[index]
    # the cheap test first: most shapes fail it
    if shape.mode != residents[0].mode or (shape.mode != "mig" and shape.memory_mib > left_mib):
        return False
    together = Pattern(pattern.pool, tuple(sorted((*pattern.residents, index))))
    return is_legal(problem, together)


def _may_open(problem: Problem, pool: Pool, own: Sequence[int], free: int) -> bool:
    """Whether a model has a shape for free GPUs of a pool."""
    return any(problem.shapes[index].gpus <= min(free, pool.gpus_per_node) for index in own)
