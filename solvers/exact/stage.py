"""One stage of the lexicographic search: bound by column generation, then integers, then proof.

1. Column generation gives the linear bound. If it meets the incumbent, the stage is done.
2. The integer master over the generated columns may improve the incumbent.
3. Every column that a better solution could use (reduced cost within the gap) is enumerated, first for a part of the gap
   next to the bound, last for all of it. While they are few enough, the integer master over them improves the incumbent
   and raises the bound; over all of the gap it decides the stage for good.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from planner.problem import Pattern, Problem, SolveProgress, Watch, cost, priorities, unserved, unserved_by_priority
from solvers.baselines.best_fit import fill
from solvers.baselines.packing import Packing
from solvers.exact.dive import DiveRounds, dive
from solvers.exact.highs import solve_integer
from solvers.exact.reach import within_gap
from solvers.exact.relaxation import Relaxation
from solvers.model.assign import assign, columns_of
from solvers.model.columns import Column
from solvers.model.master import Master, StageGoal
from solvers.model.shape_catalogue import ShapeCatalogue, catalogue, large
from solvers.model.slots import slots
from solvers.solution import trimmed

# parts of the gap that are decided one after the other
_SHARES = (0.1, 0.3, 1.0)

# parts of a time limit after which the relaxation, the choice of nodes and the dives come to an end; the integer program has the rest
_ROOT, _SETTLE, _DIVE = 0.35, 0.45, 0.6
# after this part no proof by enumeration is begun
_WIDEN = 0.75
_DIVE_ROUNDS = DiveRounds(first=10, later=2)
# columns of the integer program that improves on the dives, and the largest fleets for which it ends in time
_MOST_COLUMNS, _MOST_GPUS = 2_500, 400


@dataclass(frozen=True, slots=True)
class Effort:
    """Limits of one solve, all in units of work unless time_left_s says otherwise."""

    rounds: int = 60
    nodes: int = 150
    columns: int = 8_000
    dive: DiveRounds = _DIVE_ROUNDS
    time_limit_s: float | None = None
    time_left_s: Callable[[], float | None] = lambda: None
    watch: Watch | None = None

    def over(self, part: float = 1.0) -> bool:
        """Whether a part of the time is up, or whoever waits wants no more."""
        if self.watch is not None and self.watch.stop():
            return True
        left_s = self.time_left_s()
        return left_s is not None and left_s <= (1.0 - part) * (self.time_limit_s or 0.0)


def clock(time_limit_s: float | None) -> Callable[[], float | None]:
    """Seconds left, or None without a limit."""
    if time_limit_s is None:
        return lambda: None
    end_s = time.monotonic() + time_limit_s
    return lambda: end_s - time.monotonic()


@dataclass(slots=True)
class Search:
    """The problem, its candidate shapes, and the best patterns so far."""

    problem: Problem
    shapes: Sequence[int]
    effort: Effort
    incumbent: tuple[Pattern, ...]

    def concerned(self, goal: StageGoal) -> list[int]:
        """Shapes of the demands that a goal minimises or that are pinned: the others buy nothing in this stage."""
        priorities_concerned = {priority for priority, _ in goal.pinned} | {goal.priority}
        demands = self.problem.demands
        return [i for i in self.shapes if demands[self.problem.shapes[i].demand].priority in priorities_concerned]

    def value(self, goal: StageGoal) -> int:
        """Value of the incumbent for a goal, in micro-units."""
        return value_of(self.problem, self.incumbent, goal)

    def report(self, goal: StageGoal, bound: int) -> None:
        """Tell whoever waits where a goal stands."""
        if self.effort.watch is not None:
            value = self.value(goal)
            self.effort.watch.report(SolveProgress("exact", goal.priority, value, min(bound, value)))

    def offer(self, patterns: Sequence[Pattern]) -> None:
        """Take the patterns if they are lexicographically better."""
        better = trimmed(self.problem, patterns)
        if _objective(self.problem, better) < _objective(self.problem, self.incumbent):
            self.incumbent = better


def _objective(problem: Problem, patterns: Sequence[Pattern]) -> tuple[int, ...]:
    return (*unserved_by_priority(problem, unserved(problem, patterns)), cost(problem, patterns))


def value_of(problem: Problem, patterns: Sequence[Pattern], goal: StageGoal) -> int:
    """Unserved micro-requests/s of the goal's priority, or micro-dollars/h."""
    if goal.priority is None:
        return cost(problem, patterns)
    return unserved_by_priority(problem, unserved(problem, patterns))[priorities(problem).index(goal.priority)]


def run_stage(search: Search, goal: StageGoal) -> int:
    """Improve the incumbent for a goal; returns a valid lower bound on the goal's value."""
    if not search.value(goal):
        return 0
    shapes = search.concerned(goal)
    stock = catalogue(search.problem, shapes)
    master = Master(search.problem, slots(search.problem, shapes), goal, large(stock))

    def until(part: float) -> Callable[[float], bool]:
        def enough(bound: float) -> bool:
            search.report(goal, master.exact_bound(bound))
            return master.exact_bound(bound) >= search.value(goal) or search.effort.over(part)

        return enough

    relaxation = Relaxation(master, stock, columns_of(master, search.incumbent))
    relaxation.run(search.effort.rounds, until(_ROOT))
    ways = relaxation.settle(until(_SETTLE))
    stage = _Stage(search, master, stock, goal, relaxation, master.exact_bound(relaxation.bound))
    for nodes in ways or [{}]:
        if not stage.closed():
            relaxation.take(nodes)
            search.offer(completed(search.problem, dive(relaxation, search.effort.dive, partial(search.effort.over, _DIVE))))
            search.report(goal, stage.floor)
    if not stage.closed() and sum(pattern.count for pattern in search.incumbent) <= _MOST_GPUS:
        stage.improve(master, relaxation.cheapest(columns_of(master, search.incumbent), _MOST_COLUMNS))
        search.report(goal, stage.floor)
    for share_fraction in _SHARES:
        if stage.closed() or search.effort.over(_WIDEN) or not stage.widen(share_fraction):
            break
    return min(stage.floor, search.value(goal))


def completed(problem: Problem, patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
    """The patterns that their pools have room for, and whatever else it takes to serve the demands, first in best fit."""
    packing = Packing(problem)
    packing.take(patterns)
    fill(packing)
    return tuple(packing.patterns())


@dataclass(slots=True)
class _Stage:
    """What is known in the integer part of a stage; floor is the lower bound so far."""

    search: Search
    master: Master
    stock: ShapeCatalogue
    goal: StageGoal
    relaxation: Relaxation
    floor: int

    def closed(self) -> bool:
        """Whether the incumbent is proven, or the time is up."""
        return self.floor >= self.search.value(self.goal) or self.search.effort.over()

    def improve(self, master: Master, columns: Sequence[Column]) -> float:
        """Look for a better incumbent among combinations of columns; returns the scaled bound on all of these."""
        effort = self.search.effort
        answer = solve_integer(master, columns, nodes=effort.nodes, time_limit_s=effort.time_left_s())
        if answer.columns is not None:
            self.search.offer(assign(master, columns, answer.columns))
        self.search.report(self.goal, self.floor)
        return answer.bound

    def widen(self, share_fraction: float) -> bool:
        """Decide the part of the gap next to the bound: every column that a solution there can use. False when they are too many.

        What needs another column is worth at least the end of that part, so the bound rises to it or to the bound of the
        integer program, whichever is lower.
        """
        before = self.search.value(self.goal)
        # one step of the lattice better than the incumbent, plus the tolerance that exact_bound takes off
        target = (before - self.master.unavoidable() - self.master.lattice) / self.master.unit
        reach = share_fraction * max(0.0, target - self.relaxation.best.bound) + 2e-6 + 1e-8 * abs(target)
        found = within_gap(self.master, self.stock, self.relaxation.best, reach, self.search.effort.columns)
        if found is None:
            return False
        bound = self.improve(replace(self.master, covered=found.covered), found.columns)
        decided = before if math.isinf(bound) else min(before, self.master.exact_bound(bound))
        if share_fraction < 1.0:
            decided = min(decided, self.master.exact_bound(self.relaxation.best.bound + reach))
        self.floor = max(self.floor, decided)
        return True
