"""One stage of the lexicographic search: bound and plans from the covering program, then proof.

1. Columns and quick cuts give a linear bound; on small fleets the first precise cuts follow, which bring the columns that plans need.
2. More precise cuts, and whole numbers of GPUs, raise the bound. Beside that, in a second process, dives give plans.
3. On small fleets both processes then look for better plans near the best one; on large ones there are more dives.
4. Every column that a better solution could use (reduced cost within the gap) is enumerated, first for a part of the gap next to the bound,
   last for all of it. While they are few enough, the integer master over them decides that part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from planner.problem import nodes_used
from solvers.exact.effort import Search, completed, value_of, value_of_plan
from solvers.exact.enumeration import prove
from solvers.exact.plans.cover_integer import WholeProgram
from solvers.exact.plans.mix_dive import MixDive
from solvers.exact.plans.neighbourhoods import Neighbourhoods, neighbourhoods
from solvers.exact.relaxation.cover_cuts import CutRounds
from solvers.exact.relaxation.cover_root import CoverRoot
from solvers.exact.relaxation.settling import Settling
from solvers.exact.second_process import Found, SecondProcess
from solvers.highs import IntegerLimits
from solvers.model.master import Master, StageGoal
from solvers.model.shape_catalogue import ShapeCatalogue, catalogue
from solvers.model.slots import slots

# parts of a time limit after which steps end: the relaxation, its first precise cuts, choices of nodes, plans (of small and of large
# fleets), the bound beside the latter, the bound from whole GPUs, and proofs by enumeration; after the last one nothing is begun. Packing
# follows a dive: it takes the longer the larger the fleet is, up to so many GPUs
_ROOT, _PRECISE, _WAYS, _DIVE_SMALL, _DIVE, _BESIDE, _SETTLE, _WIDEN, _LAST = 0.45, 0.32, 0.62, 0.65, 0.81, 0.86, 0.65, 0.8, 0.95
_PACK, _MOST_PACKED = 3.5e-6, 20_000
# part of what the best plan costs beyond the relaxation of its numbers of nodes that plans with other numbers cost at least
_HOPE = 0.5
# parts of the time limit for an integer program over all columns, and for one over few columns
_INTEGER, _WHOLE = 0.15, 0.12
# columns that take part in an integer program without a plan to begin with: with more it seldom finds one in time
_FEW_COLUMNS = 1_200
# rounds in which mixes join the relaxation, on small and on large fleets
_MIXED_ROUNDS, _FEW_ROUNDS = 6, 4
# rounds of precise cuts before plans and for each choice of whole numbers of nodes after that, and rounds of columns for each such choice
_FIRST_PRECISE, _SETTLING_ROUNDS, _WAY_ROUNDS = 6, 4, 1
_FIRST_TRIES = 3
# the largest fleets for which integer programs over the columns that nearly pay find something in time
MOST_GPUS = 600
# nodes of branch and bound and neighbourhoods where time is limited
_MANY_NODES, _MANY_TURNS = 1_000_000, 10_000
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
    root = CoverRoot(master, stock)
    stage = _Stage(search, master, stock, goal, root, Settling(root, min(_SETTLING_ROUNDS, search.effort.precise_rounds)))
    stage.run()
    return min(stage.floor, search.value(goal))


@dataclass(slots=True)
class _Stage:
    """What is known in a stage; floor is the lower bound so far, second the process that searches beside."""

    search: Search
    master: Master
    stock: ShapeCatalogue
    goal: StageGoal
    root: CoverRoot
    settling: Settling
    floor: int = 0
    second: SecondProcess | None = None

    def closed(self, part: float = 1.0) -> bool:
        """Whether the incumbent is proven, or a part of the time is up."""
        return self.floor >= self.search.value(self.goal) or self.search.effort.over(part)

    @property
    def gpus(self) -> int:
        """Size of the fleet."""
        return sum(pool.gpus for pool in self.search.problem.pools)

    @property
    def small(self) -> bool:
        """Whether precise cuts and integer programs are worth their time."""
        return self.gpus <= MOST_GPUS

    def raise_floor(self, bound: float) -> None:
        """Learn a bound (scaled), and tell whoever waits."""
        if math.isfinite(bound):
            self.floor = max(self.floor, self.master.exact_bound(bound))
        self.search.report(self.goal, self.floor)

    def run(self) -> None:
        """The relaxation; plans from it beside a better bound; more of the same; then a proof."""
        precise_rounds = self.search.effort.precise_rounds
        self.relax(0, _ROOT)
        if self.small and precise_rounds and self.root.answer is not None:
            self._first_precise(min(_FIRST_PRECISE, precise_rounds))
        if self.closed(_LAST) or self.root.answer is None:
            return
        if self.search.effort.two_processes and self.gpus >= _FEWEST_GPUS:
            self.second = SecondProcess(self._near_plans if self.small else self._plans)
        try:
            self._beside(precise_rounds)
            if not self.closed(_WIDEN):
                if self.small:
                    self.improve()
                else:
                    self._take(self._plans())
        finally:
            if self.second is not None:
                self.second.end()
        for bound in prove(self.search, self.goal, self.root, partial(self.closed, _WIDEN)):
            self.floor = max(self.floor, bound)
            self.search.report(self.goal, self.floor)

    def _first_precise(self, rounds: int) -> None:
        """The first precise cuts, which bring the columns that plans need: where cost is the goal, for whole numbers of nodes."""
        if self.goal.priority is not None:
            self.relax(rounds, _PRECISE)
            return
        enough = partial(self._settled, part=_PRECISE)
        self.settling.every_way(enough)
        self.settling.run(_FIRST_TRIES, enough)
        self.raise_floor(self.settling.root.counts.bound)

    def _beside(self, precise_rounds: int) -> None:
        """A better bound while a second process looks for plans, or after that."""
        if self.second is None:
            self._take(self._near_plans() if self.small else self._plans())
            if self.closed(_LAST):
                return
        if self.small and self.goal.priority is None:
            self.settling.run(self.search.effort.tries, partial(self._settled, part=_SETTLE))
            self.raise_floor(self.root.counts.bound)
        else:
            self.relax(precise_rounds, _DIVE_SMALL if self.small else _BESIDE)
        if self.second is not None and not self._news():
            self._take(self.second.found(partial(self.closed, _LAST)))

    def _news(self) -> bool:
        """Learn what the second process has found, where both search to the end; False where its findings are to be waited for."""
        if not self._small_and_timed or self.second is None or not self.second.forked:
            return False
        self._take(self.second.ready())
        return True

    def _settled(self, bound: float, part: float) -> bool:
        self._news()
        self.raise_floor(bound)
        return self.closed(part)

    @property
    def _small_and_timed(self) -> bool:
        """Whether both processes search to the end, and this one takes what the other has found meanwhile."""
        return self.small and self.search.effort.time_left_s() is not None

    @property
    def _dive_part(self) -> float:
        """The part of a time limit after which dives end: others need the rest."""
        return _DIVE_SMALL if self.small else _DIVE - _PACK * min(_MOST_PACKED, self.gpus)

    def _take(self, plans: Iterable[Found]) -> None:
        """Learn plans, until one is proven."""
        for plan in plans:
            self.search.offer(plan)
            self.search.report(self.goal, self.floor)
            if self.floor >= self.search.value(self.goal):
                return

    def relax(self, precise_rounds: int, part: float) -> None:
        """The relaxation until a part of the time is up, with the bound that whole numbers of GPUs and nodes give."""

        def enough(bound: float) -> bool:
            self.raise_floor(bound)
            self._news()
            return self.closed(part)

        # plans of a large fleet wait for the first relaxation, and mixes say more than any cut
        fraction = _FINE_FRACTION if precise_rounds or self.small else _COARSE_FRACTION
        which = CutRounds(not self.small, fraction, precise_rounds)
        self.root.run(self.search.effort.rounds, enough, which)
        # the last look comes after the last question whether it is enough
        self.raise_floor(self.root.bound)
        # whole numbers of GPUs say little about a large fleet, and take a while: plans go first
        if self.goal.priority is None and (precise_rounds or self.small):
            self.raise_floor(self.root.counts.solve())

    def _left_s(self) -> float | None:
        """Seconds until nothing is begun any more; None without a limit, and none where somebody wants no more."""
        effort = self.search.effort
        left_s = effort.time_left_s()
        if effort.over(_LAST):
            return 0.0
        return None if left_s is None else left_s - (1.0 - _LAST) * (effort.time_limit_s or 0.0)

    def _limits(self, part: float) -> IntegerLimits:
        """Limits of an integer program that may take a part of the time limit; where time is limited, branch and bound ends by it."""
        effort = self.search.effort
        left_s = self._left_s()
        nodes = effort.nodes if left_s is None else _MANY_NODES
        most_s = None if left_s is None else max(0.01, min(part * (effort.time_limit_s or 0.0), left_s))
        return IntegerLimits(nodes, gap_fraction=1e-4, time_limit_s=most_s, stop=effort.over)

    def _plans(self, dive: MixDive | None = None) -> Iterator[Found]:
        """Plans from the relaxation, for the whole numbers of nodes that may give a better one than those before."""
        dive = dive or MixDive(self.root, partial(self.search.effort.over, self._dive_part))
        dive.relax(_MIXED_ROUNDS if self.small else _FEW_ROUNDS)
        best = self.search.value(self.goal)
        ways = dive.ways(_WAY_ROUNDS, partial(self.search.effort.over, _WAYS))
        for turn, (value, way) in enumerate(ways[: self.search.effort.dives]):
            # a plan costs more than the value of its numbers: of those that come later, at least half as much more as the best so far
            hoped = value + (turn and _HOPE * (best / self.master.unit - ways[0][0]))
            if self.closed(self._dive_part) or (turn and self.master.exact_bound(hoped) >= best):
                return
            for patterns in self._whole(dive, way) if _FEWEST_GPUS <= self.gpus <= MOST_GPUS else dive.run(way):
                plan = completed(self.search.problem, patterns)
                yield plan
                best = min(best, value_of(self.search.problem, plan, self.goal))

    def _whole(self, dive: MixDive, way: dict[int, int]) -> Iterator[Found]:
        """What an integer program over few columns finds, with these numbers of nodes; else what a dive does."""
        dive.nodes.fix(way)
        dive.relax(_WAY_ROUNDS)
        program = WholeProgram(self.root, dive, replace(self.search.effort.breadth, columns=_FEW_COLUMNS), ())
        found = program.solve(self._limits(_WHOLE))
        dive.nodes.free()
        if found is not None:
            yield found
        else:
            yield from dive.run(way)

    def _settled_plans(self, dive: MixDive) -> Iterator[Found]:
        """Plans with the whole numbers of nodes at which the bound is: if it is that of a plan, they are that plan's."""
        dive.relax(_MIXED_ROUNDS)
        numbers = self.root.counts.nodes
        for patterns in self._whole(dive, {pool: numbers[pool] for pool in dive.nodes.columns()}):
            yield completed(self.search.problem, patterns)

    def _near_plans(self) -> Iterator[Found]:
        """Plans from the relaxation, and better ones near the best of them.

        On a fleet of a few GPUs an integer program over all columns comes first: often it is the last word, and with few replicas.
        """
        best = self.search.incumbent
        if self.gpus < _FEWEST_GPUS:
            program, _ = self._program(best)
            found = program.solve(self._limits(_INTEGER))
            if found is not None:
                best = completed(self.search.problem, found)
                yield best
        dive = MixDive(self.root, partial(self.search.effort.over, self._dive_part))
        for plan in self._plans(dive):
            yield plan
            best = min(best, plan, key=partial(value_of_plan, self.search.problem))
        if not self.closed(_LAST) and self.search.effort.neighbourhoods:
            yield from neighbourhoods(*self._program(best, dive), partial(completed, self.search.problem), self._near(1))

    def _program(self, plan: Found, dive: MixDive | None = None) -> tuple[WholeProgram, MixDive]:
        """The integer program near a plan: with the columns that its numbers of nodes ask for.

        Prices at which mixes are chosen bring patterns that no other prices bring.
        """
        dive = dive or MixDive(self.root, self.search.effort.over)
        dive.over = partial(self.search.effort.over, _LAST)
        dive.nodes.fix({pool: max(dive.nodes.least(pool), nodes_used(self.search.problem, plan, pool)) for pool in dive.nodes.columns()})
        dive.relax(_MIXED_ROUNDS)
        program = WholeProgram(self.root, dive, self.search.effort.breadth, plan)
        dive.nodes.free()
        return program, dive

    def improve(self) -> None:
        """Look for a better plan near the incumbent."""
        if self.search.effort.neighbourhoods:
            dive = MixDive(self.root, partial(self.search.effort.over, self._dive_part))
            if self._small_and_timed and self.gpus >= _FEWEST_GPUS and self.goal.priority is None:
                self._take(self._settled_plans(dive))
            if self.closed(_LAST):
                return
            program, dive = self._program(self.search.incumbent, dive)
            limits = self._near(0)
            if self.second is not None and self._small_and_timed:
                limits = replace(limits, others=self.second.ready)
            self._take(neighbourhoods(program, dive, partial(completed, self.search.problem), limits))
        if self.second is not None and self.second.pid:
            self._take(self.second.found(partial(self.closed, _LAST)))

    def _near(self, seed: int) -> Neighbourhoods:
        effort = self.search.effort
        # a proof needs the rest of the time where the fleet is so small that one may succeed
        turns = _MANY_TURNS if self._small_and_timed and self.gpus >= _FEWEST_GPUS else effort.neighbourhoods
        return Neighbourhoods(turns, seed=seed, time_left_s=self._left_s, stop=effort.over)
