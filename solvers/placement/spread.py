"""Spreading the replicas of demands that must survive the loss of a node, after places were matched.

Patterns of one size in one pool are exchanged between nodes (a free place counts as an empty pattern) while that lowers
what the worst loss of a node leaves unserved, or evens out the loads of a demand that is still short. Counts of patterns
never change, so every exchange keeps the solution legal.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from planner.problem import Machine, Problem, Spot, machine

# pool and spot
PoolSpot = tuple[int, Spot]

# exchanges of one call: far more than fleets need, so that a call always ends soon
_MOST_MOVES = 20_000


@dataclass(slots=True)
class Spread:
    """Residents per pool and spot, free places included as empty tuples, and the loads of tolerant demands per machine."""

    problem: Problem
    spots: dict[PoolSpot, tuple[int, ...]]
    _loads: dict[int, Counter[Machine]] = field(default_factory=dict)
    _machines: dict[PoolSpot, Machine] = field(default_factory=dict)
    _alike: defaultdict[tuple[int, int], list[PoolSpot]] = field(default_factory=lambda: defaultdict(list))

    def run(self) -> None:
        """Exchange until every tolerant demand survives, or no exchange helps."""
        self._loads = {i: Counter() for i, demand in enumerate(self.problem.demands) if demand.tolerate_nodes}
        if not self._loads:
            return
        for key, residents in sorted(self.spots.items()):
            pool, (node, gpus) = key
            self._machines[key] = machine(self.problem, pool, node)
            self._alike[pool, len(gpus)].append(key)
            self._add(residents, self._machines[key], 1)
        for _ in range(_MOST_MOVES):
            if not any(self._improve(demand) for demand in self._loads if self._worth(demand)[0]):
                return

    def _add(self, residents: Sequence[int], where: Machine, sign: int) -> None:
        for index in residents:
            shape = self.problem.shapes[index]
            if shape.demand in self._loads:
                self._loads[shape.demand][where] += sign * shape.capacity_microrps

    def _worth(self, demand: int) -> tuple[int, int]:
        """What the worst loss leaves unserved of a demand, then how uneven its loads are: smaller is better."""
        loads = self._loads[demand]
        left = loads.total() - max(loads.values(), default=0)
        return max(0, self.problem.demands[demand].peak_microrps - left), sum(load * load for load in loads.values())

    def _improve(self, demand: int) -> bool:
        """The first exchange that helps and takes a replica off one of the fullest machines of a demand; False when none does."""
        fullest = max(self._loads[demand].values(), default=0)
        for one, other in self._exchanges(demand, fullest):
            if self._gain(one, other) < (0, 0):
                self._exchange(one, other)
                return True
        return False

    def _exchanges(self, demand: int, fullest: int) -> Iterator[tuple[PoolSpot, PoolSpot]]:
        """Pairs of spots to try, one for all that are alike; the search starts behind a spot, where it seldom was before."""
        shapes = self.problem.shapes
        tried: set[tuple[Machine, tuple[int, ...]]] = set()
        for one, residents in self.spots.items():
            here = self._machines[one]
            if self._loads[demand][here] < fullest or not any(shapes[index].demand == demand for index in residents):
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

    def _gain(self, one: PoolSpot, other: PoolSpot) -> tuple[int, int]:
        """How much worse the demands of both become."""
        residents = (*self.spots[one], *self.spots[other])
        concerned = {self.problem.shapes[index].demand for index in residents} & self._loads.keys()
        before = [self._worth(demand) for demand in concerned]
        self._exchange(one, other)
        after = [self._worth(demand) for demand in concerned]
        self._exchange(one, other)
        return sum(worth[0] for worth in after) - sum(worth[0] for worth in before), sum(worth[1] for worth in after) - sum(
            worth[1] for worth in before
        )

    def _exchange(self, one: PoolSpot, other: PoolSpot) -> None:
        here, there = self._machines[one], self._machines[other]
        for residents, away, towards in ((self.spots[one], here, there), (self.spots[other], there, here)):
            self._add(residents, away, -1)
            self._add(residents, towards, 1)
        self.spots[one], self.spots[other] = self.spots[other], self.spots[one]
