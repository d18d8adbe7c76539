"""The linear program of a stage: GPUs are bought in patterns of real shapes, and rows say how each demand is covered.

    min  sum price * GPUs + nodes (or: sum unserved)
    s.t. a . n >= least       for the cuts of each demand, n: replicas of each of its options that columns buy
         GPUs in blocks       as in the master: capacity rows per pool and block size, pinned unserved demand
         MIG slots sold by layouts >= slots bought by replicas, per slot class

A demand that is being decided gets rows of its own: it buys one mix, and of each of its shapes as many as that mix has. Every demand has a
column that meets its rows at a price above all sense, and every capacity row has one, so the program is never infeasible.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from solvers.exact.relaxation.offers import Offers
from solvers.highs import Entries, LinearSolver, empty
from solvers.model.arrays import Floats, Integers
from solvers.model.columns import Column, GpuColumn, LossColumn, MixColumn, NodeColumn, PatternColumn, ReplicaColumn
from solvers.model.master import Master


@dataclass(frozen=True, slots=True)
class Cut:
    """What every legal way to serve a demand meets: weights per option, the worth of leaving all unserved, the least of their sum."""

    demand: int
    weights: Floats
    loss: float
    least: float


class CoverProgram:
    """Rows and columns of one stage; columns and cuts arrive, bounds change."""

    def __init__(self, master: Master, offers: Offers, dear: float) -> None:
        """Capacity, pinned and MIG rows; dear is the price of what does not exist."""
        self.master, self.offers = master, offers
        self.solver = LinearSolver()
        self.columns: list[Column] = []
        self.cuts: list[Cut] = []
        self.cut_rows: list[int] = []
        self.class_row: dict[int, int] = {}
        self.mix_row: dict[int, int] = {}
        self.supply_row: dict[int, int] = {}
        self._known: dict[Column, int] = {}
        self._cuts_of: defaultdict[int, list[int]] = defaultdict(list)
        self._bought: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self._uses = _Uses()
        self._first = len(master.problem.demands) + len(master.slots.classes)
        limits = master.row_upper[self._first :]
        self.fixed_rows = len(limits)
        self.solver.add_rows(master.row_lower[self._first :], limits, empty(len(limits)))
        for slot, each in enumerate(master.slots.classes):
            if each.mode == "mig":
                self.class_row[slot] = len(limits) + len(self.class_row)
        count = len(self.class_row)
        self.solver.add_rows([0.0] * count, [math.inf] * count, empty(count))
        demands = len(master.problem.demands)
        self.solver.add_columns([dear] * demands, [0.0] * demands, [math.inf] * demands, empty(demands))
        self._add_overflow(dear)
        self._offset = self.solver.columns

    def _add_overflow(self, dear: float) -> None:
        """GPUs that a pool does not have."""
        entries, self.overflow = Entries(), list[tuple[int, int, int]]()
        for pool, sizes in enumerate(self.master.block_sizes):
            for size in sizes:
                self.overflow.append((pool, size, self.solver.columns + len(self.overflow)))
                entries.add({row - self._first: -float(size) for row in self.master.capacity_rows(pool, size)})
        rows = [row for row, _ in self.master.pinned_limits()]
        for row in rows:
            entries.add({row - self._first: -1.0})
        count = len(self.overflow) + len(rows)
        self.solver.add_columns([dear] * count, [0.0] * count, [math.inf] * count, entries)

    def capacity_row(self, pool: int, size: int) -> int:
        """Row of the room for blocks of a size or more."""
        return self.master.capacity_rows(pool, size)[-1] - self._first

    def master_duals(self, duals: Floats) -> Floats:
        """Duals in the layout of the master's rows, with zeros where it has others."""
        out = np.zeros(len(self.master.row_lower))
        out[self._first :] = duals[: self.fixed_rows]
        return out

    def add_cuts(self, cuts: Sequence[Cut]) -> None:
        """Append cuts, over all columns there are."""
        entries = Entries()
        for cut in cuts:
            line: defaultdict[int, float] = defaultdict(float)
            line[cut.demand] = cut.least
            start = int(self.offers.starts[cut.demand])
            for column, option, count in self._bought[cut.demand]:
                line[column] += cut.weights[option - start] * count
            loss = self._known.get(LossColumn(cut.demand))
            if loss is not None:
                line[loss] += cut.loss
            self._cuts_of[cut.demand].append(len(self.cuts))
            self.cut_rows.append(self.solver.rows + len(entries.starts))
            self.cuts.append(cut)
            entries.add(line)
        self.solver.add_rows([cut.least for cut in cuts], [math.inf] * len(cuts), entries)

    def cuts_of(self, demand: int) -> list[tuple[Cut, int]]:
        """The cuts of a demand, each with its row."""
        return [(self.cuts[k], self.cut_rows[k]) for k in self._cuts_of[demand]]

    def add(self, columns: Iterable[Column]) -> int:
        """Append the columns that are new; returns how many were."""
        fresh = [column for column in dict.fromkeys(columns) if column not in self._known]
        entries, costs = Entries(), list[float]()
        lower, upper = list[float](), list[float]()
        for column in fresh:
            at = self._offset + len(self.columns)
            entries.add(self._entries(column))
            costs.append(self._cost(column))
            low, high = self.master.limits(column)
            lower.append(low)
            upper.append(high)
            self._known[column] = at
            self.columns.append(column)
            for option, count in self.bought(column):
                self._bought[int(self.offers.demand[option])].append((at, option, count))
                self._uses.add(at, option, count)
        self.solver.add_columns(costs, lower, upper, entries)
        return len(fresh)

    def bought(self, column: Column) -> list[tuple[int, int]]:
        """Options that a column of GPUs buys, with counts."""
        if isinstance(column, GpuColumn):
            return [(self.offers.number[shape], 1) for shape in column.shapes]
        return [(self.offers.number[column.shape], 1)] if isinstance(column, ReplicaColumn) else []

    def _cost(self, column: Column) -> float:
        """Objective of one unit of a column: replicas are paid for where they are bought, so a mix costs what it leaves unserved."""
        if not isinstance(column, MixColumn):
            return self.master.cost(column)
        lost = column.unserved_microrps
        return self.master.unserved_price(column.demand) * lost if lost else 0.0

    def _entries(self, column: Column) -> dict[int, float]:
        master, line = self.master, defaultdict[int, float](float)
        for option, count in self.bought(column):
            demand = int(self.offers.demand[option])
            local = option - int(self.offers.starts[demand])
            for k in self._cuts_of[demand]:
                line[self.cut_rows[k]] += self.cuts[k].weights[local] * count
            if option in self.supply_row:
                line[self.supply_row[option]] += count
        if isinstance(column, GpuColumn | PatternColumn):
            line.update({row - self._first: 1 for row in master.capacity_rows(column.pool, 1)})
        if isinstance(column, PatternColumn):
            for slot in column.classes:
                line[self.class_row[slot]] += 1
        elif isinstance(column, NodeColumn | LossColumn):
            self._outside(line, column)
        elif isinstance(column, ReplicaColumn):
            self._take(line, column)
        elif isinstance(column, MixColumn):
            self._mix(line, column)
        return dict(line)

    def _outside(self, line: defaultdict[int, float], column: NodeColumn | LossColumn) -> None:
        line.update({row - self._first: value for row, value in self.master.entries(column).items() if row >= self._first})
        if isinstance(column, LossColumn):
            for k in self._cuts_of[column.demand]:
                line[self.cut_rows[k]] += self.cuts[k].loss

    def _take(self, line: defaultdict[int, float], column: ReplicaColumn) -> None:
        shape = self.master.problem.shapes[column.shape]
        slot = self.master.slots.of_shape.get(column.shape)
        if slot is not None:
            line[self.class_row[slot]] -= 1
            return
        for row in self.master.capacity_rows(shape.pool, shape.gpus):
            line[row - self._first] += shape.gpus

    def _mix(self, line: defaultdict[int, float], column: MixColumn) -> None:
        line[self.mix_row[column.demand]] += 1
        for shape, count in column.shapes:
            line[self.supply_row[self.offers.number[shape]]] -= count
        if column.unserved_microrps:
            pinned = self.master.pinned_row(column.demand)
            if pinned is not None:
                line[pinned - self._first] += column.unserved_microrps / self.master.rate_unit
            lost_fraction = column.unserved_microrps / max(1, self.master.problem.demands[column.demand].peak_microrps)
            for k in self._cuts_of[column.demand]:
                line[self.cut_rows[k]] += self.cuts[k].loss * lost_fraction

    def add_mixes(self, mixes: Sequence[MixColumn]) -> int:
        """Append mixes, with the rows that their demands and shapes lack."""
        demands = [i for i in dict.fromkeys(mix.demand for mix in mixes) if i not in self.mix_row]
        options = [o for o in dict.fromkeys(self.offers.number[s] for mix in mixes for s, _ in mix.shapes) if o not in self.supply_row]
        entries = Entries()
        for demand in demands:
            self.mix_row[demand] = self.solver.rows + len(entries.starts)
            entries.add({demand: 1.0})
        for option in options:
            self.supply_row[option] = self.solver.rows + len(entries.starts)
            line: defaultdict[int, float] = defaultdict(float)
            for column, other, count in self._bought[int(self.offers.demand[option])]:
                if other == option:
                    line[column] += count
            entries.add(line)
        lower = [1.0] * len(demands) + [0.0] * len(options)
        self.solver.add_rows(lower, [math.inf] * len(lower), entries)
        # what stays unserved is part of the mix from now on
        losses = [self._known[LossColumn(i)] for i in demands if LossColumn(i) in self._known]
        self.solver.bound_columns(losses, [0.0] * len(losses), [0.0] * len(losses))
        return self.add(mixes)

    def place(self, column: Column) -> int | None:
        """Where a known column is among all columns of the solver."""
        return self._known.get(column)

    def usage(self, values: Floats) -> Floats:
        """Replicas of each option that the columns buy at some values of all columns."""
        return self._uses.of(values, len(self.offers.shape))

    def at(self, number: int) -> int:
        """Where the known column of a number is among all columns of the solver."""
        return self._offset + number

    def of_columns(self, values: Floats) -> Floats:
        """Of values of all columns of the solver those of the known ones, in their order."""
        return values[self._offset :]


class _Uses:
    """Which columns buy which options how often, as arrays that grow."""

    def __init__(self) -> None:
        self._new: list[tuple[int, int, int]] = []
        self._known: Integers = np.zeros((0, 3), dtype=np.int64)

    def add(self, column: int, option: int, count: int) -> None:
        self._new.append((column, option, count))

    def of(self, values: Floats, options: int) -> Floats:
        """Copies of each option at some values of the columns, of which the last may be missing."""
        if self._new:
            self._known = np.concatenate([self._known, np.array(self._new, dtype=np.int64)])
            self._new.clear()
        columns, option, count = self._known[self._known[:, 0] < len(values)].T
        used = count * np.where(values[columns] > 1e-9, values[columns], 0.0)
        return np.bincount(option, weights=used, minlength=options).astype(np.float64)
