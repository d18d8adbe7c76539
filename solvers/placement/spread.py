"""Spreading the replicas of demands that must survive the loss of a node, or be on different machines, after places were matched.

Patterns of one size in one pool are exchanged between nodes (a free place counts as an empty pattern) while that takes apart
replicas that must be on different machines; then while it lowers what the worst loss of a node leaves unserved, or evens out the
loads of a demand that is still short. Counts of patterns never change, so every exchange keeps the solution legal.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from planner.problem import Demand, Machine, Problem, Spot, machine

# pool and spot
PoolSpot = tuple[int, Spot]

# of a demand: smaller is better
_Worth: TypeAlias = tuple[int, int, int]

# exchanges of one call: far more than fleets need, so that a call always ends soon
_MOST_MOVES = 20_000


def to_spread(demand: Demand) -> bool:
    """Whether it matters which of its replicas share a machine."""
    return bool(demand.tolerate_nodes) or demand.spread_nodes


@dataclass(slots=True)
class Spread:
    """Residents per pool and spot, free places included as empty tuples; per machine the loads and replicas of demands to spread."""

    problem: Problem
    spots: dict[PoolSpot, tuple[int, ...]]
    _loads: dict[int, Counter[Machine]] = field(default_factory=dict)
    _replicas: dict[int, Counter[Machine]] = field(default_factory=dict)
    _machines: dict[PoolSpot, Machine] = field(default_factory=dict)
    _alike: defaultdict[tuple[int, int], list[PoolSpot]] = field(default_factory=lambda: defaultdict(list))

    def run(self) -> None:
        """Exchange until every demand survives or is apart as it asks, or no exchange helps."""
        self._loads = {i: Counter() for i, demand in enumerate(self.problem.demands) if to_spread(demand)}
        self._replicas = {i: Counter() for i in self._loads}
        if not self._loads:
            return
        for key, residents in sorted(self.spots.items()):
            pool, (node, gpus) = key
            self._machines[key] = machine(self.problem, pool, node)
            self._alike[pool, len(gpus)].append(key)
            self._add(residents, self._machines[key], 1)
        for _ in range(_MOST_MOVES):
            if not any(self._improve(demand) for demand in self._loads if any(self._worth(demand)[:2])):
                return

    def _add(self, residents: Sequence[int], where: Machine, sign: int) -> None:
        for index in residents:
            shape = self.problem.shapes[index]
            if shape.demand in self._loads:
                self._loads[shape.demand][where] += sign * shape.capacity_microrps
                self._replicas[shape.demand][where] += sign

    def _worth(self, demand: int) -> _Worth:
        """Replicas beyond one on a machine, what the worst loss leaves unserved, how uneven loads are: smaller is better."""
        asked, loads = self.problem.demands[demand], self._loads[demand]
        surplus = sum(count - 1 for count in self._replicas[demand].values() if count > 1) if asked.spread_nodes else 0
        if not asked.tolerate_nodes:
            return surplus, 0, 0
        left = loads.total() - max(loads.values(), default=0)
        return surplus, max(0, asked.peak_microrps - left), sum(load * load for load in loads.values())

    def _improve(self, demand: int) -> bool:
        """The first exchange that helps and takes a replica off one of the fullest machines of a demand; False when none does."""
        for one, other in self._exchanges(demand, self._full(demand)):
            if self._gain(one, other) < (0, 0, 0):
                self._exchange(one, other)
                return True
        return False

    def _full(self, demand: int) -> set[Machine]:
        """The machines that a demand should leave: those with several replicas that must be apart, or those with the largest load."""
        if self._worth(demand)[0]:
            return {where for where, count in self._replicas[demand].items() if count > 1}
        fullest = max(self._loads[demand].values(), default=0)
        return {where for where, load in self._loads[demand].items() if load == fullest}

    def _exchanges(self, demand: int, full: set[Machine]) -> Iterator[tuple[PoolSpot, PoolSpot]]:
        """Pairs of spots to try, one for all that are alike; the search starts behind a spot, where it seldom was before."""
        shapes = self.problem.shapes
        tried: set[tuple[Machine, tuple[int, ...]]] = set()
        for one, residents in self.spots.items():
            here = self._machines[one]
            if here not in full or not any(shapes[index].demand == demand for index in residents):
                continue
            if (here, residents) in tried:
                continue
            tried.add((here, residents))
            alike = self._alike[one[0], len(one[1][1])]
            seen: set[tuple[Machine, tuple[int, ...]]] = set()
            start = bisect_left(alike, one)
            for other in (*alike[start:], *alike[:start]):
                there, theirs = self._machines[other], self.spots[other]
                if there != here and (there, theirs) not in seen:
                    seen.add((there, theirs))
                    yield one, other

    def _gain(self, one: PoolSpot, other: PoolSpot) -> _Worth:
        """How much worse the demands of both become."""
        residents = (*self.spots[one], *self.spots[other])
        concerned = {self.problem.shapes[index].demand for index in residents} & self._loads.keys()
        before = [self._worth(demand) for demand in concerned]
        self._exchange(one, other)
        after = [self._worth(demand) for demand in concerned]
        self._exchange(one, other)
        surplus, missing, uneven = (sum(worths) for worths in zip(*after, strict=True))
        surplus_before, missing_before, uneven_before = (sum(worths) for worths in zip(*before, strict=True))
        return surplus - surplus_before, missing - missing_before, uneven - uneven_before

    def _exchange(self, one: PoolSpot, other: PoolSpot) -> None:
        here, there = self._machines[one], self._machines[other]
        for residents, away, towards in ((self.spots[one], here, there), (self.spots[other], there, here)):
            self._add(residents, away, -1)
            self._add(residents, towards, 1)
        self.spots[one], self.spots[other] = self.spots[other], self.spots[one]
