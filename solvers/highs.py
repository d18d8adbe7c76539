"""HiGHS behind one typed door: a linear program that grows by rows and columns, and integer programs over it.

Five traps shape this file: the number of threads is global to the process and may not change between runs, so it is one everywhere; the
objective keeps an old value on an infeasible model, so the model status is read first; the public class prints a banner before any option
can silence it; limits count nodes and never the clock unless the caller asks for it, so that equal input gives equal output; presolve
may turn a solution to begin with into a cheaper one that does not exist, and then every solution in between is thrown away.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import highspy
import numpy as np
from highspy._core import _Highs
from numpy.typing import ArrayLike, NDArray

from solvers.model.arrays import Floats

# simplex strategies of HiGHS: the basis stays primal feasible when columns arrive, dual feasible when bounds or rows change; each the
# other way round is several times slower
_PRIMAL, _DUAL = 4, 1
# HiGHS looks at the clock between its steps, and the answer must still be read
_TIME_FRACTION = 0.85
# a value that differs by more than this part from what its columns cost is not theirs; then what is cheaper by a part is sought without
# a solution to begin with, unless there is hardly any time left
_SAME_FRACTION, _CHEAPER_FRACTION, _LEAST_S = 1e-6, 1e-5, 0.05


@dataclass(slots=True)
class Entries:
    """A sparse matrix by rows or by columns while it is built: of each, its indexes and values."""

    starts: list[int] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, line: Mapping[int, float]) -> None:
        """One more row or column, in the order of its indexes."""
        self.starts.append(len(self.indexes))
        for index in sorted(line):
            if line[index]:
                self.indexes.append(index)
                self.values.append(line[index])

    def arrays(self) -> tuple[int, NDArray[np.int32], NDArray[np.int32], Floats]:
        """Number of entries, starts, indexes and values as HiGHS takes them."""
        starts, indexes = np.array(self.starts, dtype=np.int32), np.array(self.indexes, dtype=np.int32)
        return len(self.indexes), starts, indexes, np.array(self.values, dtype=np.float64)


def empty(count: int) -> Entries:
    """So many rows or columns without entries."""
    return Entries(starts=[0] * count)


class _Interrupt(Protocol):
    """What a callback of HiGHS may say."""

    user_interrupt: bool


@dataclass(frozen=True, slots=True)
class LinearAnswer:
    """Value, duals per row, values and reduced costs of the columns."""

    value: float
    duals: Floats
    columns: Floats
    reduced: Floats


@dataclass(frozen=True, slots=True)
class IntegerAnswer:
    """Values of the columns of the best solution found (None without one) and a valid bound; infinite when there is no solution."""

    columns: Floats | None
    bound: float


@dataclass(frozen=True, slots=True)
class IntegerLimits:
    """Where branch and bound stops: nodes, relative and absolute gap, and if given seconds, and somebody who is asked often.

    HiGHS does not keep a time limit inside some of its steps; stop is asked there too.
    """

    nodes: int
    gap_fraction: float = 0.0
    gap: float = 0.0
    time_limit_s: float | None = None
    stop: Callable[[], bool] | None = None


class LinearSolver:
    """A linear program, warm from one solve to the next."""

    def __init__(self) -> None:
        """An empty program to minimise."""
        self._solver = _silent()
        self.rows = 0
        self.columns = 0

    def add_rows(self, lower: ArrayLike, upper: ArrayLike, entries: Entries) -> None:
        """Append rows."""
        low, high = np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64)
        if len(low):
            _check(self._solver.addRows(len(low), low, high, *entries.arrays()), entries.values)
            self.rows += len(low)
            self._solver.setOptionValue("simplex_strategy", _DUAL)

    def add_columns(self, costs: ArrayLike, lower: ArrayLike, upper: ArrayLike, entries: Entries) -> None:
        """Append columns."""
        price = np.array(costs, dtype=np.float64)
        if len(price):
            low, high = np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64)
            _check(self._solver.addCols(len(price), price, low, high, *entries.arrays()), [*entries.values, *price.tolist()])
            self.columns += len(price)
            self._solver.setOptionValue("simplex_strategy", _PRIMAL)

    def bound_columns(self, columns: Sequence[int], lower: ArrayLike, upper: ArrayLike) -> None:
        """Change bounds of columns."""
        if len(columns):
            at = np.array(columns, dtype=np.int32)
            self._solver.changeColsBounds(len(at), at, np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64))
            self._solver.setOptionValue("simplex_strategy", _DUAL)

    def bound_row(self, row: int, lower: float, upper: float) -> None:
        """Change the bounds of a row."""
        self._solver.changeRowBounds(row, lower, upper)
        self._solver.setOptionValue("simplex_strategy", _DUAL)

    def solve(self) -> LinearAnswer | None:
        """Solve; None where the solver finds no optimum."""
        self._solver.run()
        if self._solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        solution = self._solver.getSolution()
        value = self._solver.getInfo().objective_function_value
        return LinearAnswer(value, np.array(solution.row_dual), np.array(solution.col_value), np.array(solution.col_dual))

    def copied(self) -> LinearSolver:
        """The same program once more, without what it knows of its solution."""
        other = LinearSolver()
        other._solver.passModel(self._solver.getLp())
        other.rows, other.columns = self.rows, self.columns
        return other

    def solve_integer(self, whole: Sequence[int], limits: IntegerLimits, start: Floats | None = None) -> IntegerAnswer:
        """Solve with some columns in whole numbers; start is a solution to begin with. Use on a copy: it stays an integer program."""
        at = np.array(whole, dtype=np.int32)
        self._solver.changeColsIntegrality(len(at), at, np.full(len(at), highspy.HighsVarType.kInteger))
        began_s = time.monotonic()
        answer = self._branch(limits, start)
        if start is None or answer.columns is None or not self._mistaken(answer.columns):
            return answer
        left_s = None if limits.time_limit_s is None else limits.time_limit_s - (time.monotonic() - began_s)
        if left_s is not None and left_s <= _LEAST_S:
            return answer
        better = self._cheaper_than(answer.columns).solve_integer(whole, replace(limits, time_limit_s=left_s))
        return answer if better.columns is None else better

    def _mistaken(self, columns: Floats) -> bool:
        """Whether the value of the last solution is not what its columns cost."""
        value = float(self._solver.getInfo().objective_function_value)
        return abs(float(self._costs() @ columns) - value) > _SAME_FRACTION * max(1.0, abs(value))

    def _costs(self) -> Floats:
        return np.array(self._solver.getLp().col_cost_)

    def _cheaper_than(self, columns: Floats) -> LinearSolver:
        """The same program in which only what costs less than these values of the columns is a solution."""
        other = self.copied()
        costs = self._costs()
        entries = Entries()
        entries.add(dict(enumerate(costs.tolist())))
        other.add_rows([-math.inf], [float(costs @ columns) * (1.0 - _CHEAPER_FRACTION)], entries)
        return other

    def _branch(self, limits: IntegerLimits, start: Floats | None) -> IntegerAnswer:
        solver = self._solver
        solver.setOptionValue("mip_max_nodes", limits.nodes)
        solver.setOptionValue("mip_rel_gap", limits.gap_fraction)
        solver.setOptionValue("mip_abs_gap", limits.gap)
        if limits.time_limit_s is not None:
            solver.setOptionValue("time_limit", max(0.01, _TIME_FRACTION * limits.time_limit_s))
        if limits.stop is not None:
            _listen(solver, limits.stop)
        if start is not None:
            known = highspy.HighsSolution()
            known.col_value = start.tolist()
            solver.setSolution(known)
        solver.run()
        if solver.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
            return IntegerAnswer(None, math.inf)
        info = solver.getInfo()
        # primal_solution_status 2 is a feasible point
        found = np.array(solver.getSolution().col_value) if info.primal_solution_status == 2 else None
        return IntegerAnswer(found, info.mip_dual_bound)


def _check(status: highspy.HighsStatus, values: Sequence[float]) -> None:
    """Rows and columns that HiGHS refuses would shift all later ones; a value that is no number it takes, and answers with none."""
    if status == highspy.HighsStatus.kError or not all(map(math.isfinite, values)):
        raise ValueError("HiGHS refuses rows or columns of a program")


def _listen(solver: _Highs, stop: Callable[[], bool]) -> None:
    """Ask stop while the solver works."""

    def asked(_kind: object, _message: object, _state: object, answer: _Interrupt | None, _data: object) -> None:
        if answer is not None:
            answer.user_interrupt = stop()

    solver.setCallback(asked, None)
    solver.startCallback(highspy.cb.HighsCallbackType.kCallbackMipInterrupt)
    solver.startCallback(highspy.cb.HighsCallbackType.kCallbackSimplexInterrupt)


def _silent() -> _Highs:
    """A HiGHS instance with one thread, a fixed seed and no output."""
    solver = _Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("random_seed", 0)
    return solver
