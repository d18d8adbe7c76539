"""Answers made to disturb what runs less: engines that run take the places of others that would do the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from planner.choice.beside import patterns_beside, patterns_of
from planner.problem import Holding, Pattern, Problem, Shape, is_legal, lacking

Residents = tuple[int, ...]


def settled(problem: Problem, patterns: Sequence[Pattern], holdings: Mapping[Holding, int]) -> tuple[Pattern, ...]:
    """The patterns with engines of the holdings in place of others of their model and kind, wherever that is legal.

    Each pattern takes the holdings that spare it most memory to load.
    """
    left = Counter(dict(holdings))
    wanted = Counter({(pattern.pool, pattern.residents): pattern.count for pattern in patterns})
    after: Counter[Holding] = Counter()
    pairs = [
        (-staying_mib, holding, pattern, residents)
        for holding in left
        for pattern in wanted
        if holding[0] == pattern[0]
        for residents, staying_mib in [_mixed(problem, pattern[1], holding[1])]
        if staying_mib
    ]
    for _, holding, pattern, residents in sorted(pairs):
        count = min(left[holding], wanted[pattern])
        mixed = Pattern(pattern[0], residents)
        if count and is_legal(problem, mixed):
            left[holding] -= count
            wanted[pattern] -= count
            after[mixed.pool, mixed.residents] += count
    return patterns_of(after + wanted)


def replaced(problem: Problem, holdings: Mapping[Holding, int]) -> tuple[Pattern, ...] | None:
    """The holdings without the models that lack something, which get new replicas beside the others; None without room."""
    kept: Counter[Holding] = Counter()
    short = lacking(problem, holdings)
    for (pool, residents), count in holdings.items():
        others = tuple(index for index in residents if problem.shapes[index].demand not in short)
        if others:
            kept[pool, others] += count
    return patterns_beside(problem, kept)


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
