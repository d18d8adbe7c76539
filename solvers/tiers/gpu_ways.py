"""What the GPUs of a plan may hold when what runs counts: legal patterns, alone or in place of what runs on a GPU now.

All legal patterns where they are few. Otherwise those of answers that are known and of what runs, whole and in parts, and these with
one more replica and with two, of the shapes that answers use or that a demand with too little may need.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from planner.problem import Holding, Pattern, Problem, is_legal, lacking, load_mib, stays_as, weights_mib
from solvers.model.useful_shapes import candidates, takes_whole_gpus, usable_shapes

# patterns up to which all legal ones take part, and patterns in all
_FEW, _MOST = 2_000, 20_000
# candidates for patterns that are looked at: while all may be few, at most, and in a second
_FEW_ASKED, _MOST_ASKED, _ASKED_PER_S = 5_000, 80_000, 20_000

# demand, pool, mode, GPUs and MIG profile of engines
EngineKind = tuple[int, int, str, int, str | None]


@dataclass(frozen=True, slots=True)
class GpuWay:
    """Residents of one GPU (or block) of a pool. holding numbers the group of alike GPUs in use whose place it takes (None: a GPU on which
    nothing of it runs); load_mib are the weights that start there.
    """

    pool: int
    residents: tuple[int, ...]
    holding: int | None
    load_mib: int


@dataclass(frozen=True, slots=True)
class GpuWays:
    """Ways to use GPUs; every tells that no legal one is missing."""

    found: tuple[GpuWay, ...]
    every: bool


def ways(problem: Problem, holdings: Mapping[Holding, int], known: Iterable[Pattern], time_s: float | None = None) -> GpuWays:
    """The ways for a problem, where holdings run; known are the patterns of answers that are known.

    time_s is about how long it may take; without it fixed amounts of work are done.
    """
    asked = _MOST_ASKED if time_s is None else min(_MOST_ASKED, int(_ASKED_PER_S * max(0.0, time_s)))
    patterns, every = _patterns(problem, holdings, known, asked)
    found = [GpuWay(pool, residents, None, weights_mib(problem, residents)) for pool, residents in patterns]
    here: defaultdict[EngineKind, set[int]] = defaultdict(set)
    listed = sorted(holdings)
    for number, (_, running) in enumerate(listed):
        for index in running:
            here[_kind(problem, index)].add(number)
    for pool, residents in patterns:
        alone_mib = weights_mib(problem, residents)
        for number in sorted(set().union(*(here[_kind(problem, index)] for index in residents))):
            loaded_mib = load_mib(problem, residents, listed[number][1])
            if loaded_mib < alone_mib:
                found.append(GpuWay(pool, residents, number, loaded_mib))
    return GpuWays(tuple(found), every)


def _kind(problem: Problem, index: int) -> EngineKind:
    """What engines have in common of which one may stay as the other."""
    shape = problem.shapes[index]
    return shape.demand, shape.pool, shape.mode, shape.gpus, shape.mig_profile


def _patterns(problem: Problem, holdings: Mapping[Holding, int], known: Iterable[Pattern], asked: int) -> tuple[list[Holding], bool]:
    """Patterns that take part, and whether they are all legal ones; so many candidates are looked at."""
    running = {index for _, residents in holdings for index in residents}
    growth = _Growth(problem, sorted({*usable_shapes(problem), *running}), min(asked, _FEW_ASKED))
    growth.begin_alone()
    if growth.grow(_FEW):
        return growth.found(), True
    seeds = [*holdings, *((pattern.pool, pattern.residents) for pattern in known)]
    used = {index for _, residents in seeds for index in residents}
    short = lacking(problem, holdings) if holdings else set()
    kinds: defaultdict[EngineKind, list[int]] = defaultdict(list)
    for index in running:
        kinds[_kind(problem, index)].append(index)
    further = {
        index
        for index in candidates(problem)
        if problem.shapes[index].demand in short or any(stays_as(problem, now, index) for now in kinds[_kind(problem, index)])
    }
    growth = _Growth(problem, sorted(used | further), asked)
    growth.begin(seeds)
    growth.begin([(pool, part) for pool, residents in seeds for part in _parts(residents)])
    growth.begin_alone()
    growth.grow(_MOST, more=2)
    return growth.found(), False


def _parts(residents: tuple[int, ...]) -> list[tuple[int, ...]]:
    """What is left of residents when some go, the most first."""
    return [part for size in range(len(residents) - 1, 0, -1) for part in sorted(set(combinations(residents, size)))]


class _Growth:
    """Patterns, and the same with more replicas."""

    def __init__(self, problem: Problem, shapes: Sequence[int], asked: int) -> None:
        self._problem, self._asked = problem, asked
        self._joining: defaultdict[tuple[int, str, str], list[int]] = defaultdict(list)
        for index in shapes:
            shape = problem.shapes[index]
            if not takes_whole_gpus(shape):
                self._joining[shape.pool, shape.mode, shape.colocation_class].append(index)
        self._legal: dict[Holding, bool] = {}
        self._waiting: deque[tuple[int, int, tuple[int, ...]]] = deque()
        self._shapes = shapes

    def begin_alone(self) -> None:
        """Each shape on a GPU of its own to begin with."""
        self.begin((self._problem.shapes[index].pool, (index,)) for index in self._shapes)

    def begin(self, patterns: Iterable[Holding]) -> None:
        """Patterns to begin with."""
        for pool, residents in patterns:
            if self._add(pool, residents):
                self._waiting.append((0, pool, residents))

    def found(self) -> list[Holding]:
        """The legal ones."""
        return sorted(pattern for pattern, legal in self._legal.items() if legal)

    def grow(self, most: int, more: int | None = None) -> bool:
        """Patterns with up to so many replicas more; False when there are more than most, or too many to look at."""
        found = sum(self._legal.values())
        while self._waiting:
            added, pool, residents = self._waiting.popleft()
            if added == more:
                continue
            for index in self._beside(pool, residents):
                grown = tuple(sorted((*residents, index)))
                if found >= most or len(self._legal) >= self._asked:
                    return False
                if self._add(pool, grown):
                    found += 1
                    self._waiting.append((added + 1, pool, grown))
        return found <= most

    def _beside(self, pool: int, residents: tuple[int, ...]) -> list[int]:
        """Shapes for which a GPU has memory, and its residents a place, beside them."""
        shapes = self._problem.shapes
        first = shapes[residents[0]]
        if takes_whole_gpus(first):
            return []
        everybody = self._joining[pool, first.mode, first.colocation_class]
        if first.mode == "mig":
            return everybody
        left_mib = self._problem.pools[pool].memory_mib - sum(shapes[index].memory_mib for index in residents)
        there = {shapes[index].demand for index in residents}
        if len(residents) >= min(shapes[index].max_residents for index in residents):
            return []
        return [
            index
            for index in everybody
            if shapes[index].memory_mib <= left_mib and len(residents) < shapes[index].max_residents and shapes[index].demand not in there
        ]

    def _add(self, pool: int, residents: tuple[int, ...]) -> bool:
        """Whether a pattern is legal and was not seen before."""
        key = (pool, residents)
        if key in self._legal:
            return False
        self._legal[key] = is_legal(self._problem, Pattern(pool, residents))
        return self._legal[key]
