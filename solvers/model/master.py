"""The master problem over slot classes, as arrays that any linear solver can take.

    min   sum price * GPUs  (or: sum unserved of one priority)
    s.t.  one mix per demand                                                     demand     [demand]
          (or, for the covered ones, enough capacity in replicas)
          slots of class c sold by patterns >= slots of class c bought by mixes  supply     [class]
          GPUs of a pool used in aligned blocks of >= k  <=  k * floor(node size / k) * nodes    capacity [pool, k]
          unserved of every earlier priority <= its pinned value                 pinned     [priority]

A mix either serves its demand or it does not, in integers, which makes the relaxation tight and the answer exact. A demand
with very many mixes is covered replica by replica instead: a weaker row, equal in integers up to the solver's tolerance.
Patterns take one GPU of capacity row k = 1; shapes that take whole GPUs are bought by mixes from the capacity rows
directly. The capacity rows are exact for power-of-two blocks. With billing by node the number of nodes is a variable.

Numbers reach a solver scaled to about 1e4 at most: float tolerances of 1e-6 then stay far below the smallest step that
integers allow, except for absurd magnitudes, where a bound just stays below the value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from planner.problem import Problem
from solvers.model.columns import Column, GpuColumn, LossColumn, MixColumn, NodeColumn, PatternColumn, ReplicaColumn, bought
from solvers.model.slots import Slots
from solvers.model.useful_shapes import takes_whole_gpus

# largest coefficient a solver sees; its absolute tolerances are 1e-6 and 1e-7
_LARGEST = 1e4


@dataclass(frozen=True, slots=True)
class StageGoal:
    """What one stage minimises: unserved demand of a priority, or (priority None) cost.

    pinned maps every earlier priority to the unserved micro-requests/s it may have. Priorities that are neither are free.
    """

    priority: int | None
    pinned: tuple[tuple[int, int], ...]

    def must_serve(self, priority: int) -> bool:
        """Whether the stage allows nothing unserved at a priority."""
        return (priority, 0) in self.pinned


@dataclass(frozen=True, slots=True)
class Arrays:
    """Columns of a linear program: costs, upper and lower bounds, and entries by column."""

    costs: list[float]
    lower: list[float]
    upper: list[float]
    starts: list[int]
    rows: list[int]
    entries: list[float]


@dataclass(slots=True)
class Master:
    """Rows, scales and prices of one stage."""

    problem: Problem
    slots: Slots
    goal: StageGoal
    covered: frozenset[int] = frozenset()
    unit: float = field(init=False)
    lattice: int = field(init=False)
    rate_unit: float = field(init=False)
    block_sizes: tuple[tuple[int, ...], ...] = field(init=False)
    row_lower: list[float] = field(init=False)
    row_upper: list[float] = field(init=False)
    _capacity_row: dict[tuple[int, int], int] = field(init=False)
    _pinned_row: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        """Lay out the rows: demand, supply, capacity, pinned."""
        self._scale()
        problem = self.problem
        self.row_lower = [1.0] * len(problem.demands) + [0.0] * len(self.slots.classes)
        self.row_upper = [math.inf if i in self.covered else 1.0 for i in range(len(problem.demands))] + [math.inf] * len(
            self.slots.classes
        )
        self._capacity_row, self._pinned_row = {}, {}
        self.block_sizes = tuple(tuple(sorted({1, *pool.block_sizes})) for pool in problem.pools)
        for index, pool in enumerate(problem.pools):
            for size in self.block_sizes[index]:
                self._capacity_row[index, size] = self._add_row(0.0 if pool.billing == "node" else self.row_room(index, size) * pool.nodes)
        for priority, limit_microrps in self.goal.pinned:
            if limit_microrps:
                # half a micro-request/s of slack: the limit itself must pass the solver's tolerance
                self._pinned_row[priority] = self._add_row((limit_microrps + 0.5) / self.rate_unit)

    def _scale(self) -> None:
        peak = max((demand.peak_microrps for demand in self.problem.demands), default=1)
        self.rate_unit = max(1.0, peak / _LARGEST)
        if self.goal.priority is not None:
            self.unit, self.lattice = self.rate_unit, 1
            return
        steps = [self.step_price(index) for index in range(len(self.problem.pools))]
        self.lattice = math.gcd(*steps) or 1
        self.unit = max(float(self.lattice), max(steps, default=1) / _LARGEST)

    def _add_row(self, upper: float) -> int:
        self.row_lower.append(-math.inf)
        self.row_upper.append(upper)
        return len(self.row_lower) - 1

    def row_room(self, pool: int, size: int) -> int:
        """GPUs of one node that aligned blocks of a size can cover."""
        return size * (self.problem.pools[pool].gpus_per_node // size)

    def step_price(self, pool: int) -> int:
        """Micro-dollars/h by which the cost of a pool grows at a time: a GPU, or a node."""
        chosen = self.problem.pools[pool]
        return chosen.price_microusd_per_h * (chosen.gpus_per_node if chosen.billing == "node" else 1)

    def gpu_price(self, pool: int) -> float:
        """Objective of one GPU of a pool in this stage, scaled; nodes billed whole carry their own."""
        if self.goal.priority is not None or self.problem.pools[pool].billing == "node":
            return 0.0
        return self.problem.pools[pool].price_microusd_per_h / self.unit

    def node_price(self, pool: int) -> float:
        """Objective of one node of a pool billed by node, scaled."""
        return self.step_price(pool) / self.unit if self.goal.priority is None else 0.0

    def unserved_price(self, demand: int) -> float:
        """Objective of one unserved micro-request/s of a demand in this stage, scaled; infinite where it must be served."""
        priority = self.problem.demands[demand].priority
        if self.goal.must_serve(priority):
            return math.inf
        return 1.0 / self.unit if priority == self.goal.priority else 0.0

    def supply_row(self, slot_class: int) -> int:
        """Row of a slot class."""
        return len(self.problem.demands) + slot_class

    def capacity_rows(self, pool: int, size: int) -> list[int]:
        """Rows in which a block of a size takes room."""
        return [self._capacity_row[pool, k] for k in self.block_sizes[pool] if k <= size]

    def pinned_row(self, demand: int) -> int | None:
        """Row that limits the unserved demand of its priority, if there is one."""
        return self._pinned_row.get(self.problem.demands[demand].priority)

    def pinned_limits(self) -> list[tuple[int, float]]:
        """Rows of pinned priorities with their right-hand sides."""
        return [(row, self.row_upper[row]) for row in self._pinned_row.values()]

    def cost(self, column: Column) -> float:
        """Objective of one unit of a column, scaled."""
        if isinstance(column, PatternColumn | GpuColumn):
            return self.gpu_price(column.pool)
        if isinstance(column, NodeColumn):
            return self.node_price(column.pool)
        shapes = [(self.problem.shapes[index], count) for index, count in bought(column)]
        total = sum(self.gpu_price(shape.pool) * shape.gpus * count for shape, count in shapes if takes_whole_gpus(shape))
        lost_microrps = self._lost(column)
        return total + (self.unserved_price(column.demand) * lost_microrps if lost_microrps else 0.0)

    def _lost(self, column: MixColumn | ReplicaColumn | LossColumn) -> int:
        """Unserved micro-requests/s that one unit of a column stands for."""
        if isinstance(column, LossColumn):
            return self.problem.demands[column.demand].peak_microrps
        return column.unserved_microrps if isinstance(column, MixColumn) else 0

    def entries(self, column: Column) -> dict[int, float]:
        """Coefficients of a column by row."""
        if isinstance(column, PatternColumn):
            sold = Counter(self.supply_row(slot_class) for slot_class in column.classes)
            sold.update(self.capacity_rows(column.pool, 1))
            return {row: float(count) for row, count in sold.items()}
        if isinstance(column, GpuColumn):
            raise TypeError("the master sells slots of classes, not GPUs with shapes")
        if isinstance(column, NodeColumn):
            sizes = self.block_sizes[column.pool]
            return {self._capacity_row[column.pool, size]: -float(self.row_room(column.pool, size)) for size in sizes}
        entries = {row: float(count) for row, count in self._taken(column).items()}
        entries[column.demand] = self._covered_fraction(column)
        pinned = self.pinned_row(column.demand)
        if pinned is not None and self._lost(column):
            entries[pinned] = self._lost(column) / self.rate_unit
        return entries

    def _taken(self, column: Column) -> Counter[int]:
        """What the replicas of a column take of supply and capacity rows."""
        rows: Counter[int] = Counter()
        for index, count in bought(column):
            shape = self.problem.shapes[index]
            if takes_whole_gpus(shape):
                for row in self.capacity_rows(shape.pool, shape.gpus):
                    rows[row] += shape.gpus * count
            else:
                rows[self.supply_row(self.slots.of_shape[index])] -= count
        return rows

    def _covered_fraction(self, column: MixColumn | ReplicaColumn | LossColumn) -> float:
        if not isinstance(column, ReplicaColumn):
            return 1.0
        peak_microrps = self.problem.demands[column.demand].peak_microrps
        return min(self.problem.shapes[column.shape].capacity_microrps, peak_microrps) / peak_microrps

    def limits(self, column: Column) -> tuple[float, float]:
        """Lower and upper bound of a column; the rows bound patterns and mixes."""
        if isinstance(column, NodeColumn):
            pool = self.problem.pools[column.pool]
            return float(min(pool.min_nodes, pool.nodes)), float(pool.nodes)
        return 0.0, 1.0 if isinstance(column, LossColumn) else math.inf

    def allows(self, column: Column) -> bool:
        """Whether a column is legal in this stage."""
        if isinstance(column, PatternColumn | GpuColumn | NodeColumn) or not self._lost(column):
            return True
        return not math.isinf(self.unserved_price(column.demand))

    def arrays(self, columns: Iterable[Column]) -> Arrays:
        """Columns as arrays."""
        out = Arrays([], [], [], [], [], [])
        for column in columns:
            lower, upper = self.limits(column)
            out.costs.append(self.cost(column))
            out.lower.append(lower)
            out.upper.append(upper)
            out.starts.append(len(out.rows))
            for row, entry in sorted(self.entries(column).items()):
                out.rows.append(row)
                out.entries.append(entry)
        return out

    def node_columns(self) -> list[Column]:
        """One column per pool billed by node."""
        return [NodeColumn(index) for index, pool in enumerate(self.problem.pools) if pool.billing == "node"]

    def exact_bound(self, value: float) -> int:
        """The smallest value in micro-units that a solution can have when value (scaled) is a lower bound for the master."""
        # solvers stop within an absolute 1e-6 of their objective; sums of floats add a relative 1e-9
        safe = value - 1e-6 - 1e-9 * abs(value)
        return max(0, math.ceil(safe * self.unit / self.lattice) * self.lattice) + self.unavoidable()

    def unavoidable(self) -> int:
        """Cost outside the model: nodes that are paid always although the pool does not have them."""
        if self.goal.priority is not None:
            return 0
        pools = enumerate(self.problem.pools)
        return sum(self.step_price(i) * max(0, pool.min_nodes - pool.nodes) for i, pool in pools if pool.billing == "node")
