"""One stage of the lexicographic search: bound and plans from the covering program, then proof.

1. Columns and quick cuts give a linear bound; on small fleets the first precise cuts follow, which bring the columns that plans need.
2. More precise cuts, and whole numbers of nodes and GPUs, raise the bound. Beside that, in a second process, dives and integer programs
   give plans (solvers.exact.plan_search).
3. On small fleets both processes then look for better plans near the best one; on large ones there are more dives.
4. Every column that a better solution could use (reduced cost within the gap) is enumerated, first for a part of the gap next to the bound,
   last for all of it. While they are few enough, the integer master over them decides that part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from solvers.exact.effort import Search
from solvers.exact.enumeration import prove
from solvers.exact.plan_search import DIVE_SMALL, FEWEST_GPUS, LAST, PlanSearch
from solvers.exact.relaxation.cover_cuts import CutRounds
from solvers.exact.relaxation.cover_root import CoverRoot
from solvers.exact.relaxation.settling import Settling
from solvers.exact.second_process import Found, SecondProcess
from solvers.model.master import Master, StageGoal
from solvers.model.shape_catalogue import catalogue
from solvers.model.slots import slots

# parts of a time limit after which steps end: the relaxation, its first precise cuts, the bound beside plans of large fleets, the bound
# from whole numbers of nodes and GPUs, and proofs by enumeration
_ROOT, _PRECISE, _BESIDE, _SETTLE, _WIDEN = 0.45, 0.40, 0.9, 0.65, 0.8
# rounds of precise cuts before plans and for each choice of whole numbers of nodes, and choices that are tried before plans
_FIRST_PRECISE, _SETTLING_ROUNDS, _FIRST_TRIES = 6, 4, 5


def run_stage(search: Search, goal: StageGoal) -> int:
    """Improve the incumbent for a goal; returns a valid lower bound on the goal's value."""
    if not search.value(goal):
        return 0
    shapes = search.concerned(goal)
    stock = catalogue(search.problem, shapes)
    master = Master(search.problem, slots(search.problem, shapes), goal)
    root = CoverRoot(master, stock)
    # without a choice of nodes all rounds are for the same one
    rounds = _SETTLING_ROUNDS if any(pool.billing == "node" for pool in search.problem.pools) else search.effort.precise_rounds
    stage = _Stage(search, master, goal, root, Settling(root, min(rounds, search.effort.precise_rounds)))
    stage.run()
    return min(stage.floor, search.value(goal))


@dataclass(slots=True)
class _Stage:
    """What is known in a stage; floor is the lower bound so far, second the process that searches beside."""

    search: Search
    master: Master
    goal: StageGoal
    root: CoverRoot
    settling: Settling
    floor: int = 0
    second: SecondProcess | None = None
    plans: PlanSearch = field(init=False)

    def __post_init__(self) -> None:
        """Plans are found with the same root."""
        self.plans = PlanSearch(self.search, self.goal, self.root, self.closed)

    def closed(self, part: float = 1.0) -> bool:
        """Whether the incumbent is proven, or a part of the time is up."""
        return self.floor >= self.search.value(self.goal) or self.search.effort.over(part)

    def raise_floor(self, bound: float) -> None:
        """Learn a bound (scaled), and tell whoever waits."""
        if math.isfinite(bound):
            self.floor = max(self.floor, self.master.exact_bound(bound))
        self.search.report(self.goal, self.floor)

    def run(self) -> None:
        """The relaxation; plans from it beside a better bound; more of the same; then a proof."""
        precise_rounds = self.search.effort.precise_rounds
        self.relax(0, _ROOT)
        if self.plans.small and precise_rounds and self.root.answer is not None:
            self._first_precise(min(_FIRST_PRECISE, precise_rounds))
        if self.closed(LAST) or self.root.answer is None:
            return
        if self.search.effort.two_processes and self.plans.gpus >= FEWEST_GPUS:
            self.second = SecondProcess(self.plans.found)
        try:
            self._beside(precise_rounds)
            if not self.closed(_WIDEN):
                self._improve()
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
        self.raise_floor(self.root.counts.bound)

    def _beside(self, precise_rounds: int) -> None:
        """A better bound while a second process looks for plans, or after that."""
        if self.second is None:
            self._take(self.plans.found())
            if self.closed(LAST):
                return
        if self.plans.small and self.goal.priority is None:
            self.settling.run(self.search.effort.tries, partial(self._settled, part=_SETTLE))
            self.raise_floor(self.root.counts.bound)
        else:
            self.relax(precise_rounds, DIVE_SMALL if self.plans.small else _BESIDE)
        if self.second is not None and not self._news():
            self._wait_for(self.second)

    def _wait_for(self, second: SecondProcess) -> None:
        """Learn what the second process still finds: a first plan is worth all of the time."""
        before = self.search.incumbent
        self._take(second.found(lambda: self.closed(1.0 if self.search.incumbent is before else LAST)))

    def _news(self) -> bool:
        """Learn what the second process has found, where both search to the end; False where its findings are to be waited for."""
        if not self.plans.timed or self.second is None or not self.second.forked:
            return False
        self._take(self.second.ready())
        return True

    def _settled(self, bound: float, part: float) -> bool:
        self._news()
        self.raise_floor(bound)
        return self.closed(part)

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

        # plans of a large fleet wait for the first relaxation, and mixes say more than any cut; what may stay unserved has quick cuts only
        quick = self.plans.small or self.goal.priority is not None or not self.search.effort.precise_rounds
        self.root.run(self.search.effort.rounds, enough, CutRounds(quick, precise_rounds=precise_rounds))
        # the last look comes after the last question whether it is enough
        self.raise_floor(self.root.bound)
        # whole numbers of GPUs say little about a large fleet, and take a while: plans go first
        if self.goal.priority is None and (precise_rounds or self.plans.small):
            self.raise_floor(self.root.counts.solve())

    def _improve(self) -> None:
        """Look for better plans: near the incumbent, or from the relaxation of a large fleet once more."""
        if not self.plans.small:
            self._take(self.plans.found())
            return
        if self.search.effort.neighbourhoods:
            self._take(self.plans.improved(self.second.ready if self.second is not None and self.plans.timed else None))
        if self.second is not None and self.second.pid:
            self._take(self.second.found(partial(self.closed, LAST)))
