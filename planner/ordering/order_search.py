"""The order of stops and starts that clients notice least: all orders of a few replicas, the most promising first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import combinations

from planner.ordering.disturbance import Disturbance
from planner.ordering.order_puzzle import OrderPuzzle

# Our choice: waves that a search looks at before it gives up; about a second.
MOST_WAVES = 60_000

_ANY = Disturbance(1 << 60, 1 << 60, 1 << 60, 1 << 60)


@dataclass(frozen=True, slots=True)
class Wave:
    """Replicas that leave at once, and then those that start; starting None: all that find room."""

    leaving: tuple[str, ...]
    starting: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Order:
    """Waves from the first to the last, and what clients notice of them."""

    waves: tuple[Wave, ...]
    cost: Disturbance


def best_order(puzzle: OrderPuzzle, below: Disturbance = _ANY, *, unbroken: str = "", most_waves: int = MOST_WAVES) -> Order | None:
    """The best order below a limit, of those in which the unbroken name is never short; the best found after so many waves."""
    return _OrderSearch(puzzle, below, unbroken, most_waves).run()


_Node = tuple[int, int]


class _OrderSearch:
    """Best first over what is gone and come; what is still to be waited for at least is counted ahead."""

    def __init__(self, puzzle: OrderPuzzle, below: Disturbance, unbroken: str, most_waves: int) -> None:
        self._puzzle = puzzle
        self._below = below
        self._unbroken = unbroken
        self._left = most_waves
        self._end = ((1 << len(puzzle.going)) - 1, (1 << len(puzzle.coming)) - 1)
        self._reached: dict[_Node, Disturbance] = {(0, 0): Disturbance()}
        self._before: dict[_Node, tuple[_Node, int, tuple[int, ...]]] = {}
        self._leaving_ms: dict[int, int] = {}

    def run(self) -> Order | None:
        """Look until the end is the most promising; or, when too much was looked at, take what leads there."""
        queue: list[tuple[Disturbance, _Node]] = [(Disturbance(), (0, 0))]
        closed: set[_Node] = set()
        while queue:
            _, node = heappop(queue)
            if node == self._end:
                return self._order()
            if node in closed:
                continue
            closed.add(node)
            for after, leaving, starting, cost in self._moves(node):
                if after in closed or cost >= self._reached.get(after, _ANY):
                    continue
                self._reached[after] = cost
                self._before[after] = (node, leaving, starting)
                heappush(queue, (self._at_least(after, cost), after))
            if self._left < 0:
                break
        return self._order() if self._end in self._reached else None

    def _order(self) -> Order:
        return Order(tuple(self._waves()), self._reached[self._end])

    def _moves(self, node: _Node) -> Iterator[tuple[_Node, int, tuple[int, ...], Disturbance]]:
        gone, come = node
        cost = self._reached[node]
        bits = [1 << number for number in range(len(self._puzzle.going)) if not gone >> number & 1]
        for count in range(min(len(bits), self._puzzle.most_leaving) + 1):
            for chosen in combinations(bits, count):
                self._left -= 1
                if self._left < 0:
                    return
                leaving = sum(chosen)
                lacks = self._lacks(gone | leaving, come)
                if lacks is None:
                    continue
                left = cost.after(_lasting(lacks, self._leaves_ms(leaving))) if leaving else cost
                if left >= self._below:
                    continue
                yield from self._starts((gone | leaving, come), leaving, lacks, left)

    def _starts(
        self, node: _Node, leaving: int, lacks: tuple[int, int, int], cost: Disturbance
    ) -> Iterator[tuple[_Node, int, tuple[int, ...], Disturbance]]:
        for starting, come in self._subsets(*node, 0):
            if not leaving and not starting:
                continue
            self._left -= 1
            if self._left < 0:
                return
            total = cost.after(_lasting(lacks, self._puzzle.starts_ms(starting))) if starting else cost
            after = (node[0], come)
            if self._at_least(after, total) < self._below:
                yield after, leaving, starting, total

    def _subsets(self, gone: int, come: int, first: int) -> Iterator[tuple[tuple[int, ...], int]]:
        """Those that may start now, one after the other, in their order."""
        yield (), come
        for number in range(first, len(self._puzzle.coming)):
            if not come >> number & 1 and self._puzzle.fits(number, gone, come):
                for more, then in self._subsets(gone, come | 1 << number, number + 1):
                    yield (number, *more), then

    def _lacks(self, gone: int, come: int) -> tuple[int, int, int] | None:
        """Served names without a ready replica, with too few, and models with too little capacity; None: the unbroken one is short."""
        none = short = starved = 0
        for need in self._puzzle.needs:
            has = need.staying + (need.going & ~gone).bit_count() + (need.coming & come).bit_count()
            if has < need.least:
                if need.name == self._unbroken:
                    return None
                short += 1
                none += has == 0
        for need_rps in self._puzzle.capacities:
            has_rps = sum(rps for bit, rps in need_rps.going if not gone & bit) + sum(rps for bit, rps in need_rps.coming if come & bit)
            starved += has_rps < need_rps.capacity_rps
        return none, short, starved

    def _at_least(self, node: _Node, cost: Disturbance) -> Disturbance:
        """With the time that must pass from there on at least."""
        gone, come = node
        ahead_ms = self._leaves_ms(self._end[0] & ~gone)
        busy_ms: dict[int, int] = {}
        for number, seats in enumerate(self._puzzle.seats):
            if come >> number & 1:
                continue
            if self._puzzle.wakes[number]:
                ahead_ms += self._puzzle.start_ms[number]
                continue
            for seat in seats:
                busy_ms[seat] = busy_ms.get(seat, 0) + self._puzzle.start_ms[number]
        return cost._replace(duration_ms=cost.duration_ms + ahead_ms + max(busy_ms.values(), default=0))

    def _leaves_ms(self, leaving: int) -> int:
        """The same few sets are asked for again and again."""
        if leaving not in self._leaving_ms:
            self._leaving_ms[leaving] = self._puzzle.leaving_ms(leaving)
        return self._leaving_ms[leaving]

    def _waves(self) -> Sequence[Wave]:
        waves: list[Wave] = []
        node = self._end
        while node != (0, 0):
            node, leaving, starting = self._before[node]
            names = tuple(item.name for number, item in enumerate(self._puzzle.going) if leaving >> number & 1)
            waves.append(Wave(names, tuple(self._puzzle.coming[number].name for number in starting)))
        return waves[::-1]


def _lasting(lacks: tuple[int, int, int], lasts_ms: int) -> Disturbance:
    none, short, starved = lacks
    return Disturbance(none * lasts_ms, short * lasts_ms, starved * lasts_ms, lasts_ms)
