"""Answers made to disturb what runs less: engines that run take the places of others that would do the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from planner.choice.beside import patterns_beside, patterns_of
from planner.problem import Pattern, Problem, Shape, Spot, pattern_violations

Residents = tuple[int, ...]


def settled(problem: Problem, patterns: Sequence[Pattern], spots: Mapping[Spot, int]) -> tuple[Pattern, ...]:
    """The patterns with engines of the spots in place of others of their model and kind, wherever that is legal.

    Each pattern takes the spots that spare it most memory to load.
    """
    left = Counter(dict(spots))
    wanted = Counter({(pattern.pool, pattern.residents): pattern.count for pattern in patterns})
    after: Counter[Spot] = Counter()
    pairs = [
        (-staying_mib, spot, pattern, residents)
        for spot in left
        for pattern in wanted
        if spot[0] == pattern[0]
        for residents, staying_mib in [_mixed(problem, pattern[1], spot[1])]
        if staying_mib
    ]
    for _, spot, pattern, residents in sorted(pairs):
        count = min(left[spot], wanted[pattern])
        mixed = Pattern(pattern[0], residents)
        if count and next(pattern_violations(problem, mixed), None) is None:
            left[spot] -= count
            wanted[pattern] -= count
            after[mixed.pool, mixed.residents] += count
    return patterns_of(after + wanted)


def replaced(problem: Problem, spots: Mapping[Spot, int]) -> tuple[Pattern, ...] | None:
    """The spots without the models that lack something, which get new replicas beside the others; None without room."""
    kept: Counter[Spot] = Counter()
    lacking = _lacking(problem, spots)
    for (pool, residents), count in spots.items():
        others = tuple(index for index in residents if problem.shapes[index].demand not in lacking)
        if others:
            kept[pool, others] += count
    return patterns_beside(problem, kept)


def _lacking(problem: Problem, spots: Mapping[Spot, int]) -> set[int]:
    """Demands of which the spots do not carry the peak, or have too few replicas."""
    carried: Counter[int] = Counter()
    replicas: Counter[int] = Counter()
    for (_, residents), count in spots.items():
        for index in residents:
            carried[problem.shapes[index].demand] += count * problem.shapes[index].capacity_microrps
            replicas[problem.shapes[index].demand] += count
    return {i for i, demand in enumerate(problem.demands) if carried[i] < demand.peak_microrps or replicas[i] < demand.min_replicas}


def _mixed(problem: Problem, wanted: Residents, running: Residents) -> tuple[Residents, int]:
    """Residents as wanted, those that run in place of others of their kind; and the MiB of those that stay."""
    same = Counter(wanted) & Counter(running)
    free = sorted((Counter(running) - same).elements())
    residents = sorted(same.elements())
    for index in (Counter(wanted) - same).elements():
        twin = next((other for other in free if _does_as_well(problem.shapes[other], problem.shapes[index])), None)
        if twin is None:
            residents.append(index)
        else:
            free.remove(twin)
            residents.append(twin)
    staying = (Counter(residents) & Counter(running)).elements()
    return tuple(sorted(residents)), sum(problem.shapes[index].memory_mib for index in staying)


def _does_as_well(one: Shape, other: Shape) -> bool:
    same_kind = (one.demand, one.mode, one.gpus, one.mig_profile) == (other.demand, other.mode, other.gpus, other.mig_profile)
    return same_kind and one.capacity_microrps >= other.capacity_microrps
