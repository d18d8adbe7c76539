"""What engines of one GPU count as: the same engine may be one of several classes of neighbours, and says which beside its neighbours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TYPE_CHECKING

from planner.problem import Pattern, Problem, Shape, Solution, is_legal
from planner.sizing.activity import SharingLimit
from planner.sizing.candidates import Candidate

if TYPE_CHECKING:
    from planner.sizing.blueprint import Blueprint


def identity(candidate: Candidate) -> tuple[object, ...]:
    """What tells engines of one part of a pool apart, whatever neighbours they bear."""
    mig = candidate.mig.name if candidate.mig else None
    size = (candidate.kv_bytes, candidate.capacity_rps, candidate.utilization_fraction)
    return (candidate.group.name, candidate.mode, mig, candidate.settings, *size)


def loosest_first(limit: SharingLimit) -> tuple[float, int]:
    """Sorts classes of neighbours: those that bear most activity first."""
    return -limit.active_limit, -limit.max_residents


def together(options: Sequence[Sequence[Candidate]]) -> list[Candidate] | None:
    """One candidate for each engine of a GPU, all of the loosest class that all bear, which leaves most room to newcomers; None without."""
    limits = {candidate.limit for own in options for candidate in own}
    for limit in sorted(limits, key=loosest_first):
        chosen = [next((candidate for candidate in own if candidate.limit == limit), None) for own in options]
        alike = [candidate for candidate in chosen if candidate is not None]
        if len(alike) == len(options) and bear_each_other(alike):
            return alike
    return None


def bear_each_other(candidates: Sequence[Candidate]) -> bool:
    """Whether engines of one GPU are no more, and no more active, than each of them bears."""
    residents = min(candidate.limit.max_residents for candidate in candidates)
    active_limit = min(candidate.limit.active_limit for candidate in candidates)
    active_permille = map(sum, zip(*(candidate.active_permille for candidate in candidates), strict=True))
    return len(candidates) <= residents and max(active_permille) <= 1000 * active_limit


def loosened(blueprint: Blueprint, problem: Problem, solution: Solution) -> Solution:
    """The same replicas on the same GPUs, each GPU's as the loosest class that all of them bear; problem has the blueprint's shapes.

    A looser class may want a larger KV pool: engines that start anew get it where there is room. Those that run keep theirs.
    """
    runs = {item.shape for item in problem.current}
    alike: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, (candidate, shape) in enumerate(zip(blueprint.candidates, problem.shapes, strict=True)):
        if shape.mode == "time_shared":
            alike[_engine(candidate, shape)].append(index)
            if index not in runs:
                alike[_replica(candidate, shape)].append(index)
    for own in alike.values():
        own.sort(key=lambda index: (problem.shapes[index].memory_mib, index))
    counts: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for pattern in solution.patterns:
        counts[pattern.pool, _loosest(blueprint, problem, pattern, alike, runs)] += pattern.count
    same = all(counts[pattern.pool, pattern.residents] == pattern.count for pattern in solution.patterns)
    patterns = tuple(Pattern(pool, residents, count) for (pool, residents), count in sorted(counts.items()))
    return solution if same else replace(solution, patterns=patterns)


def _loosest(
    blueprint: Blueprint, problem: Problem, pattern: Pattern, alike: Mapping[tuple[object, ...], Sequence[int]], runs: AbstractSet[int]
) -> tuple[int, ...]:
    residents = [(blueprint.candidates[index], problem.shapes[index]) for index in pattern.residents]
    if residents[0][1].mode != "time_shared":
        return pattern.residents
    anew = runs.isdisjoint(pattern.residents)
    options = [alike[(_replica if anew else _engine)(*resident)] for resident in residents]
    common = together([[blueprint.candidates[index] for index in own] for own in options])
    if common is None:
        return pattern.residents
    found = sorted(
        index if _bears(blueprint.candidates[index].limit, candidate.limit) else _index_of(blueprint, own, candidate)
        for index, own, candidate in zip(pattern.residents, options, common, strict=True)
    )
    looser = replace(pattern, residents=tuple(found))
    return looser.residents if is_legal(problem, looser) else pattern.residents


def _engine(candidate: Candidate, shape: Shape) -> tuple[object, ...]:
    return (shape.demand, shape.pool, identity(candidate))


def _bears(own: SharingLimit, limit: SharingLimit) -> bool:
    """Whether a class of neighbours is no tighter than another."""
    return own.max_residents >= limit.max_residents and own.active_limit >= limit.active_limit


def _replica(candidate: Candidate, shape: Shape) -> tuple[object, ...]:
    """What tells replicas apart that carry as much, whatever neighbours they bear and whatever pool that takes."""
    return (shape.demand, shape.pool, candidate.settings, candidate.capacity_rps)


def _index_of(blueprint: Blueprint, indexes: Sequence[int], candidate: Candidate) -> int:
    return next(index for index in indexes if blueprint.candidates[index] is candidate)
