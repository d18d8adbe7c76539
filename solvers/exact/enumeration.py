"""Proof by enumeration: of every column that a better solution could use, part by part of the gap, while they are few enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from solvers.exact.effort import Search
from solvers.exact.reach import solve_integer, within_gap
from solvers.exact.relaxation.cover_root import CoverRoot
from solvers.exact.relaxation.pricing import Priced
from solvers.highs import IntegerLimits
from solvers.model.assign import assign
from solvers.model.master import Master, StageGoal
from solvers.model.shape_catalogue import large

# parts of the gap that are decided one after the other
_SHARES = (0.1, 0.3, 1.0)


def prove(search: Search, goal: StageGoal, root: CoverRoot, closed: Callable[[], bool]) -> Iterator[int]:
    """Bounds, each with what was found on the way offered to the search, until closed says so or columns are too many."""
    master = replace(root.master, covered=large(root.stock))
    for share_fraction in _SHARES:
        if closed() or root.best is None:
            return
        bound = _widen(search, goal, root, root.best, master, share_fraction)
        if bound is None:
            return
        yield bound


def _widen(search: Search, goal: StageGoal, root: CoverRoot, best: Priced, master: Master, share_fraction: float) -> int | None:
    """Decide the part of the gap next to the bound: every column that a solution there can use. None when they are too many.

    What needs another column is worth at least the end of that part, so the bound rises to it or to the bound of the integer program,
    whichever is lower.
    """
    effort, before = search.effort, search.value(goal)
    # one step of the lattice better than the incumbent, plus the tolerance that exact_bound takes off
    target = (before - master.unavoidable() - master.lattice) / master.unit
    reach = share_fraction * max(0.0, target - best.bound) + 2e-6 + 1e-8 * abs(target)
    found = within_gap(master, root.stock, best, reach, effort.columns)
    if found is None:
        return None
    master = replace(master, covered=found.covered)
    answer = solve_integer(master, found.columns, IntegerLimits(effort.proof_nodes, time_limit_s=effort.time_left_s(), stop=effort.over))
    if answer.columns is not None:
        counts = [round(value) for value in answer.columns.tolist()]
        search.offer(assign(master, found.columns, counts))
    decided = before if math.isinf(answer.bound) else min(before, master.exact_bound(answer.bound))
    return min(decided, master.exact_bound(best.bound + reach)) if share_fraction < 1.0 else decided
