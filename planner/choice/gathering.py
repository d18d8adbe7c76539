"""Few moves of running replicas after which free capacity is less scattered: what compact does, before places are named.

A step takes one replica, or all of a GPU, to other GPUs in use; a replica keeps at least the capacity that it has. Steps are judged by what
is unusable (planner.choice.fragmentation), then by whole GPUs that are free. No step costs more or serves less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product
from operator import gt

from planner.choice.fragmentation import Unusable
from planner.problem import (
    Holding,
    Pattern,
    Problem,
    Shape,
    Solution,
    blocks_used,
    cost,
    holdings_now,
    is_legal,
    stays_as,
    unserved,
    violations,
)

# Our choice: shapes that a replica may get where it moves to, those that a neighbour may count as there, and sets of them that are tried.
_MOST_NEW, _MOST_OLD, _MOST_SETS = 6, 4, 48
# digits to which what is unusable is compared
_DIGITS = 6

Holdings = Counter[Holding]


@dataclass(frozen=True, slots=True)
class Scattered:
    """How scattered free capacity is: GPUs that are unusable, then whole GPUs in use. Less is better, the first difference decides."""

    unusable_gpus: float
    gpus_used: int

    def rank(self) -> tuple[float, int]:
        """Smaller is better."""
        return round(self.unusable_gpus, _DIGITS), self.gpus_used


@dataclass(frozen=True, slots=True)
class Gathered:
    """An answer after some moves; moves is how many replicas were taken elsewhere, those beside them that must start again left out."""

    solution: Solution
    moves: int
    scattered: Scattered


def as_now(problem: Problem, engine: str) -> Gathered:
    """What runs, as an answer without moves."""
    patterns = _patterns(holdings_now(problem))
    solution = Solution(
        engine=engine,
        patterns=patterns,
        unserved_microrps=unserved(problem, patterns),
        cost_microusd_per_h=cost(problem, patterns),
        bound_microusd_per_h=0,
        bound_unserved_microrps=(0,) * len({demand.priority for demand in problem.demands}),
        status="feasible",
    )
    return Gathered(solution, 0, _scattered(problem, Unusable(problem, solution), patterns))


class GatheringSteps:
    """Steps from one answer to the next."""

    def __init__(self, problem: Problem, start: Gathered) -> None:
        """start is what runs: the mix of models, the cost and what is served are its."""
        self._problem, self._start = problem, start
        self._unusable = Unusable(problem, start.solution)
        self._spare_microrps = _spare_microrps(problem, start.solution.patterns)
        self._joins: dict[tuple[Holding, int], tuple[tuple[int, ...], ...]] = {}

    def after(self, known: Gathered, most_moves: int) -> Iterator[Gathered]:
        """Legal answers one step on that scatter less, the best first; most_moves are those of a step."""
        holdings = Counter({(pattern.pool, pattern.residents): pattern.count for pattern in known.solution.patterns})
        found: dict[tuple[Pattern, ...], tuple[Scattered, int]] = {}
        for further, moves in self._further(holdings, most_moves):
            patterns = _patterns(further)
            scattered = _scattered(self._problem, self._unusable, patterns)
            if scattered.rank() < known.scattered.rank() and (patterns not in found or found[patterns][1] > moves):
                found[patterns] = scattered, moves
        ranked = sorted(found.items(), key=lambda item: (item[1][0].rank(), item[1][1], [(p.pool, p.residents, p.count) for p in item[0]]))
        for patterns, (scattered, moves) in ranked:
            solution = self._legal(patterns)
            if solution is not None:
                yield Gathered(solution, known.moves + moves, scattered)

    def _legal(self, patterns: tuple[Pattern, ...]) -> Solution | None:
        start = self._start.solution
        left, price = unserved(self._problem, patterns), cost(self._problem, patterns)
        solution = replace(start, patterns=patterns, unserved_microrps=left, cost_microusd_per_h=price)
        worse = price > start.cost_microusd_per_h or any(map(gt, left, start.unserved_microrps))
        return None if worse or any(violations(self._problem, solution)) else solution

    def _further(self, holdings: Holdings, most_moves: int) -> Iterator[tuple[Holdings, int]]:
        for source in sorted(holdings):
            if any(self._problem.shapes[index].gpus > 1 for index in source[1]):
                continue
            for resident in sorted(set(source[1])):
                yield from ((further, 1) for further in self._moved(holdings, source, resident))
            if 1 < len(source[1]) <= most_moves:
                emptied = self._emptied(holdings, source)
                if emptied is not None:
                    yield emptied, len(source[1])

    def _moved(self, holdings: Holdings, source: Holding, resident: int) -> Iterator[Holdings]:
        """What runs after one replica has gone from one GPU to any other that is in use."""
        rest = _without(source, resident)
        others = holdings - Counter([source])
        for target in sorted(others):
            for residents in self._joined(target, resident):
                yield others - Counter([target]) + Counter([(target[0], residents)]) + Counter([rest] if rest[1] else [])

    def _emptied(self, holdings: Holdings, source: Holding) -> Holdings | None:
        """What runs after all replicas of a GPU have gone to others, the largest first, each to where least is left; None without room."""
        others = holdings - Counter([source])
        for resident in sorted(source[1], key=lambda index: (-self._problem.shapes[index].memory_mib, index)):
            choices = [
                (self._left_mib(target[0], residents), target, residents)
                for target in sorted(others)
                for residents in self._joined(target, resident)
            ]
            if not choices:
                return None
            _, target, residents = min(choices)
            others = others - Counter([target]) + Counter([(target[0], residents)])
        return others

    def _left_mib(self, pool: int, residents: Sequence[int]) -> int:
        return self._problem.pools[pool].memory_mib - sum(self._problem.shapes[index].memory_mib for index in residents)

    def _joined(self, target: Holding, resident: int) -> tuple[tuple[int, ...], ...]:
        """Residents of a GPU once a replica has joined: with as little memory as it needs, and its neighbours left alone if possible."""
        key = (target, resident)
        if key not in self._joins:
            self._joins[key] = tuple(islice(self._joining(target, resident), 1))
        return self._joins[key]

    def _joining(self, target: Holding, resident: int) -> Iterator[tuple[int, ...]]:
        pool, residents = target
        shapes = self._problem.shapes
        if any(shapes[index].gpus > 1 for index in residents):
            return
        old = [list(islice(self._instead(index), _MOST_OLD)) for index in residents]
        new = list(islice(self._elsewhere(resident, pool), _MOST_NEW))
        for chosen in islice(product(new, *old), _MOST_SETS):
            together = tuple(sorted(chosen))
            if is_legal(self._problem, Pattern(pool, together)):
                yield together

    def _instead(self, running: int) -> Iterator[int]:
        """What a replica may count as beside others: itself, what it stays as, and what carries as much in other ways."""
        shapes = self._problem.shapes
        own = shapes[running]
        as_much = [index for index in self._as_much(own, own.pool) if index != running]
        stays = partial(stays_as, self._problem, running)
        yield running
        yield from sorted(as_much, key=lambda index: (not stays(index), self._looseness(index)))

    def _elsewhere(self, resident: int, pool: int) -> Iterator[int]:
        """Shapes of a replica in a pool, beside others, that carry as much, the loosest of the least memory first."""
        shapes = self._problem.shapes
        found = [index for index in self._as_much(shapes[resident], pool) if shapes[index].mode != "exclusive"]
        yield from sorted(found, key=lambda index: (shapes[index].memory_mib, self._looseness(index)))

    def _as_much(self, own: Shape, pool: int) -> list[int]:
        """Shapes of a model on one GPU of a pool that carry as much, or as much less as can be spared."""
        least_microrps = own.capacity_microrps - self._spare_microrps[own.demand]
        return [
            index
            for index, shape in enumerate(self._problem.shapes)
            if (shape.demand, shape.pool, shape.gpus) == (own.demand, pool, 1) and shape.capacity_microrps >= least_microrps
        ]

    def _looseness(self, index: int) -> tuple[int, int, int, int]:
        shape = self._problem.shapes[index]
        return shape.mode == "exclusive", -shape.active_limit_permille, -shape.max_residents, index


def _spare_microrps(problem: Problem, patterns: Sequence[Pattern]) -> list[int]:
    """What the replicas of each demand carry beyond its peak; nothing is spared of what may be lost with a node."""
    carried: Counter[int] = Counter()
    for pattern in patterns:
        for index in pattern.residents:
            carried[problem.shapes[index].demand] += pattern.count * problem.shapes[index].capacity_microrps
    return [0 if demand.tolerate_nodes else max(0, carried[i] - demand.peak_microrps) for i, demand in enumerate(problem.demands)]


def _without(holding: Holding, resident: int) -> Holding:
    residents = list(holding[1])
    residents.remove(resident)
    return holding[0], tuple(residents)


def _patterns(holdings: Holdings) -> tuple[Pattern, ...]:
    return tuple(Pattern(*holding, count) for holding, count in sorted(holdings.items()) if count)


def _scattered(problem: Problem, unusable: Unusable, patterns: Sequence[Pattern]) -> Scattered:
    used = [sum(blocks_used(problem, patterns, index).values()) for index in range(len(problem.pools))]
    free = [pool.gpus - count for pool, count in zip(problem.pools, used, strict=True)]
    held = sum(pattern.count * unusable.of_pattern(pattern) for pattern in patterns)
    return Scattered(held + sum(count * unusable.of_free(index, count) for index, count in enumerate(free)), sum(used))
