"""Cutting stock: the fewest GPUs of one pool that hold given slots, as whole numbers of patterns.

The linear program over patterns, rounded up, is nearly always attainable; an integer program over the patterns it generated finds it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from solvers.highs import Entries, IntegerLimits, LinearSolver, empty
from solvers.model.arrays import Floats
from solvers.searches.knapsack import Knapsack
from solvers.searches.slices import Slices

Classes = tuple[int, ...]

# rounds of pattern generation, and branch and bound nodes of the integer program
_MOST_ROUNDS = 25
_MOST_NODES = 300
# so many GPUs are decided in integers; what is beyond comes from linear programs, whole parts first, then what is nearly whole: of
# thousands of GPUs that costs a few, and an integer program over the rest took seconds
_MOST_WHOLE = 25.0
# of patterns without a whole part this part is taken once, if the linear program takes at least so much of it
_TAKEN_PART, _NEARLY = 0.25, 0.45


class Cutting:
    """The patterns of one pool for given numbers of slots."""

    def __init__(self, sellers: Sequence[Knapsack | Slices], classes: int, needs: Mapping[int, int], patterns: Sequence[Classes]) -> None:
        """Sellers price the groups of the pool; patterns are known ones to begin with."""
        self._sellers = sellers
        self._classes = classes
        self._needed = sorted(needs)
        self._row = {slot: row for row, slot in enumerate(self._needed)}
        self._needs = np.array([needs[slot] for slot in self._needed], dtype=np.float64)
        useful = [pattern for pattern in patterns if any(slot in self._row for slot in pattern)]
        self._patterns: dict[Classes, None] = dict.fromkeys([*((slot,) for slot in self._needed), *useful])

    def solve(self) -> Counter[Classes]:
        """How many GPUs hold which pattern; every need is met."""
        fractions = self._generate()
        whole: Counter[Classes] = Counter()
        rest = self._needs.copy()
        patterns = list(self._patterns)
        solver = self._model(patterns, rest)
        while fractions.sum() > _MOST_WHOLE:
            taken = _nearly_whole(fractions)
            if not taken:
                break
            for at, count in taken.items():
                whole[patterns[at]] += count
                for slot in patterns[at]:
                    if slot in self._row:
                        rest[self._row[slot]] -= count
            for row, need in enumerate(rest.tolist()):
                solver.bound_row(row, max(0.0, need), math.inf)
            answer = solver.solve()
            if answer is None:
                break
            fractions = answer.columns
        whole.update(self._integers(patterns, np.maximum(0.0, rest)))
        return whole

    def _model(self, patterns: Sequence[Classes], needs: Floats) -> LinearSolver:
        solver = LinearSolver()
        solver.add_rows(needs, np.full(len(needs), math.inf), empty(len(needs)))
        self._extend(solver, patterns)
        return solver

    def _extend(self, solver: LinearSolver, patterns: Sequence[Classes]) -> None:
        entries = Entries()
        for pattern in patterns:
            entries.add({self._row[slot]: float(count) for slot, count in Counter(pattern).items() if slot in self._row})
        count = len(patterns)
        solver.add_columns(np.ones(count), np.zeros(count), np.full(count, math.inf), entries)

    def _generate(self) -> Floats:
        solver = self._model(list(self._patterns), self._needs)
        answer = solver.solve()
        for _ in range(_MOST_ROUNDS):
            if answer is None:
                break
            values = np.zeros(self._classes)
            values[self._needed] = answer.duals
            fresh: dict[Classes, None] = {}
            for seller in self._sellers:
                seller.price(values)
                fresh.update((pattern, None) for pattern in seller.best(1.0 + 1e-6).patterns if pattern not in self._patterns)
            if not fresh:
                break
            self._patterns.update(fresh)
            self._extend(solver, list(fresh))
            answer = solver.solve()
        return np.zeros(len(self._patterns)) if answer is None else answer.columns

    def _integers(self, patterns: Sequence[Classes], needs: Floats) -> Counter[Classes]:
        if not needs.any():
            return Counter()
        solver = self._model(patterns, needs)
        # the objective counts GPUs: less than one between plan and bound is no gap
        found = solver.solve_integer(range(len(patterns)), IntegerLimits(_MOST_NODES, gap=0.999)).columns
        if found is None:
            return Counter({(slot,): int(need) for slot, need in zip(self._needed, needs, strict=True) if need})
        return Counter({pattern: round(float(value)) for pattern, value in zip(patterns, found, strict=True) if round(float(value))})


def _nearly_whole(fractions: Floats) -> dict[int, int]:
    """What a linear program takes whole of each pattern, by its place; where nothing is whole, once what is most nearly so."""
    whole = np.flatnonzero(fractions >= 1.0)
    if len(whole):
        return {int(at): math.floor(fractions[at]) for at in whole}
    order = np.argsort(-fractions, kind="stable")[: math.ceil(_TAKEN_PART * np.count_nonzero(fractions))]
    return {int(at): 1 for at in order if fractions[at] >= _NEARLY}
