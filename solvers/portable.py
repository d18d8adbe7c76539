"""The same master through PuLP, with CBC or any other solver PuLP drives: a second engine, independent of the first.

Nothing is generated or priced here: every maximal pattern and every irredundant mix is written into one integer program per
stage. That is only possible for small problems; larger ones are declined with UnavailableError.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence

import pulp

from planner.problem import Pattern, Problem, Solution, Watch, priorities
from solvers.errors import UnavailableError
from solvers.exact.effort import clock, value_of
from solvers.exact.relaxation.pricing import mix_column
from solvers.model.assign import assign
from solvers.model.columns import Column, PatternColumn
from solvers.model.master import Master, StageGoal
from solvers.model.shape_catalogue import ShapeCatalogue, catalogue
from solvers.model.slots import Slots, slots
from solvers.model.useful_shapes import candidates
from solvers.searches.mixes import MixSearch
from solvers.searches.patterns import PatternSearch
from solvers.solution import answer, trimmed, with_bounds

NAME = "pulp:cbc"

# columns that CBC still solves in seconds
_MOST_COLUMNS = 4_000
# branch and bound nodes: a limit on work, so that equal input gives equal output
_MOST_NODES = 20_000


def solve(problem: Problem, *, time_limit_s: float | None = None, watch: Watch | None = None) -> Solution:
    """Answer a problem with CBC; raises UnavailableError when it has too many patterns or mixes, or CBC is missing."""
    shapes = candidates(problem)
    places, stock = slots(problem, shapes), catalogue(problem, shapes)
    columns = _every_column(places, stock)
    left_s = clock(time_limit_s)
    patterns: tuple[Pattern, ...] = ()
    bounds: list[int] = []
    pinned: tuple[tuple[int, int], ...] = ()
    proven = True
    for priority in (*priorities(problem), None):
        goal = StageGoal(priority, pinned)
        master = Master(problem, places, goal)
        allowed = [column for column in [*columns, *master.node_columns()] if master.allows(column)]
        counts, bound = (None, 0) if watch is not None and watch.stop() else _integer(master, allowed, left_s())
        if counts is not None:
            patterns = trimmed(problem, assign(master, allowed, counts))
        value = value_of(problem, patterns, goal)
        bound = min(bound, value)
        bounds.append(bound if proven or priority is None else 0)
        proven = proven and bound == value
        if priority is not None:
            pinned = (*pinned, (priority, value))
    return with_bounds(problem, answer(problem, NAME, patterns), bounds[:-1], bounds[-1])


def _every_column(places: Slots, stock: ShapeCatalogue) -> list[Column]:
    columns: dict[Column, None] = {}
    for group in places.groups:
        found = PatternSearch(group, [0.0] * len(places.classes), keep_all=True).run()
        columns.update((PatternColumn(group.pool, pattern), None) for pattern in found.found)
        _check_size(len(columns), exhausted=found.exhausted)
    for demand, options in enumerate(stock.options):
        search = MixSearch(options, [0.0] * len(options.available), weight=0.0, keep_all=True).run()
        columns.update((mix_column(stock, demand, mix), None) for _, mix in search.found)
        _check_size(len(columns), exhausted=search.exhausted)
    return list(columns)


def _check_size(columns: int, *, exhausted: bool) -> None:
    if exhausted or columns > _MOST_COLUMNS:
        raise UnavailableError(f"more than {_MOST_COLUMNS} patterns and mixes: beyond the portable engine, use the exact one")


def _integer(master: Master, columns: Sequence[Column], time_left_s: float | None) -> tuple[list[int] | None, int]:
    """Counts per column (None without a solution) and a valid bound on the goal."""
    if not columns:
        return [], 0
    model, variables = _model(master, columns)
    with tempfile.TemporaryDirectory() as folder:
        limit_s = None if time_left_s is None else max(1.0, time_left_s)
        # the CBC that comes with PuLP, through the class that PuLP 4 keeps
        path = pulp.PULP_CBC_CMD.pulp_cbc_path
        cbc = pulp.COIN_CMD(path=path, msg=False, gapRel=0.0, gapAbs=0.0, maxNodes=_MOST_NODES, timeLimit=limit_s)
        if not cbc.available():
            raise UnavailableError("CBC is not available on this machine; it comes with the pulp package")
        cbc.tmpDir = folder
        model.solve(cbc)
    # the plain status says "Optimal" also when CBC stopped early, sol_status tells the difference
    if model.sol_status not in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
        return None, 0
    counts = [round(variable.varValue or 0.0) for variable in variables]
    proven = model.sol_status == pulp.LpSolutionOptimal
    return counts, master.exact_bound(float(pulp.value(model.objective) or 0.0)) if proven else 0


def _model(master: Master, columns: Sequence[Column]) -> tuple[pulp.LpProblem, list[pulp.LpVariable]]:
    arrays = master.arrays(columns)
    model = pulp.LpProblem("master", pulp.LpMinimize)
    variables = [
        model.add_variable(f"x{i}", lower, None if math.isinf(upper) else upper, cat="Integer")
        for i, (lower, upper) in enumerate(zip(arrays.lower, arrays.upper, strict=True))
    ]
    model += pulp.LpAffineExpression(zip(variables, arrays.costs, strict=True))
    rows: list[list[tuple[pulp.LpVariable, float]]] = [[] for _ in master.row_lower]
    ends = [*arrays.starts, len(arrays.rows)][1:]
    for variable, start, end in zip(variables, arrays.starts, ends, strict=True):
        for at in range(start, end):
            rows[arrays.rows[at]].append((variable, arrays.entries[at]))
    for terms, lower, upper in zip(rows, master.row_lower, master.row_upper, strict=True):
        if terms:
            _add_row(model, pulp.LpAffineExpression(terms), lower, upper)
    return model, variables


def _add_row(model: pulp.LpProblem, expression: pulp.LpAffineExpression, lower: float, upper: float) -> None:
    if lower == upper:
        model += expression == lower
    elif math.isinf(upper):
        model += expression >= lower
    else:
        model += expression <= upper
