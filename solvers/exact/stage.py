"""One stage of the lexicographic search: bound and plans from the covering program, then proof.

1. Columns and quick cuts give a linear bound.
2. Precise cuts raise it; beside that, in a second process, dives give plans.
3. On small fleets an integer program over the columns that nearly pay looks for better plans; beside it, whole numbers of GPUs raise the
   bound, and neighbourhoods of the best plan are searched.
4. Every column that a better solution could use (reduced cost within the gap) is enumerated, first for a part of the gap next to the bound,
   last for all of it. While they are few enough, the integer master over them decides that part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from planner.problem import Pattern
from solvers.exact.cover_cuts import CutRounds
from solvers.exact.cover_integer import Neighbourhoods, WholeProgram, neighbourhoods, solve_whole
from solvers.exact.cover_root import CoverRoot
from solvers.exact.effort import Search, completed, value_of, value_of_plan
from solvers.exact.mix_dive import MixDive
from solvers.exact.reach import solve_integer, within_gap
from solvers.exact.second_process import Findings, Found, SecondProcess
from solvers.exact.settling import settle
from solvers.highs import IntegerLimits
from solvers.model.assign import assign
from solvers.model.master import Master, StageGoal
from solvers.model.shape_catalogue import ShapeCatalogue, catalogue, large
from solvers.model.slots import slots

# parts of the gap that are decided one after the other
_SHARES = (0.1, 0.3, 1.0)

# parts of a time limit after which the relaxation, the dives (of small and large fleets), the bound beside the latter, the bound from whole
# GPUs, and the proofs by enumeration end, and after the last one nothing is begun; integer programs get a part of the rest. Packing follows
# a dive: it takes the longer the larger the fleet is, up to so many GPUs
_ROOT, _DIVE_SMALL, _DIVE, _BESIDE, _SETTLE, _WIDEN, _LAST = 0.45, 0.55, 0.82, 0.86, 0.65, 0.8, 0.95
_INTEGER, _SHARED_INTEGER = 0.3, 0.45
_PACK, _MOST_PACKED = 3.5e-6, 20_000
# rounds in which mixes join the relaxation, before a dive and before an integer program
_RELAXED_ROUNDS, _MIXED_ROUNDS = 6, 8
# rounds for each choice of whole numbers of nodes, where a node is a large part of the fleet
_WAY_ROUNDS = 3
# the largest fleets for which an integer program over the columns that nearly pay finds something in time
_MOST_GPUS = 600
_MANY_NODES = 1_000_000
# quick cuts that are violated by less than this part of the value in all are left out; by the second one, they wait for plans
_FINE_FRACTION, _COARSE_FRACTION = 4e-4, 3e-3
# fleets for which a second process is worth its start
_FEWEST_GPUS = 64


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
        self._beside(self._plans, lambda: self.relax(precise_rounds, _DIVE_SMALL if self.gpus <= _MOST_GPUS else _BESIDE))
        if self.closed(_WIDEN):
            return
        if self.gpus <= _MOST_GPUS:
            self._beside(self._whole_gpus, self.improve)
        else:
            self._take(self._plans())
        if not self.closed(_WIDEN):
            self.prove()

    def _beside(self, search: Findings, other: Callable[[], None]) -> None:
        """Search in a second process, where the fleet is worth one, while this one does something else."""
        if not self.search.effort.two_processes or self.gpus < _FEWEST_GPUS:
            self._take(search())
            if not self.closed():
                other()
            return
        second = SecondProcess(search)
        try:
            other()
            self._take(second.found(partial(self.closed, _LAST)))
        finally:
            second.end()

    @property
    def _dive_part(self) -> float:
        """The part of a time limit after which dives end: an integer program needs the rest."""
        return _DIVE_SMALL if self.gpus <= _MOST_GPUS else _DIVE - _PACK * min(_MOST_PACKED, self.gpus)

    def _take(self, findings: Iterable[Found]) -> None:
        """Learn plans and bounds."""
        for found in findings:
            if isinstance(found, float):
                self.raise_floor(found)
            else:
                self.search.offer(found)
                self.search.report(self.goal, self.floor)

    def relax(self, precise_rounds: int, part: float) -> None:
        """The relaxation until a part of the time is up, with the bound that whole numbers of GPUs and nodes give."""

        def enough(bound: float) -> bool:
            self.raise_floor(bound)
            return self.closed(part)

        # plans of a large fleet wait for the first relaxation, and mixes say more than any cut
        fraction = _FINE_FRACTION if precise_rounds or self.gpus <= _MOST_GPUS else _COARSE_FRACTION
        which = CutRounds(self.gpus > _MOST_GPUS, fraction, precise_rounds)
        self.root.run(self.search.effort.rounds, enough, which)
        # the last look comes after the last question whether it is enough
        self.raise_floor(self.root.bound)
        if self.goal.priority is None:
            self.raise_floor(self.root.counts.solve())

    def _whole_gpus(self) -> Iterator[Found]:
        """The bound that whole numbers of GPUs give; plans with as many nodes as it asks for, and plans near the best one so far."""
        effort, counts = self.search.effort, self.root.counts
        dive = MixDive(self.root, partial(effort.over, _LAST))
        best = self.search.incumbent
        if self.goal.priority is None:

            def enough(bound: float) -> bool:
                return self.master.exact_bound(bound) >= self.search.value(self.goal) or effort.over(_SETTLE)

            settle(self.root, effort.tries, enough)
            yield counts.bound
            way = {i: n for i, n in enumerate(counts.nodes) if self.search.problem.pools[i].billing == "node"}
            dive.nodes.fix(way)
            found = solve_whole(self.root, dive, (), effort.breadth, self._limits(_SHARED_INTEGER))
            dive.nodes.free()
            if found is not None:
                plan = completed(self.search.problem, found)
                yield plan
                best = min(best, plan, key=partial(value_of_plan, self.search.problem))
        if not effort.over(_LAST):
            program = WholeProgram(self.root, dive, effort.breadth, best)
            yield from neighbourhoods(program, dive, partial(completed, self.search.problem), self._near)

    def _left_s(self) -> float | None:
        """Seconds until nothing is begun any more; None without a limit, and none where somebody wants no more."""
        effort = self.search.effort
        left_s = effort.time_left_s()
        if effort.over(_LAST):
            return 0.0
        return None if left_s is None else left_s - (1.0 - _LAST) * (effort.time_limit_s or 0.0)

    def _dive_left_s(self) -> float | None:
        """Seconds for one integer program within a dive; None without a limit."""
        effort = self.search.effort
        left_s = effort.time_left_s()
        return None if left_s is None else max(0.05, 0.6 * (left_s - (1.0 - self._dive_part) * (effort.time_limit_s or 0.0)))

    def _limits(self, part: float) -> IntegerLimits:
        """Limits of an integer program that may have a part of the time left; where time is limited, branch and bound ends by it."""
        effort = self.search.effort
        left_s = effort.time_left_s()
        nodes = effort.nodes if left_s is None else _MANY_NODES
        return IntegerLimits(nodes, gap_fraction=1e-4, time_limit_s=None if left_s is None else part * left_s, stop=effort.over)

    def _plans(self) -> Iterator[tuple[Pattern, ...]]:
        """Plans from the relaxation, for the whole numbers of nodes that may give a better one than those before."""
        dive = MixDive(self.root, partial(self.search.effort.over, self._dive_part), self._dive_left_s)
        dive.relax(_RELAXED_ROUNDS)
        best = self.search.value(self.goal)
        for value, way in dive.ways(_WAY_ROUNDS if self.gpus <= _MOST_GPUS else 0)[: self.search.effort.dives]:
            if self.closed(self._dive_part) or self.master.exact_bound(value) >= best:
                return
            for patterns in dive.run(way):
                plan = completed(self.search.problem, patterns)
                yield plan
                best = min(best, value_of(self.search.problem, plan, self.goal))

    def improve(self) -> None:
        """Look for a better incumbent among combinations of columns that nearly pay, then near the incumbent."""
        effort = self.search.effort
        dive = MixDive(self.root, partial(effort.over, _LAST))
        # prices at which mixes are chosen bring patterns that no other prices bring
        dive.relax(_MIXED_ROUNDS)
        if effort.over(_LAST):
            return
        program = WholeProgram(self.root, dive, effort.breadth, self.search.incumbent)
        found = program.solve(self._limits(_INTEGER))
        if found is not None:
            self.search.offer(completed(self.search.problem, found))
        self.search.report(self.goal, self.floor)
        program.begin_with(dive, self.search.incumbent)
        for plan in neighbourhoods(program, dive, partial(completed, self.search.problem), self._near):
            self.search.offer(plan)

    @property
    def _near(self) -> Neighbourhoods:
        effort = self.search.effort
        return Neighbourhoods(effort.neighbourhoods, time_left_s=self._left_s, stop=effort.over)

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
        answer = solve_integer(
            master, found.columns, IntegerLimits(effort.proof_nodes, time_limit_s=effort.time_left_s(), stop=effort.over)
        )
        if answer.columns is not None:
            counts = [round(value) for value in answer.columns.tolist()]
            self.search.offer(assign(master, found.columns, counts))
        decided = before if math.isinf(answer.bound) else min(before, master.exact_bound(answer.bound))
        if share_fraction < 1.0:
            decided = min(decided, master.exact_bound(best.bound + reach))
        self.floor = max(self.floor, decided)
        self.search.report(self.goal, self.floor)
        return True
