"""From a bag of patterns to a Solution, the same way for every engine."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from planner.problem import Demand, Pattern, Problem, Solution, cost, objective, priorities, shortfall, unserved


def merged(patterns: Iterable[Pattern]) -> tuple[Pattern, ...]:
    """Equal patterns added up and sorted, so that the same answer is always written the same way."""
    counts: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for pattern in patterns:
        counts[pattern.pool, tuple(sorted(pattern.residents))] += pattern.count
    return tuple(Pattern(pool, residents, count) for (pool, residents), count in sorted(counts.items()) if count and residents)


def answer(problem: Problem, engine: str, patterns: Iterable[Pattern]) -> Solution:
    """A Solution with exact unserved demand and cost, and the trivial bounds."""
    clean = merged(patterns)
    return Solution(
        engine=engine,
        patterns=clean,
        unserved_microrps=unserved(problem, clean),
        cost_microusd_per_h=cost(problem, clean),
        bound_microusd_per_h=0,
        bound_unserved_microrps=(0,) * len(priorities(problem)),
        status="feasible",
    )


def with_bounds(problem: Problem, solution: Solution, unserved_microrps: Sequence[int], microusd_per_h: int) -> Solution:
    """The Solution with valid bounds attached; it is optimal exactly when it meets both."""
    bounds = (*unserved_microrps, microusd_per_h)
    return replace(
        solution,
        bound_unserved_microrps=tuple(unserved_microrps),
        bound_microusd_per_h=microusd_per_h,
        status="optimal" if bounds == objective(problem, solution) else "feasible",
    )


def trimmed(problem: Problem, patterns: Iterable[Pattern]) -> tuple[Pattern, ...]:
    """The patterns without replicas that serve nothing: taking a replica off never breaks a legal pattern.

    Replicas are dropped while the shortfall of their demand stays what it is, smallest capacity first.
    """
    listed = merged(patterns)
    counts: Counter[int] = Counter()
    for pattern in listed:
        for shape in pattern.residents:
            counts[shape] += pattern.count
    spare = _spare(problem, counts)
    return merged(part for pattern in listed for part in _relieved(pattern, spare))


def _relieved(pattern: Pattern, spare: Counter[int]) -> Iterator[Pattern]:
    """The GPUs of a pattern without what is spare, one after the other, those that lose the same at once; what goes is no longer spare."""
    held = Counter(pattern.residents)
    left = pattern.count
    while left:
        dropped = {shape: min(number, spare[shape]) for shape, number in held.items() if spare[shape]}
        alike = min([left, *(spare[shape] // number for shape, number in dropped.items())])
        spare.subtract({shape: number * alike for shape, number in dropped.items()})
        yield Pattern(pattern.pool, tuple((held - Counter(dropped)).elements()), alike)
        left -= alike


def _spare(problem: Problem, counts: Counter[int]) -> Counter[int]:
    """How many replicas of each shape serve nothing."""
    spare: Counter[int] = Counter()
    capacity_microrps: Counter[int] = Counter()
    replicas: Counter[int] = Counter()
    largest_microrps: Counter[int] = Counter()
    for shape, count in counts.items():
        i, offered = problem.shapes[shape].demand, problem.shapes[shape].capacity_microrps
        capacity_microrps[i] += offered * count
        replicas[i] += count
        largest_microrps[i] = max(largest_microrps[i], offered)
    for shape in sorted(counts, key=lambda index: (problem.shapes[index].capacity_microrps, index)):
        i, offered = problem.shapes[shape].demand, problem.shapes[shape].capacity_microrps
        demand = problem.demands[i]
        now = shortfall(demand, capacity_microrps[i], replicas[i], largest_microrps[i])

        def needed(fewer: int, i: int = i, offered: int = offered, demand: Demand = demand, now: int = now) -> bool:
            # the smallest goes first, so the largest stays as long as there is another
            largest = largest_microrps[i] if replicas[i] > fewer else 0
            return shortfall(demand, capacity_microrps[i] - fewer * offered, replicas[i] - fewer, largest) > now

        # the more go, the more is missing: the first number of them that are needed ends it
        spare[shape] = bisect_left(range(1, counts[shape] + 1), True, key=needed)
        capacity_microrps[i] -= offered * spare[shape]
        replicas[i] -= spare[shape]
    return spare
