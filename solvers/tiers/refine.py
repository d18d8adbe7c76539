"""Further answers that serve as much as the best one: tier by tier, each searched for with the earlier ones pinned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from planner.problem import MIB_PER_GIB, Pattern, Problem, Solution, holdings_now, unserved_by_priority, violations
from solvers.highs import IntegerLimits
from solvers.model.arrays import Floats
from solvers.solution import answer, merged, trimmed
from solvers.tiers.gpu_ways import ways
from solvers.tiers.least_loaded import least_load_mib
from solvers.tiers.program import Leftovers, Pinned, Tier, TierProgram
from solvers.tiers.tier_rows import TierRows

# nodes of branch and bound for one tier; the largest fleets that are looked at
_NODES, _MOST_GPUS = 50, 600
_MANY_NODES = 1_000_000
# ways that take part in a search, and in one that counts fragmentation
_MOST_WAYS, _COUNTED_WAYS = 4_000, 300
# of GiB: what the tolerances of a solver may take of a bound
_TOLERANCE = 1e-4

_COST: Tier = {"cost": 1.0}
_CHURN: Tier = {"churn": 1.0}


@dataclass(frozen=True, slots=True)
class Refined:
    """Answers that were found, and weights in MiB that every answer loads which serves as much and costs no more than it may.

    searched is False where nothing was looked for.
    """

    solutions: tuple[Solution, ...]
    least_load_mib: int
    searched: bool


@dataclass(frozen=True, slots=True)
class Refinement:
    """How answers are refined: tiers in order, part of the cost that may be spent to load less, and when it ends.

    time_left_s gives seconds, or None without a limit; stop says that whoever waits wants no more.
    """

    tiers: Sequence[Tier]
    slack_fraction: float
    leftovers: Leftovers
    time_left_s: Callable[[], float | None] = lambda: None
    stop: Callable[[], bool] | None = None


def unrefined(problem: Problem, best: Solution) -> Refined:
    """Only the bound on what is loaded."""
    return Refined((), least_load_mib(problem, best), searched=False)


def refine(problem: Problem, best: Solution, known: Sequence[Solution], how: Refinement) -> Refined:
    """Answers to choose from beside those that are known; best has the least unserved demand, and the least cost known with it."""
    bound = unrefined(problem, best)
    unwanted = how.stop is not None and how.stop()
    holdings = holdings_now(problem)
    # where nothing runs nobody is disturbed, and less to load would mean fewer and larger replicas
    if unwanted or not holdings or not best.patterns or sum(pool.gpus for pool in problem.pools) > _MOST_GPUS:
        return bound
    left_s = how.time_left_s()
    patterns = [pattern for solution in (best, *known) for pattern in solution.patterns]
    found = ways(problem, holdings, patterns, None if left_s is None else left_s / 3)
    program = TierProgram(TierRows(problem, holdings, found, best.patterns), how.leftovers)
    least = unserved_by_priority(problem, best.unserved_microrps)
    alike = [solution for solution in known if unserved_by_priority(problem, solution.unserved_microrps) == least]
    starts = [start for solution in (best, *alike) if (start := program.start(solution.patterns)) is not None]
    if not starts:
        return bound
    search = _Search(problem, best, program, starts, how, every=found.every)
    return Refined(tuple(search.answers()), max(bound.least_load_mib, search.least_load_mib), searched=True)


@dataclass(slots=True)
class _Search:
    """Answers tier by tier, from those that are known (best first). every tells that no way is missing.

    least_load_mib is what the search proves.
    """

    problem: Problem
    best: Solution
    program: TierProgram
    starts: Sequence[Floats]
    how: Refinement
    every: bool
    least_load_mib: int = 0

    def answers(self) -> Iterator[Solution]:
        """The best in the order of the tiers, and what loads least for a little more."""
        cost = self.program.value(_COST, self.starts[0])
        spends = self.how.slack_fraction > 0
        usual = list(self.how.tiers[:2]) == [_COST, _CHURN]
        if not (spends and usual):
            yield from self._answer(self.how.tiers, [])
        if spends:
            # all of the cost may be spent where it is one
            spendable = [(_COST, cost / (1 - self.how.slack_fraction))] if self.how.slack_fraction < 1 else []
            yield from self._answer([_CHURN, _COST, *self.how.tiers[2 if usual else 3 :]], spendable)

    def _answer(self, tiers: Sequence[Tier], pinned: list[Pinned]) -> Iterator[Solution]:
        """The best in the order of some tiers, where that is another answer than the best one."""
        self.program.open_all()
        columns = self.starts[0]
        for tier in tiers:
            if tier == _COST and not pinned:
                # nobody knows a cheaper one
                pinned = [*pinned, (tier, self.program.value(tier, columns))]
                continue
            limits = self._limits()
            if limits is None:
                break
            columns = self._least(tier, pinned, limits, self._best_start(tier, pinned, columns))
            pinned = [*pinned, (tier, self.program.value(tier, columns))]
        solution = self._judged(self.program.patterns(columns))
        if solution is not None:
            yield solution

    def _best_start(self, tier: Tier, pinned: Sequence[Pinned], columns: Floats) -> Floats:
        """What is known of the least value in a tier, with those before no worse than pinned."""

        def keeps(start: Floats) -> bool:
            return all(self.program.value(earlier, start) <= value + _TOLERANCE for earlier, value in pinned)

        if "fragmentation" in tier:
            return columns
        return min([columns, *filter(keeps, self.starts)], key=partial(self.program.value, tier))

    def _least(self, tier: Tier, pinned: list[Pinned], limits: IntegerLimits, start: Floats) -> Floats:
        """The least of a tier that is found, from a start on."""
        if "fragmentation" in tier:
            # what is unusable is counted pattern by pattern, which takes long: only those that may do for the tier before take part
            *earlier, (last, _) = pinned or [(_COST, 0.0)]
            self.program.narrow(last, earlier, start, _COUNTED_WAYS)
        elif not self.every:
            self.program.narrow(tier, pinned, start, _MOST_WAYS)
        found = self.program.least(tier, pinned, limits, start)
        proves = self.every and tier == _CHURN and all(each == _COST for each, _ in pinned)
        if proves and math.isfinite(found.bound):
            self.least_load_mib = max(self.least_load_mib, math.floor((found.bound - _TOLERANCE) * MIB_PER_GIB))
        return start if found.columns is None else found.columns

    def _judged(self, patterns: Sequence[Pattern]) -> Solution | None:
        """Patterns as an answer, if it is legal, serves as much and is not the best one itself."""
        solution = answer(self.problem, f"{self.best.engine}, refined", trimmed(self.problem, patterns))
        left, least = (unserved_by_priority(self.problem, each.unserved_microrps) for each in (solution, self.best))
        if solution.patterns == merged(self.best.patterns) or left != least or violations(self.problem, solution):
            return None
        return solution

    def _limits(self) -> IntegerLimits | None:
        """Limits of the next search; None when there is no time for one."""
        left_s = self.how.time_left_s()
        if (left_s is not None and left_s <= 0.0) or (self.how.stop is not None and self.how.stop()):
            return None
        return IntegerLimits(
            _NODES if left_s is None else _MANY_NODES, time_limit_s=None if left_s is None else left_s / 2, stop=self.how.stop
        )
