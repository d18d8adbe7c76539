"""One stage of the lexicographic search: bound by column generation, then integers, then proof.

1. Column generation gives the linear bound. If it meets the incumbent, the stage is done.
2. The integer master over the generated columns may improve the incumbent.
3. Every column that a better solution could use (reduced cost within the gap) is enumerated; if they are few enough, the
   integer master over them decides the stage for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from planner.problem import Pattern, Problem, cost, priorities, unserved, unserved_by_priority
from solvers.answer import trimmed
from solvers.assign import assign, columns_of
from solvers.highs import solve_integer
from solvers.master import Column, Goal, Master
from solvers.pricing import Catalogue, Priced, within_gap
from solvers.relaxation import relax
from solvers.slots import Slots


@dataclass(frozen=True, slots=True)
class Effort:
    """Limits of one solve, all in units of work unless time_left_s says otherwise."""

    rounds: int = 150
    nodes: int = 2_000
    columns: int = 8_000
    time_left_s: Callable[[], float | None] = lambda: None

    def over(self) -> bool:
        """Whether the time is up."""
        left_s = self.time_left_s()
        return left_s is not None and left_s <= 0


def clock(time_limit_s: float | None) -> Callable[[], float | None]:
    """Seconds left, or None without a limit."""
    if time_limit_s is None:
        return lambda: None
    end_s = time.monotonic() + time_limit_s
    return lambda: end_s - time.monotonic()


@dataclass(slots=True)
class Search:
    """The problem, its slot classes and options, and the best patterns so far."""

    problem: Problem
    slots: Slots
    stock: Catalogue
    effort: Effort
    incumbent: tuple[Pattern, ...]

    def value(self, goal: Goal) -> int:
        """Value of the incumbent for a goal, in micro-units."""
        return value_of(self.problem, self.incumbent, goal)

    def offer(self, patterns: Sequence[Pattern]) -> None:
        """Take the patterns if they are lexicographically better."""
        better = trimmed(self.problem, patterns)
        if _objective(self.problem, better) < _objective(self.problem, self.incumbent):
            self.incumbent = better


def _objective(problem: Problem, patterns: Sequence[Pattern]) -> tuple[int, ...]:
    return (*unserved_by_priority(problem, unserved(problem, patterns)), cost(problem, patterns))


def value_of(problem: Problem, patterns: Sequence[Pattern], goal: Goal) -> int:
    """Unserved micro-requests/s of the goal's priority, or micro-dollars/h."""
    if goal.priority is None:
        return cost(problem, patterns)
    return unserved_by_priority(problem, unserved(problem, patterns))[priorities(problem).index(goal.priority)]


def run_stage(search: Search, goal: Goal) -> int:
    """Improve the incumbent for a goal; returns a valid lower bound on the goal's value."""
    master = Master(search.problem, search.slots, goal)
    floor = 0

    def enough(bound: float) -> bool:
        return master.exact_bound(bound) >= search.value(goal) or search.effort.over()

    if search.value(goal) <= floor:
        return search.value(goal)
    relaxation = relax(master, search.stock, columns_of(master, search.incumbent), rounds=search.effort.rounds, enough=enough)
    if relaxation.best is None:
        return floor
    floor = master.exact_bound(relaxation.best.bound)
    for columns in (relaxation.columns, None):
        if floor >= search.value(goal) or search.effort.over():
            break
        proof = columns is None
        chosen = _reachable(search, master, relaxation.best, goal) if columns is None else columns
        if chosen is None:
            break
        floor = _integer(search, master, goal, chosen, floor, proof=proof)
    return min(floor, search.value(goal))


def _reachable(search: Search, master: Master, best: Priced, goal: Goal) -> list[Column] | None:
    """All columns that a solution better than the incumbent by one lattice step can use."""
    # one step of the lattice better, plus the tolerance that exact_bound takes off
    gap = (search.value(goal) - master.lattice) / master.unit - best.bound + 2e-6 + 1e-8 * abs(best.bound)
    return within_gap(master, search.stock, best, gap, search.effort.columns)


def _integer(search: Search, master: Master, goal: Goal, columns: Sequence[Column], floor: int, *, proof: bool) -> int:
    before = search.value(goal)
    answer = solve_integer(master, columns, nodes=search.effort.nodes, time_limit_s=search.effort.time_left_s())
    if answer.columns is not None:
        search.offer(assign(master, columns, answer.columns))
    if not proof:
        return floor
    # no column left out can be part of anything better than what was known before
    bound = before if answer.bound == float("inf") else min(before, master.exact_bound(answer.bound))
    return max(floor, bound)
