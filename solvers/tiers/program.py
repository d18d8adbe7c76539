"""The integer program of the goals after unserved demand: the least of a weighted sum of goals, with others pinned.

Its answers are judged again in integers by whoever asks: here floats choose.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from planner.problem import MIB_PER_GIB, MICRO, Pattern
from solvers.highs import Entries, IntegerAnswer, IntegerLimits, LinearSolver, empty
from solvers.model.arrays import Floats
from solvers.tiers.gpu_ways import GpuWay
from solvers.tiers.tier_rows import TierRows

LaterGoal = Literal["cost", "churn", "fragmentation"]
# goals with weights: per USD/h, per GiB of weights to load, and per GPU that is unusable
Tier = Mapping[LaterGoal, float]

# a tier and the value that it may not exceed
Pinned = tuple[Tier, float]

# what the tolerances of a solver may take of a pinned goal
_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Fragmentation in GPUs: of one GPU with a pattern, and of one free GPU of each pool."""

    of_pattern: Callable[[Pattern], float]
    of_free: Sequence[float]


class TierProgram:
    """The rows with goals, of which each is a number per column."""

    def __init__(self, rows: TierRows, leftovers: Leftovers) -> None:
        """Goals are counted when they are asked for."""
        self._rows, self._leftovers = rows, leftovers
        self._goals: dict[LaterGoal, Floats] = {}
        self.open_all()

    def open_all(self) -> None:
        """All ways take part from now on."""
        self._open = np.ones(len(self._rows.ways.found), dtype=np.bool_)

    def narrow(self, tier: Tier, pinned: Sequence[Pinned], start: Floats, most_ways: int) -> None:
        """Leave so many ways open: those of the least reduced cost in the relaxation of a tier, and those of the start."""
        if int(self._open.sum()) <= most_ways:
            return
        relaxed = self._solver(tier, pinned).solve()
        if relaxed is None:
            return
        number = len(self._open)
        by_cost = np.lexsort((relaxed.reduced[:number], ~self._open))
        self._open[by_cost[most_ways:]] = False
        self._open |= start[:number] > 0

    def least(self, tier: Tier, pinned: Sequence[Pinned], limits: IntegerLimits, start: Floats) -> IntegerAnswer:
        """The least of a tier where each pinned one is at most its value; the bound holds for the ways that are open."""
        return self._solver(tier, pinned).solve_integer(self._rows.whole, limits, start)

    def _solver(self, tier: Tier, pinned: Sequence[Pinned]) -> LinearSolver:
        rows, solver = self._rows, LinearSolver()
        column_upper = np.array(rows.column_upper)
        column_upper[: len(self._open)][~self._open] = 0.0
        solver.add_columns(self._weighed(tier), rows.column_lower, column_upper, empty(len(column_upper)))
        entries, upper = Entries(), list(rows.row_upper)
        for row in rows.rows:
            entries.add(row)
        for earlier, value in pinned:
            counts = self._weighed(earlier)
            entries.add({int(column): float(counts[column]) for column in np.flatnonzero(counts)})
            upper.append(value + _SLACK * max(1.0, abs(value)))
        solver.add_rows([*rows.row_lower, *[-math.inf] * len(pinned)], upper, entries)
        return solver

    def value(self, tier: Tier, columns: Floats) -> float:
        """The value of a tier for an answer."""
        return float(self._weighed(tier) @ columns)

    def _weighed(self, tier: Tier) -> Floats:
        total = np.zeros(len(self._rows.column_lower))
        for goal, weight in tier.items():
            total += weight * self._counts(goal)
        return total

    def _counts(self, goal: LaterGoal) -> Floats:
        """What one unit of each open column counts towards a goal, in its unit."""
        counts = self._goals.setdefault(goal, np.full(len(self._rows.column_lower), np.nan))
        rows, number = self._rows, len(self._open)
        for column in np.flatnonzero(np.isnan(counts[:number]) & self._open):
            counts[column] = self._count(goal, rows.ways.found[int(column)])
        counts[number:] = 0.0
        for index, nodes in rows.nodes.items() if goal == "cost" else ():
            pool = rows.problem.pools[index]
            counts[nodes] = pool.price_microusd_per_h * pool.gpus_per_node / MICRO
        return np.nan_to_num(counts, nan=0.0)

    def _count(self, goal: LaterGoal, way: GpuWay) -> float:
        pool = self._rows.problem.pools[way.pool]
        gpus = max(self._rows.problem.shapes[index].gpus for index in way.residents)
        if goal == "churn":
            return way.load_mib / MIB_PER_GIB
        if goal == "cost":
            return 0.0 if pool.billing == "node" else gpus * pool.price_microusd_per_h / MICRO
        return self._leftovers.of_pattern(Pattern(way.pool, way.residents)) - gpus * self._leftovers.of_free[way.pool]

    def patterns(self, columns: Floats) -> list[Pattern]:
        """The patterns of an answer."""
        found = self._rows.ways.found
        counts = np.rint(columns[: len(found)]).astype(int).tolist()
        return [Pattern(way.pool, way.residents, count) for way, count in zip(found, counts, strict=True) if count > 0]

    def start(self, patterns: Sequence[Pattern]) -> Floats | None:
        """Patterns as values of the columns, those that save most where they run; None where one is no way that takes part."""
        rows = self._rows
        wanted = Counter({(pattern.pool, tuple(sorted(pattern.residents))): pattern.count for pattern in patterns})
        left = [rows.holdings[holding] for holding in sorted(rows.holdings)]
        alone_mib = {(way.pool, way.residents): way.load_mib for way in rows.ways.found if way.holding is None}
        usable = [(way.load_mib - alone_mib[key], at) for at, way in enumerate(rows.ways.found) if wanted[key := (way.pool, way.residents)]]
        used: dict[int, int] = {}
        for _, column in sorted(usable):
            way = rows.ways.found[column]
            count = wanted[way.pool, way.residents]
            if way.holding is not None:
                count = min(count, left[way.holding])
                left[way.holding] -= count
            if count:
                used[column] = count
                wanted[way.pool, way.residents] -= count
        if any(wanted.values()):
            return None
        columns = np.zeros(len(rows.column_lower))
        for column, value in (used | rows.beside(used)).items():
            columns[column] = value
        return columns
