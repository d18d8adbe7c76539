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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from planner.problem import Pattern, Problem, SolveProgress, Watch, cost, priorities, unserved, unserved_by_priority
from solvers.baselines.best_fit import fill
from solvers.baselines.packing import Packing
from solvers.exact.cover_integer import Breadth, solve_whole
from solvers.exact.cover_root import CoverRoot
from solvers.exact.mix_dive import MixDive
from solvers.exact.reach import solve_integer, within_gap
from solvers.exact.second_process import Plans, SecondProcess
from solvers.highs import IntegerLimits
from solvers.model.assign import assign
from solvers.model.master import Master, StageGoal
from solvers.model.shape_catalogue import ShapeCatalogue, catalogue, large
from solvers.model.slots import slots
from solvers.solution import trimmed

# parts of the gap that are decided one after the other
_SHARES = (0.1, 0.3, 1.0)

# parts of a time limit after which the relaxation, the dives (of small and large fleets) and the proofs by enumeration end; the integer
# program gets a part of the rest, and after the last part nothing is begun
_ROOT, _DIVE_SMALL, _DIVE, _WIDEN, _INTEGER, _LAST = 0.45, 0.55, 0.85, 0.8, 0.9, 0.95
# rounds in which mixes join the relaxation
_RELAXED_ROUNDS = 6
# the largest fleets for which an integer program over the columns that nearly pay finds something in time
_MOST_GPUS = 600
# fleets for which a second process is worth its start
_FEWEST_GPUS = 64


_BREADTH = Breadth()


@dataclass(frozen=True, slots=True)
class Effort:
    """Limits of one solve, all in units of work unless time_left_s says otherwise.

    rounds and precise_rounds of the relaxation, dives, nodes and breadth of the integer program that improves on them, columns and nodes of
    proofs by enumeration.
    """

    rounds: int = 400
    precise_rounds: int = 30
    dives: int = 3
    nodes: int = 60
    breadth: Breadth = _BREADTH
    columns: int = 8_000
    proof_nodes: int = 150
    two_processes: bool = True
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
    master = Master(search.problem, slots(search.problem, shapes), goal)
    stage = _Stage(search, master, stock, goal, CoverRoot(master, stock))
    stage.run()
    return min(stage.floor, search.value(goal))


def completed(problem: Problem, patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
    """The patterns that their pools have room for, and whatever else it takes to serve the demands, first in best fit."""
    packing = Packing(problem)
    packing.take(patterns)
    fill(packing)
    return tuple(packing.patterns())


@dataclass(slots=True)
class _Stage:
    """What is known in a stage; floor is the lower bound so far."""

    search: Search
    master: Master
    stock: ShapeCatalogue
    goal: StageGoal
    root: CoverRoot
    floor: int = 0

    def closed(self, part: float = 1.0) -> bool:
        """Whether the incumbent is proven, or a part of the time is up."""
        return self.floor >= self.search.value(self.goal) or self.search.effort.over(part)

    @property
    def gpus(self) -> int:
        """Size of the fleet."""
        return sum(pool.gpus for pool in self.search.problem.pools)

    def raise_floor(self, bound: float) -> None:
        """Learn a bound (scaled), and tell whoever waits."""
        if math.isfinite(bound):
            self.floor = max(self.floor, self.master.exact_bound(bound))
        self.search.report(self.goal, self.floor)

    def run(self) -> None:
        """The relaxation; plans from it beside a better bound; plans in whole numbers, or more of the same; then a proof."""
        self.relax(0, _ROOT)
        if self.closed(_LAST) or self.root.answer is None:
            return
        precise_rounds = self.search.effort.precise_rounds
        self._beside(self._plans, lambda: self.relax(precise_rounds, self._dive_part))
        if self.closed(_WIDEN):
            return
        if self.gpus <= _MOST_GPUS:
            self.improve()
        else:
            self._offer(self._plans())
        if not self.closed(_WIDEN):
            self.prove()

    def _beside(self, plans: Plans, other: Callable[[], None]) -> None:
        """Look for plans in a second process, where the fleet is worth one, while this one does something else."""
        if not self.search.effort.two_processes or self.gpus < _FEWEST_GPUS:
            other()
            self._offer(plans())
            return
        second = SecondProcess(plans)
        try:
            other()
            self._offer(second.plans(partial(self.closed, _LAST)))
        finally:
            second.end()

    @property
    def _dive_part(self) -> float:
        """The part of a time limit after which dives end: an integer program needs the rest."""
        return _DIVE_SMALL if self.gpus <= _MOST_GPUS else _DIVE

    def _offer(self, plans: Iterable[tuple[Pattern, ...]]) -> None:
        for patterns in plans:
            self.search.offer(patterns)
            self.search.report(self.goal, self.floor)

    def relax(self, precise_rounds: int, part: float) -> None:
        """The relaxation until a part of the time is up, with the bound that whole numbers of GPUs and nodes give."""

        def enough(bound: float) -> bool:
            self.raise_floor(bound)
            return self.closed(part)

        self.root.run(self.search.effort.rounds, enough, precise_rounds=precise_rounds)
        if self.goal.priority is None:
            self.raise_floor(self.root.counts.solve())

    def _plans(self) -> Iterator[tuple[Pattern, ...]]:
        """Plans from the relaxation, for the best whole numbers of nodes."""
        dive = MixDive(self.root, partial(self.search.effort.over, self._dive_part))
        dive.relax(_RELAXED_ROUNDS)
        for way in dive.ways()[: self.search.effort.dives]:
            if self.closed(self._dive_part):
                return
            for patterns in dive.run(way):
                yield completed(self.search.problem, patterns)

    def improve(self) -> None:
        """Look for a better incumbent among combinations of columns that nearly pay."""
        effort = self.search.effort
        left_s = effort.time_left_s()
        limits = IntegerLimits(effort.nodes, gap_fraction=1e-4, time_limit_s=None if left_s is None else _INTEGER * left_s)
        found = solve_whole(self.root, MixDive(self.root, effort.over), self.search.incumbent, effort.breadth, limits)
        if found is not None:
            self.search.offer(completed(self.search.problem, found))
        self.search.report(self.goal, self.floor)

    def prove(self) -> None:
        """Decide the gap to the bound part by part, while the columns that a solution there can use are few enough."""
        master = replace(self.master, covered=large(self.stock))
        for share_fraction in _SHARES:
            if self.closed(_WIDEN) or not self._widen(master, share_fraction):
                return

    def _widen(self, master: Master, share_fraction: float) -> bool:
        """Decide the part of the gap next to the bound: every column that a solution there can use. False when they are too many.

        What needs another column is worth at least the end of that part, so the bound rises to it or to the bound of the
        integer program, whichever is lower.
        """
        best = self.root.best
        if best is None:
            return False
        effort, before = self.search.effort, self.search.value(self.goal)
        # one step of the lattice better than the incumbent, plus the tolerance that exact_bound takes off
        target = (before - master.unavoidable() - master.lattice) / master.unit
        reach = share_fraction * max(0.0, target - best.bound) + 2e-6 + 1e-8 * abs(target)
        found = within_gap(master, self.stock, best, reach, effort.columns)
        if found is None:
            return False
        master = replace(master, covered=found.covered)
        answer = solve_integer(master, found.columns, IntegerLimits(effort.proof_nodes, time_limit_s=effort.time_left_s()))
        if answer.columns is not None:
            counts = [round(value) for value in answer.columns.tolist()]
            self.search.offer(assign(master, found.columns, counts))
        decided = before if math.isinf(answer.bound) else min(before, master.exact_bound(answer.bound))
        if share_fraction < 1.0:
            decided = min(decided, master.exact_bound(best.bound + reach))
        self.floor = max(self.floor, decided)
        self.search.report(self.goal, self.floor)
        return True
