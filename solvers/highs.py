"""HiGHS behind two doors: a linear program that grows by columns, and an integer program given at once.

Three traps shape this file: the number of threads is global to the process and may not change between runs, so it is
one everywhere; the objective keeps an old value on an infeasible model, so the model status is read first; limits
count nodes and never the clock unless the caller asks for it, so that equal input gives equal output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
from highspy._core import _Highs
from numpy.typing import NDArray

from solvers.columns import Column, LossColumn
from solvers.master import Arrays, Master

Floats = NDArray[np.float64]
Indexes = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class LpAnswer:
    """Value, row duals and column values of a linear program."""

    value: float
    duals: list[float]
    columns: list[float]


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
        solver.setOptionValue("time_limit", max(0.01, time_limit_s))
    return solver


class LinearProgram:
    """The linear relaxation of a master, warm-started as columns arrive."""

    def __init__(self, master: Master) -> None:
        """Start with the rows alone."""
        self._master = master
        self._solver = silent_solver()
        # 4 is primal simplex: the basis stays primal feasible when columns arrive
        self._solver.setOptionValue("simplex_strategy", 4)
        none = np.zeros(0, dtype=np.int32)
        rows = len(master.row_lower)
        self._solver.addRows(rows, np.array(master.row_lower), np.array(master.row_upper), 0, none, none, np.zeros(0))

    def add(self, columns: Sequence[Column]) -> None:
        """Append columns."""
        arrays = self._master.arrays(columns)
        self._solver.addCols(len(columns), *_numpy(arrays))

    def solve(self) -> LpAnswer | None:
        """Solve; None when the columns so far admit no solution or the solver fails."""
        self._solver.run()
        if self._solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        solution = self._solver.getSolution()
        return LpAnswer(self._solver.getInfo().objective_function_value, list(solution.row_dual), list(solution.col_value))


def solve_integer(master: Master, columns: Sequence[Column], *, nodes: int, time_limit_s: float | None) -> MipAnswer:
    """The integer master over the given columns, up to a number of branch and bound nodes (and seconds, if given)."""
    solver = silent_solver(time_limit_s)
    solver.setOptionValue("mip_max_nodes", nodes)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("mip_abs_gap", 0.0)
    rows = len(master.row_lower)
    none = np.zeros(0, dtype=np.int32)
    solver.addRows(rows, np.array(master.row_lower), np.array(master.row_upper), 0, none, none, np.zeros(0))
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
