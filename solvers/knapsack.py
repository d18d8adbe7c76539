"""The most valuable pattern of a time-shared group as a small integer program.

Many idle residents make the patterns of a group too many to search one by one; as a multi-row knapsack with one choice per
demand the same question takes HiGHS a few hundredths of a second, and its dual bound is a valid upper value.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import highspy
import numpy as np

from solvers.highs import silent_solver
from solvers.slots import Group

# branch and bound nodes; the dual bound is valid wherever the search stops
_MOST_NODES = 500


class Knapsack:
    """The integer program of one time-shared group, built once and priced many times."""

    def __init__(self, group: Group) -> None:
        """Rows: resources, one class per tagged demand, one demand of each pair that may not meet."""
        self._group = group
        self._solver = silent_solver()
        self._solver.setOptionValue("mip_max_nodes", _MOST_NODES)
        rows = [*self._resource_rows(), *self._choice_rows()]
        count = len(group.classes)
        upper = np.array([limit for limit, _ in rows], dtype=np.float64)
        none = np.zeros(0, dtype=np.int32)
        most = np.array(group.most, dtype=np.float64)
        self._solver.addCols(count, np.zeros(count), np.zeros(count), most, 0, none, none, np.zeros(0))
        self._solver.changeColsIntegrality(count, self._every(), np.full(count, highspy.HighsVarType.kInteger))
        for limit, entries in zip(upper, (entries for _, entries in rows), strict=True):
            items = np.array([item for item, _ in entries], dtype=np.int32)
            weights = np.array([weight for _, weight in entries], dtype=np.float64)
            self._solver.addRow(-math.inf, float(limit), len(entries), items, weights)

    def _every(self) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return np.arange(len(self._group.classes), dtype=np.int32)

    def _resource_rows(self) -> list[tuple[float, list[tuple[int, float]]]]:
        rows: list[tuple[float, list[tuple[int, float]]]] = []
        for row, limit in enumerate(self._group.limits):
            # as a share of the limit: rows of MiB and of per-mille then have coefficients of one size
            scale = float(max(1, limit))
            entries = [(item, weights[row] / scale) for item, weights in enumerate(self._group.weights) if weights[row]]
            rows.append((limit / scale, entries))
        return rows

    def _choice_rows(self) -> list[tuple[float, list[tuple[int, float]]]]:
        by_tag: defaultdict[int, list[int]] = defaultdict(list)
        pairs: set[tuple[int, int]] = set()
        for item, tag in enumerate(self._group.tags):
            if tag >= 0:
                by_tag[tag].append(item)
                pairs.update((min(tag, other), max(tag, other)) for other in self._group.strangers[item])
        together = [*by_tag.values(), *([*by_tag[a], *by_tag[b]] for a, b in sorted(pairs) if a in by_tag and b in by_tag)]
        return [(1.0, [(item, 1.0) for item in items]) for items in together]

    def best(self, values: Sequence[float], gap_fraction: float) -> tuple[tuple[int, ...], float]:
        """The classes of a pattern within the gap of the best (ascending, maybe empty), and an upper bound on the value of all."""
        self._solver.setOptionValue("mip_rel_gap", gap_fraction)
        costs = np.array([-values[i] for i in self._group.classes], dtype=np.float64)
        self._solver.changeColsCost(len(costs), self._every(), costs)
        self._solver.run()
        info = self._solver.getInfo()
        # 2 is a feasible point
        if info.primal_solution_status != 2:
            return (), -info.mip_dual_bound
        counts = [round(count) for count in self._solver.getSolution().col_value]
        classes = sorted(slot for slot, count in zip(self._group.classes, counts, strict=True) for _ in range(count))
        return tuple(classes), -info.mip_dual_bound
