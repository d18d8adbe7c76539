"""Prices to begin with: a linear program in which GPUs sell plain resources and demands buy fractions of replicas.

Memory, compute and the other rows of a GPU have a price each; a slot costs what it takes of them, so a GPU never sells more
than it costs. That is a weaker program than the one over patterns, but small, and its prices are close.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import highspy
import numpy as np

from solvers.exact.highs import silent_solver
from solvers.model.arrays import Floats
from solvers.model.master import Master
from solvers.model.useful_shapes import takes_whole_gpus


class _Program:
    """Columns and rows of the program while it is built."""

    def __init__(self, master: Master) -> None:
        self.master = master
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.columns: list[tuple[float, float, list[tuple[int, float]]]] = []
        start = len(master.problem.demands)
        supply = range(start, start + len(master.slots.classes))
        self.row_of = dict.fromkeys(supply, -1)
        for row in range(len(master.row_lower)):
            if row not in supply:
                self.row_of[row] = self.row(master.row_lower[row], master.row_upper[row])
        # a demand may buy more than it needs here
        self.upper[:start] = [math.inf] * start

    def row(self, lower: float, upper: float) -> int:
        self.lower.append(lower)
        self.upper.append(upper)
        return len(self.lower) - 1

    def solve(self) -> Floats | None:
        solver = silent_solver()
        none = np.zeros(0, dtype=np.int32)
        solver.addRows(len(self.lower), np.array(self.lower), np.array(self.upper), 0, none, none, np.zeros(0))
        count = len(self.columns)
        starts = np.cumsum([0, *(len(entries) for _, _, entries in self.columns)])[:-1].astype(np.int32)
        rows = np.array([row for _, _, entries in self.columns for row, _ in entries], dtype=np.int32)
        values = np.array([value for _, _, entries in self.columns for _, value in entries], dtype=np.float64)
        costs = np.array([cost for cost, _, _ in self.columns])
        upper = np.array([limit for _, limit, _ in self.columns])
        solver.addCols(count, costs, np.zeros(count), upper, len(rows), starts, rows, values)
        solver.run()
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        return np.array(solver.getSolution().row_dual)


def first_duals(master: Master) -> Floats:
    """Duals per row of a master to begin column generation with; all zero when the small program fails."""
    program = _Program(master)
    problem = master.problem
    for i in range(len(problem.demands)):
        # dear enough to be used only where nothing else is left
        program.columns.append((_dear(master), math.inf, [(i, 1.0)]))
    for index, pool in enumerate(problem.pools):
        if pool.billing == "node":
            sizes = master.block_sizes[index]
            entries = [(program.row_of[master.capacity_rows(index, k)[-1]], -float(master.row_room(index, k))) for k in sizes]
            program.columns.append((master.node_price(index), float(pool.nodes), entries))
    for shape in sorted(master.slots.shapes):
        of = problem.shapes[shape]
        if takes_whole_gpus(of):
            entries = [(program.row_of[row], float(of.gpus)) for row in master.capacity_rows(of.pool, of.gpus)]
            program.columns.append((master.gpu_price(of.pool) * of.gpus, math.inf, [(of.demand, _covers(master, shape)), *entries]))
    rows = _sell(program)
    duals = program.solve()
    out = np.zeros(len(master.row_lower))
    if duals is None:
        return out
    for row, at in program.row_of.items():
        out[row] = duals[at] if at >= 0 else math.inf
    for (slot, _), entries in rows.items():
        out[master.supply_row(slot)] = min(out[master.supply_row(slot)], sum(-duals[row] * weight for row, weight in entries))
    return np.where(np.isfinite(out), out, 0.0)


def _dear(master: Master) -> float:
    pools = range(len(master.problem.pools))
    total = sum(pool.gpus for pool in master.problem.pools)
    return 10.0 * (1.0 + total) * max([master.gpu_price(i) + master.node_price(i) for i in pools], default=1.0)


def _covers(master: Master, shape: int) -> float:
    """The part of its demand that one replica carries."""
    of = master.problem.shapes[shape]
    peak = max(1, master.problem.demands[of.demand].peak_microrps)
    return min(of.capacity_microrps, peak) / peak


def _sell(program: _Program) -> dict[tuple[int, int], list[tuple[int, float]]]:
    """GPUs of each group that sell resources, and the shapes that buy them; returns what a slot of each class takes per group."""
    master = program.master
    by_class: dict[int, list[int]] = {}
    for shape, slot in master.slots.of_shape.items():
        by_class.setdefault(slot, []).append(shape)
    taken: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for number, group in enumerate(master.slots.groups):
        capacity = [(program.row_of[row], 1.0) for row in master.capacity_rows(group.pool, 1)]
        price = master.gpu_price(group.pool)
        if group.layouts:
            names = sorted(set(group.profiles))
            rows = {name: program.row(-math.inf, 0.0) for name in names}
            for layout in group.layouts:
                sold = [(rows[name], -float(layout.count(name))) for name in names if name in layout]
                program.columns.append((price, math.inf, [*capacity, *sold]))
            needs: Sequence[list[tuple[int, float]]] = [[(rows[name], 1.0)] for name in group.profiles]
        else:
            limits = [max(1, limit) for limit in group.limits]
            sold_rows = [program.row(-math.inf, 0.0) for _ in limits]
            program.columns.append((price, math.inf, [*capacity, *((row, -1.0) for row in sold_rows)]))
            needs = [
                [(row, weight / limit) for row, weight, limit in zip(sold_rows, weights, limits, strict=True) if weight]
                for weights in group.weights
            ]
        for slot, entries in zip(group.classes, needs, strict=True):
            taken[slot, number] = entries
            for shape in by_class[slot]:
                program.columns.append((0.0, math.inf, [(master.problem.shapes[shape].demand, _covers(master, shape)), *entries]))
    return taken
