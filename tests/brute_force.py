"""An oracle that tries everything: the best objective of a tiny Problem, straight from the judge's rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

from planner.problem import Pattern, Problem, Solution, is_legal, objective, violations
from solvers.solution import answer

# no GPU of the strategies holds more: four quarters, or three active residents and idle ones
MOST_RESIDENTS = 6


def legal_patterns(problem: Problem) -> list[Pattern]:
    """Every legal pattern of one GPU or block."""
    found: list[Pattern] = []
    for pool in range(len(problem.pools)):
        members = [index for index, shape in enumerate(problem.shapes) if shape.pool == pool]
        for size in range(1, MOST_RESIDENTS + 1):
            for residents in combinations_with_replacement(members, size):
                pattern = Pattern(pool, residents)
                if is_legal(problem, pattern):
                    found.append(pattern)
    return found


def every_answer(problem: Problem) -> Iterator[Solution]:
    """All legal solutions."""
    return (answer(problem, "brute force", chosen) for chosen in _fleets(problem, legal_patterns(problem), []))


def every_objective(problem: Problem) -> frozenset[tuple[int, ...]]:
    """The lexicographic objectives of all legal solutions."""
    return frozenset(objective(problem, found) for found in every_answer(problem))


def best_objective(problem: Problem) -> tuple[int, ...]:
    """The smallest lexicographic objective over all legal solutions."""
    return min(every_objective(problem))


def _fleets(problem: Problem, patterns: Sequence[Pattern], chosen: list[Pattern]) -> Iterator[list[Pattern]]:
    if violations(problem, answer(problem, "brute force", chosen)):
        return
    yield chosen
    for at, pattern in enumerate(patterns):
        yield from _fleets(problem, patterns[at:], [*chosen, pattern])
