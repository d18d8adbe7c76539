"""Spreading the replicas of demands that must survive the loss of a node, after places were matched.

Patterns of one size in one pool are exchanged between nodes (a free place counts as an empty pattern) while that lowers
what the worst loss of a node leaves unserved, or evens out the loads of a demand that is still short. Counts of patterns
never change, so every exchange keeps the solution legal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from planner.problem import Machine, Problem, machine

# node and GPUs of one aligned block
Spot = tuple[int, tuple[int, ...]]

# exchanges of one call: far more than fleets need, so that a call always ends soon
_MOST_MOVES = 2_000


@dataclass(slots=True)
class Spread:
    """Residents per pool and spot, free places included as empty tuples, and the loads of tolerant demands per machine."""

    problem: Problem
    spots: dict[tuple[int, Spot], tuple[int, ...]]
    _loads: dict[int, Counter[Machine]] = field(default_factory=dict)

    def run(self) -> None:
        """Exchange until every tolerant demand survives, or no exchange helps."""
        self._loads = {i: Counter() for i, demand in enumerate(self.problem.demands) if demand.tolerate_nodes}
        for (pool, spot), residents in self.spots.items():
            self._add(residents, machine(self.problem, pool, spot[0]), 1)
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
        """The best exchange that takes a replica off one of the fullest machines of a demand; False when none helps."""
        fullest = max(self._loads[demand].values(), default=0)
        best: tuple[tuple[int, int], tuple[int, Spot], tuple[int, Spot]] | None = None
        for one, other in self._exchanges(demand, fullest):
            gain = self._gain(one, other)
            if gain < (0, 0) and (best is None or gain < best[0]):
                best = (gain, one, other)
        if best is not None:
            self._exchange(best[1], best[2])
        return best is not None

    def _exchanges(self, demand: int, fullest: int) -> Iterator[tuple[tuple[int, Spot], tuple[int, Spot]]]:
        shapes = self.problem.shapes
        for one, residents in self.spots.items():
            here = machine(self.problem, one[0], one[1][0])
            if self._loads[demand][here] < fullest or not any(shapes[index].demand == demand for index in residents):
                continue
            seen: set[tuple[Machine, tuple[int, ...]]] = set()
            for other, theirs in self.spots.items():
                there = machine(self.problem, other[0], other[1][0])
                alike = other[0] == one[0] and len(other[1][1]) == len(one[1][1]) and there != here
                if alike and (there, theirs) not in seen:
                    seen.add((there, theirs))
                    yield one, other

    def _gain(self, one: tuple[int, Spot], other: tuple[int, Spot]) -> tuple[int, int]:
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

    def _exchange(self, one: tuple[int, Spot], other: tuple[int, Spot]) -> None:
        here, there = (machine(self.problem, pool, spot[0]) for pool, spot in (one, other))
        for residents, away, towards in ((self.spots[one], here, there), (self.spots[other], there, here)):
            self._add(residents, away, -1)
            self._add(residents, towards, 1)
        self.spots[one], self.spots[other] = self.spots[other], self.spots[one]
