"""HiGHS behind two doors: a linear program that grows by columns, and an integer program given at once.

Three traps shape this file: the number of threads is global to the process and may not change between runs, so it is
one everywhere; the objective keeps an old value on an infeasible model, so the model status is read first; limits
count nodes and never the clock unless the caller asks for it, so that equal input gives equal output.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import highspy
import numpy as np
from highspy._core import _Highs
from numpy.typing import NDArray

from solvers.model.arrays import Floats
from solvers.model.columns import Column, LossColumn
from solvers.model.master import Arrays, Master

Indexes = NDArray[np.int32]
_NONE = np.zeros(0, dtype=np.int32)
# simplex strategies of HiGHS: the basis stays primal feasible when columns arrive, dual feasible when bounds change; each the other way
# round is several times slower
_PRIMAL, _DUAL = 4, 1


@dataclass(frozen=True, slots=True)
class LpAnswer:
    """Value, duals per row of the master (NaN where no column has reached the row), values of the columns and of each demand's overflow."""

    value: float
    duals: Floats
    columns: Floats
    overflow: Floats


@dataclass(frozen=True, slots=True)
class MipAnswer:
    """Column values of the best solution found (None when there is none) and the bound; infinite when infeasible."""

    columns: list[int] | None
    bound: float


def silent_solver(time_limit_s: float | None = None) -> _Highs:
    """A HiGHS instance with one thread, a fixed seed and no output."""
    # the public class prints a banner to stdout before any option can silence it
    solver = _Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("random_seed", 0)
    if time_limit_s is not None:
        # HiGHS looks at the clock between its steps, and the answer must still be read
        solver.setOptionValue("time_limit", max(0.01, 0.85 * time_limit_s))
    return solver


class LinearProgram:
    """The linear relaxation of a master, warm-started as columns arrive and bounds change.

    Supply rows come in with the first column that needs them: most slot classes of a large problem are never used. Every demand
    has a column of its own that meets it at a price above all sense, so the program is never infeasible. While a box is set, slots and
    GPUs may also be bought and sold near given prices, which keeps the duals near them (du Merle et al. 1999).
    """

    def __init__(self, master: Master, overflow: Sequence[float]) -> None:
        """Start with all rows but supply, and the overflow column of each demand at its price."""
        self.master = master
        self.columns: list[Column] = []
        self._at: list[int] = []
        self._known: set[Column] = set()
        self._solver = silent_solver()
        start = len(master.problem.demands)
        self._supply = range(start, start + len(master.slots.classes))
        rows = [row for row in range(len(master.row_lower)) if row not in self._supply]
        self._row_of = np.full(len(master.row_lower), -1)
        self._row_of[rows] = np.arange(len(rows))
        self._rows = rows
        self._solver.addRows(len(rows), np.array(master.row_lower)[rows], np.array(master.row_upper)[rows], 0, _NONE, _NONE, np.zeros(0))
        count = len(overflow)
        every = np.arange(count, dtype=np.int32)
        self._solver.addCols(count, np.array(overflow), np.zeros(count), np.full(count, math.inf), count, every, every, np.ones(count))
        self._overflow = count
        dear = 10.0 * max([float(price) for price in overflow], default=1.0)
        limited = np.array([at for at, row in enumerate(rows) if row >= start], dtype=np.int32)
        more = len(limited)
        ends = np.arange(more, dtype=np.int32)
        self._solver.addCols(more, np.full(more, dear), np.zeros(more), np.full(more, math.inf), more, ends, limited, -np.ones(more))
        self._count = count + more
        self._boxed: dict[int, tuple[int, int]] = {}
        self._low: Floats | None = None
        self._high: Floats | None = None

    def add(self, columns: Iterable[Column]) -> int:
        """Append the columns that are new; returns how many were."""
        fresh = [column for column in dict.fromkeys(columns) if column not in self._known]
        if not fresh:
            return 0
        self._known.update(fresh)
        arrays = self.master.arrays(fresh)
        self._need([row for row in dict.fromkeys(arrays.rows) if self._row_of[row] < 0])
        arrays.rows[:] = self._row_of[arrays.rows].tolist()
        self._solver.addCols(len(fresh), *_numpy(arrays))
        self.columns.extend(fresh)
        self._at.extend(range(self._count, self._count + len(fresh)))
        self._count += len(fresh)
        self._solver.setOptionValue("simplex_strategy", _PRIMAL)
        return len(fresh)

    def _need(self, missing: Sequence[int]) -> None:
        count = len(missing)
        if count:
            self._row_of[missing] = len(self._rows) + np.arange(count)
            self._rows.extend(missing)
            self._solver.addRows(count, np.zeros(count), np.full(count, math.inf), 0, _NONE, _NONE, np.zeros(0))
        if self._low is not None:
            self._box([row for row in self._rows if row not in self._boxed and self._low[row] < self.high[row]])

    @property
    def high(self) -> Floats:
        """Upper ends of the box."""
        assert self._high is not None
        return self._high

    def _box(self, rows: Sequence[int]) -> None:
        """Columns that buy (+1 in the row) at the upper end and sell (-1) at the lower end."""
        assert self._low is not None
        if not rows:
            return
        count = len(rows)
        costs = np.concatenate([self.high[rows], -self._low[rows]])
        # a dual at most zero needs no seller at zero, one at least zero no buyer
        upper = np.full(2 * count, math.inf)
        entries = np.concatenate([np.ones(count), -np.ones(count)])
        at = np.tile(self._row_of[rows], 2).astype(np.int32)
        self._solver.addCols(2 * count, costs, np.zeros(2 * count), upper, 2 * count, np.arange(2 * count, dtype=np.int32), at, entries)
        self._boxed.update({row: (self._count + i, self._count + count + i) for i, row in enumerate(rows)})
        self._count += 2 * count

    def keep_near(self, low: Floats, high: Floats) -> None:
        """Set or move the box of the duals; rows where low is not below high stay free."""
        self._low, self._high = low, high
        if self._boxed:
            rows = list(self._boxed)
            at = np.array([self._boxed[row] for row in rows], dtype=np.int32).ravel()
            costs = np.stack([high[rows], -low[rows]], axis=1).ravel()
            self._solver.changeColsCost(len(at), at, costs)
        self._need([])
        self._solver.setOptionValue("simplex_strategy", _PRIMAL)

    def set_free(self) -> None:
        """Take the box away."""
        self._low = self._high = None
        at = np.array(sorted(column for pair in self._boxed.values() for column in pair), dtype=np.int32)
        if len(at):
            self._solver.changeColsBounds(len(at), at, np.zeros(len(at)), np.zeros(len(at)))
            self._solver.setOptionValue("simplex_strategy", _DUAL)

    def bound(self, columns: Sequence[int], lower: Sequence[float], upper: Sequence[float]) -> None:
        """Change the bounds of columns."""
        if not columns:
            return
        at = np.array([self._at[column] for column in columns], dtype=np.int32)
        self._solver.changeColsBounds(len(at), at, np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64))
        self._solver.setOptionValue("simplex_strategy", _DUAL)

    def limit(self, row: int, upper: float) -> None:
        """Change the upper bound of a row of the master."""
        self._solver.changeRowBounds(int(self._row_of[row]), -math.inf, upper)
        self._solver.setOptionValue("simplex_strategy", _DUAL)

    def solve(self) -> LpAnswer | None:
        """Solve; None when the solver fails."""
        self._solver.run()
        if self._solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        solution = self._solver.getSolution()
        duals = np.full(len(self._row_of), np.nan)
        duals[self._rows] = solution.row_dual
        values = np.array(solution.col_value)
        return LpAnswer(self._solver.getInfo().objective_function_value, duals, values[self._at], values[: self._overflow])


def solve_integer(master: Master, columns: Sequence[Column], *, nodes: int, time_limit_s: float | None) -> MipAnswer:
    """The integer master over the given columns, up to a number of branch and bound nodes (and seconds, if given)."""
    solver = silent_solver(time_limit_s)
    solver.setOptionValue("mip_max_nodes", nodes)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("mip_abs_gap", 0.0)
    rows = len(master.row_lower)
    solver.addRows(rows, np.array(master.row_lower), np.array(master.row_upper), 0, _NONE, _NONE, np.zeros(0))
    solver.addCols(len(columns), *_numpy(master.arrays(columns)))
    whole = np.array([i for i, column in enumerate(columns) if not isinstance(column, LossColumn)], dtype=np.int32)
    solver.changeColsIntegrality(len(whole), whole, np.full(len(whole), highspy.HighsVarType.kInteger))
    solver.run()
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return MipAnswer(None, math.inf)
    info = solver.getInfo()
    # primal_solution_status 2 is a feasible point
    found = [round(value) for value in solver.getSolution().col_value] if info.primal_solution_status == 2 else None
    return MipAnswer(found, info.mip_dual_bound)


def _numpy(arrays: Arrays) -> tuple[Floats, Floats, Floats, int, Indexes, Indexes, Floats]:
    return (
        np.array(arrays.costs),
        np.array(arrays.lower),
        np.array(arrays.upper),
        len(arrays.rows),
        np.array(arrays.starts, dtype=np.int32),
        np.array(arrays.rows, dtype=np.int32),
        np.array(arrays.entries),
    )
