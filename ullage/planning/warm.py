"""What planning one fleet leaves for planning a fleet much like it: sizes of replicas, and an answer to start from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from planner.plan import Refusal
from planner.problem import Pattern, Problem, Shape, Solution
from planner.sizing.candidates import Candidate, candidates
from planner.sizing.groups import ServiceGroup
from planner.sizing.sites import Site
from planner.sizing.ways_to_run import Sizing

# Sizes that are kept for one model on one kind of GPU: they differ only where its own demand or goals do.
MOST_KEPT = 64

Sized = tuple[tuple[Candidate, ...], tuple[Refusal, ...]]

# A shape of a Problem whatever its numbers there: names of its model and pool in place of the indexes.
_ShapeKey = tuple[str, str, Shape]


@dataclass(slots=True)
class Warmth:
    """Kept between plans of fleets that differ in little.

    A plan is made of the same sizes with it as without. The search may end elsewhere, within its stated gap, and never at a worse answer
    than the one before where that still holds.
    """

    _sized: defaultdict[tuple[str, Site], list[tuple[ServiceGroup, Sizing, Sized]]] = field(default_factory=lambda: defaultdict(list))
    _answer: tuple[tuple[str, tuple[_ShapeKey, ...], int], ...] = ()

    def candidates(self, group: ServiceGroup, site: Site, sizing: Sizing) -> Sized:
        """As planner.sizing.candidates, looked up where the same was asked before."""
        kept = self._sized[group.name, site]
        for known, how, found in kept:
            if known == group and _alike(how, sizing, group.name):
                return found
        found = candidates(group, site, sizing)
        del kept[MOST_KEPT - 1 :]
        kept.insert(0, (group, sizing, found))
        return found

    def started(self, problem: Problem) -> Problem:
        """The problem with the answer before to start from, as far as its shapes are there."""
        numbers = {key: index for index, key in enumerate(_keys(problem))}
        pools = {pool.name: index for index, pool in enumerate(problem.pools)}
        start: list[Pattern] = []
        for pool, residents, count in self._answer:
            known = [numbers[key] for key in residents if key in numbers]
            if pool in pools and known:
                start.append(Pattern(pools[pool], tuple(sorted(known)), count))
        return replace(problem, start=tuple(start))

    def remember(self, problem: Problem, solution: Solution) -> None:
        """Keep an answer for the next problem."""
        keys = _keys(problem)
        self._answer = tuple(
            (problem.pools[pattern.pool].name, tuple(keys[index] for index in pattern.residents), pattern.count)
            for pattern in solution.patterns
        )


def _keys(problem: Problem) -> list[_ShapeKey]:
    return [
        (problem.demands[shape.demand].name, problem.pools[shape.pool].name, replace(shape, demand=0, pool=0)) for shape in problem.shapes
    ]


def _alike(one: Sizing, other: Sizing, name: str) -> bool:
    """Whether two ways of sizing are one for a model."""

    def slower(sizing: Sizing) -> float:
        return _factor(sizing.slower, name)

    same = one.quantile == other.quantile and one.step_quantile == other.step_quantile and slower(one) == slower(other)
    return same and one.measurements == other.measurements


def _factor(slower: Mapping[str, float], name: str) -> float:
    return slower.get(name, 1.0)
