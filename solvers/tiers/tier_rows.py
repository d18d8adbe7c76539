"""What an answer in ways has to keep, as columns and rows of an integer program.

    replicas of a demand carry its peak but for what is unserved            per demand (and per shape, where one may be lost)
    replicas of a demand number at least, and at most                       per demand
    what is unserved at a priority <= that of the best answer               per priority
    GPUs in use that hold the same are taken once                           per Holding
    GPUs of a pool used in aligned blocks of >= k <= what its nodes have    per pool and k

Columns are ways, then nodes of each pool billed by node, then the unserved part of demands, then marks: whether a shape is used at all.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from planner.problem import Holding, Pattern, Problem, blocks_used, nodes_needed, priorities, unserved, unserved_by_priority
from solvers.tiers.gpu_ways import GpuWays

Terms = dict[int, float]


class TierRows:
    """The rows for a problem; best is the answer whose unserved demand no other may exceed."""

    def __init__(self, problem: Problem, holdings: Mapping[Holding, int], ways: GpuWays, best: Sequence[Pattern]) -> None:
        """Lay out columns and rows."""
        self.problem, self.holdings, self.ways = problem, holdings, ways
        self.column_lower = [0.0] * len(ways.found)
        self.column_upper = [math.inf] * len(ways.found)
        self.rows: list[Terms] = []
        self.row_lower: list[float] = []
        self.row_upper: list[float] = []
        self.nodes: dict[int, int] = {}
        self.unserved: dict[int, int] = {}
        self._marks: dict[int, int] = {}
        self._sizes = [max(problem.shapes[index].gpus for index in way.residents) for way in ways.found]
        longest = max((len(way.residents) for way in ways.found), default=1)
        self._most_replicas = sum(pool.gpus for pool in problem.pools) * longest
        for index, pool in enumerate(problem.pools):
            if pool.billing == "node":
                self.nodes[index] = self._column(float(min(pool.min_nodes, pool.nodes)), float(pool.nodes))
        self._serve(best)
        self._take()
        self._fit()

    @property
    def whole(self) -> list[int]:
        """Columns that are whole numbers."""
        parts = set(self.unserved.values())
        return [column for column in range(len(self.column_lower)) if column not in parts]

    def _column(self, lower: float, upper: float) -> int:
        self.column_lower.append(lower)
        self.column_upper.append(upper)
        return len(self.column_lower) - 1

    def _row(self, entries: Terms, lower: float, upper: float) -> None:
        self.rows.append(entries)
        self.row_lower.append(lower)
        self.row_upper.append(upper)

    def _serve(self, best: Sequence[Pattern]) -> None:
        """Rows of demands and priorities."""
        problem = self.problem
        left = dict(zip(priorities(problem), unserved_by_priority(problem, unserved(problem, best)), strict=True))
        using: list[defaultdict[int, Terms]] = [defaultdict(dict) for _ in problem.demands]
        for column, way in enumerate(self.ways.found):
            for index, count in Counter(way.residents).items():
                using[problem.shapes[index].demand][index][column] = float(count)
        for i, demand in enumerate(problem.demands):
            if left[demand.priority]:
                self.unserved[i] = self._column(0.0, 1.0)
            self._serve_demand(i, using[i])
        for priority, missing_microrps in left.items():
            short = [i for i in self.unserved if problem.demands[i].priority == priority]
            if short:
                # half a micro-request/s of slack: the value itself must pass the solver's tolerance
                limit_microrps = missing_microrps + 0.5
                entries = {self.unserved[i]: max(1, problem.demands[i].peak_microrps) / limit_microrps for i in short}
                self._row(entries, -math.inf, 1.0)

    def _serve_demand(self, i: int, using: Mapping[int, Terms]) -> None:
        """What a demand asks of the ways that hold its replicas; using counts them by shape and column."""
        demand = self.problem.demands[i]
        missing = {self.unserved[i]: 1.0} if i in self.unserved else {}
        counts: Terms = defaultdict(float)
        for columns in using.values():
            for column, count in columns.items():
                counts[column] += count
        if demand.peak_microrps:
            self._carry(i, using, missing)
        if demand.min_replicas:
            least = float(demand.min_replicas)
            self._row({**counts, **dict.fromkeys(missing, least)}, least, math.inf)
        if demand.max_replicas < self._most_replicas and counts:
            self._row(dict(counts), -math.inf, float(demand.max_replicas))

    def _carry(self, i: int, using: Mapping[int, Terms], missing: Terms) -> None:
        """Its replicas carry the peak of a demand, also without one of any shape that is used where one may be lost."""
        demand = self.problem.demands[i]
        parts = {index: self.problem.shapes[index].capacity_microrps / demand.peak_microrps for index in using}
        carried: Terms = defaultdict(float, missing)
        for index, columns in using.items():
            for column, count in columns.items():
                carried[column] += count * (parts[index] if demand.tolerate_nodes else min(1.0, parts[index]))
        self._row(dict(carried), 1.0, math.inf)
        for index, columns in using.items() if demand.tolerate_nodes else ():
            mark = self._marks[index] = self._column(0.0, 1.0)
            self._row({**carried, mark: -parts[index]}, 1.0, math.inf)
            self._row({**columns, mark: -float(self._most_replicas)}, -math.inf, 0.0)

    def _take(self) -> None:
        """GPUs in use, by what they hold."""
        taking: defaultdict[int, Terms] = defaultdict(dict)
        for column, way in enumerate(self.ways.found):
            if way.holding is not None:
                taking[way.holding][column] = 1.0
        for number, holding in enumerate(sorted(self.holdings)):
            if number in taking:
                self._row(taking[number], -math.inf, float(self.holdings[holding]))

    def _of_pool(self, pool: int) -> list[int]:
        """GpuWays on GPUs of a pool."""
        return [column for column, way in enumerate(self.ways.found) if way.pool == pool]

    def _fit(self) -> None:
        """GPUs of each pool in blocks."""
        for index, pool in enumerate(self.problem.pools):
            for size in sorted({1, *pool.block_sizes}):
                used = {column: float(self._sizes[column]) for column in self._of_pool(index) if self._sizes[column] >= size}
                room = float(size * (pool.gpus_per_node // size))
                if used and index in self.nodes:
                    self._row({**used, self.nodes[index]: -room}, -math.inf, 0.0)
                elif used:
                    self._row(used, -math.inf, room * pool.nodes)

    def beside(self, ways_used: Mapping[int, int]) -> dict[int, float]:
        """The values of the other columns for counts of ways."""
        found = self.ways.found
        patterns = [Pattern(found[column].pool, found[column].residents, count) for column, count in ways_used.items()]
        values: dict[int, float] = {}
        for index, column in self.nodes.items():
            pool = self.problem.pools[index]
            needed = nodes_needed(pool, blocks_used(self.problem, patterns, index))
            values[column] = float(max(needed, min(pool.min_nodes, pool.nodes)))
        missing_microrps = unserved(self.problem, patterns)
        for i, column in self.unserved.items():
            values[column] = missing_microrps[i] / max(1, self.problem.demands[i].peak_microrps)
        used = {index for pattern in patterns for index in pattern.residents}
        values.update({mark: 1.0 for index, mark in self._marks.items() if index in used})
        return values
