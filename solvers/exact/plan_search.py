"""Plans of one stage from its relaxation: dives, integer programs over few columns, and neighbourhoods of the best plan.

On small fleets two processes use it, one to begin with and one after its bound is settled, each by another way to a first plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle

from planner.problem import nodes_used
from solvers.exact.effort import Search, completed, value_of, value_of_plan
from solvers.exact.plans.cover_integer import WholeProgram
from solvers.exact.plans.mix_dive import MixDive, Near
from solvers.exact.plans.neighbourhoods import Neighbourhoods, neighbourhoods
from solvers.exact.plans.packed import too_many, without
from solvers.exact.relaxation.cover_root import CoverRoot
from solvers.exact.second_process import Found
from solvers.highs import IntegerLimits
from solvers.model.master import StageGoal

# the largest fleets for which integer programs over the columns that nearly pay find something in time, and the smallest ones for which a
# second process is worth its start
MOST_GPUS, FEWEST_GPUS = 600, 24
# and the seconds per GPU that these take at least
_SECONDS_PER_GPU = 0.015
# parts of a time limit after which steps end: choices of nodes of small and of large fleets, plans of small ones; after the last
# one nothing is begun
_WAYS, _WAYS_LARGE, DIVE_SMALL, LAST = 0.62, 0.5, 0.65, 0.95
# what follows a dive of a large fleet that must end, a last round of columns and packing, takes at most so much of the time that the first
# rounds with mixes took: with the machine and the fleet it becomes slower as these do
_ROUND_AND_PACK = 0.8
# parts of the time limit for an integer program over all columns, and for one over few columns
_INTEGER, _WHOLE = 0.15, 0.12
# columns that take part in an integer program for a first plan: with more it seldom finds one in time
_FEW_COLUMNS = 1_200
# rounds in which mixes join the relaxation, on small and on large fleets, and rounds of columns for each choice of whole numbers of nodes
_MIXED_ROUNDS, _FEW_ROUNDS, _WAY_ROUNDS = 6, 4, 1
# turns near the plan of a dive of a large fleet, where time is limited and where it is not
_TIMED_TURNS, _NEAR_TURNS = 6, 2
# nodes of branch and bound and neighbourhoods where time is limited
_MANY_NODES, _MANY_TURNS = 1_000_000, 10_000


@dataclass(frozen=True, slots=True)
class PlanSearch:
    """Finds plans for a goal with the columns of a root; closed tells whether a part of the time is up, or the best plan proven."""

    search: Search
    goal: StageGoal
    root: CoverRoot
    closed: Callable[[float], bool]

    @property
    def gpus(self) -> int:
        """Size of the fleet."""
        return sum(pool.gpus for pool in self.search.problem.pools)

    @property
    def small(self) -> bool:
        """Whether precise cuts and integer programs are worth their time."""
        limit_s = self.search.effort.time_limit_s
        return self.gpus <= MOST_GPUS and (limit_s is None or limit_s >= _SECONDS_PER_GPU * self.gpus)

    @property
    def timed(self) -> bool:
        """Whether both processes search to the end of the time, and one takes what the other has found meanwhile."""
        return self.small and self.search.effort.time_left_s() is not None

    @property
    def _counted(self) -> bool:
        """Whether the bound says which whole numbers of nodes plans are to have, and there is enough to decide after that."""
        return self.small and self.gpus >= FEWEST_GPUS and self.goal.priority is None and self.search.effort.precise_rounds > 0

    @property
    def _thorough(self) -> bool:
        """Whether dives go on after the first ones: on small fleets integer programs do better, and a quick search has none of either."""
        return not self.small and self.search.effort.neighbourhoods > 0

    def found(self) -> Iterator[Found]:
        """Plans from the relaxation; on small fleets better ones near the best of them, too.

        On a fleet of a few GPUs an integer program over all columns comes first: often it is the last word, and with few replicas.
        """
        best = self.search.incumbent
        if self.gpus < FEWEST_GPUS:
            found = self._program(best, self._dive()).solve(self._limits(_INTEGER))
            if found is not None:
                best = completed(self.search.problem, found)
                yield best
        dive = self._dive()
        for plan in self._promising_plans(dive) if self._counted else self._plans(dive):
            yield plan
            best = min(best, plan, key=partial(value_of_plan, self.search.problem))
        if self.small and not self.closed(LAST) and self.search.effort.neighbourhoods:
            yield from self._neighbours(best, dive, self._near(1))

    def improved(self, others: Callable[[], Iterable[Found]] | None) -> Iterator[Found]:
        """Better plans near the best one so far, on a small fleet with a settled bound; others tells what another search has found."""
        dive = self._dive()
        plan = self._settled_plan(dive) if self._counted else None
        if plan is not None:
            yield plan
        if not self.closed(LAST):
            limits = self._near(0) if others is None else replace(self._near(0), others=others)
            yield from self._neighbours(self.search.incumbent, dive, limits)

    def _dive(self) -> MixDive:
        return MixDive(self.root, partial(self.search.effort.over, DIVE_SMALL))

    def _left_within(self, seconds: float) -> bool:
        """Whether no more than that is left until nothing is begun any more."""
        left_s = self._left_s()
        return left_s is not None and left_s <= seconds

    def _neighbours(self, best: Found, dive: MixDive, limits: Neighbourhoods) -> Iterator[Found]:
        return neighbourhoods(self._program(best, dive), dive, partial(completed, self.search.problem), limits)

    def _plans(self, dive: MixDive) -> Iterator[Found]:
        """Plans from the relaxation, for the whole numbers of nodes that may give a better one than those before."""
        began_s = self._left_s() or 0.0
        dive.relax(_MIXED_ROUNDS if self.small else _FEW_ROUNDS)
        if not self.small:
            dive.over = partial(self._left_within, _ROUND_AND_PACK * (began_s - (self._left_s() or 0.0)))
        best = self.search.value(self.goal)
        rounds, part = (_WAY_ROUNDS, _WAYS) if self.small else (0, _WAYS_LARGE)
        ways = dive.ways(rounds, partial(self.search.effort.over, part))
        for turn, (value, way) in enumerate(self._again_and_again(ways)):
            # the value of numbers for which columns are missing still may be far too high
            if self.closed(1.0) or (turn and (dive.over() or self.root.master.exact_bound(value) >= best)):
                return
            for patterns in dive.run(way, self._near_a_dive(way)):
                plan = self._in_full(patterns, way)
                yield plan
                best = min(best, value_of(self.search.problem, plan, self.goal))

    def _again_and_again(self, ways: Sequence[tuple[float, dict[int, int]]]) -> Iterable[tuple[float, dict[int, int]]]:
        """Numbers of nodes to dive with; where time is limited, all of them to its end: each dive leaves columns for the next one."""
        first = ways[: self.search.effort.dives]
        return cycle(first) if self._thorough and self.search.effort.time_left_s() is not None else first

    def _near_a_dive(self, way: Mapping[int, int]) -> Near | None:
        """How to go on near the plan of a dive."""
        if not self._thorough:
            return None
        turns = _TIMED_TURNS if self.search.effort.time_left_s() is not None else _NEAR_TURNS
        return Near(turns, lambda patterns: value_of_plan(self.search.problem, self._in_full(patterns, way)))

    def _in_full(self, patterns: Found, way: Mapping[int, int]) -> Found:
        """A plan from the patterns of a dive with these numbers of nodes.

        What needs another node is often a replica or two, which cost less elsewhere.
        """
        problem = self.search.problem
        left_out = too_many(problem, patterns, way)
        plans = [completed(problem, each) for each in ([patterns, without(patterns, left_out)] if left_out else [patterns])]
        return min(plans, key=partial(value_of_plan, problem))

    def _settled_plan(self, dive: MixDive) -> Found | None:
        """A plan with the whole numbers of nodes at which the bound is: if it is that of a plan, they are that plan's."""
        numbers = self.root.counts.nodes
        if not numbers:
            return None
        way = {pool: numbers[pool] for pool in dive.nodes.columns()}
        dive.nodes.fix(way)
        dive.relax(_MIXED_ROUNDS)
        return self._whole(dive, way, ())

    def _promising_plans(self, dive: MixDive) -> Iterator[Found]:
        """Plans with the whole numbers of nodes that seem cheapest: of integer programs over few columns, or of a dive."""
        dive.relax(_MIXED_ROUNDS)
        ways = dive.ways(_WAY_ROUNDS, partial(self.search.effort.over, _WAYS))
        if not ways:
            return
        _, way = ways[0]
        plan = self._whole(dive, way, (), counted=False)
        if plan is None:
            # what does not fit is repaired by others, and not by another dive
            with closing(dive.run(way)) as dived:
                plan = self._in_full(next(dived), way)
        yield plan
        better = self._whole(dive, way, plan)
        if better is not None:
            yield better

    def _whole(self, dive: MixDive, way: dict[int, int], start: Found, *, counted: bool = True) -> Found | None:
        """What an integer program over few columns finds with these numbers of nodes, if it does; start is a plan to begin with."""
        dive.nodes.fix(way)
        program = WholeProgram(self.root, dive, replace(self.search.effort.breadth, columns=_FEW_COLUMNS), start, counted=counted)
        found = program.solve(self._limits(_WHOLE))
        dive.nodes.free()
        return None if found is None else completed(self.search.problem, found)

    def _program(self, plan: Found, dive: MixDive) -> WholeProgram:
        """The integer program near a plan: with the columns that its numbers of nodes ask for.

        Prices at which mixes are chosen bring patterns that no other prices bring.
        """
        dive.over = partial(self.search.effort.over, LAST)
        dive.nodes.fix({pool: max(dive.nodes.least(pool), nodes_used(self.search.problem, plan, pool)) for pool in dive.nodes.columns()})
        dive.relax(_MIXED_ROUNDS)
        program = WholeProgram(self.root, dive, self.search.effort.breadth, plan, counted=self._counted)
        dive.nodes.free()
        return program

    def _near(self, seed: int) -> Neighbourhoods:
        effort = self.search.effort
        # a proof needs the rest of the time where the fleet is so small that one may succeed
        turns = _MANY_TURNS if self.timed and self.gpus >= FEWEST_GPUS else effort.neighbourhoods
        return Neighbourhoods(turns, seed=seed, time_left_s=self._left_s, stop=effort.over)

    def _left_s(self) -> float | None:
        """Seconds until nothing is begun any more; None without a limit, and none where somebody wants no more."""
        effort = self.search.effort
        left_s = effort.time_left_s()
        if effort.over(LAST):
            return 0.0
        return None if left_s is None else left_s - (1.0 - LAST) * (effort.time_limit_s or 0.0)

    def _limits(self, part: float) -> IntegerLimits:
        """Limits of an integer program that may take a part of the time limit; where time is limited, branch and bound ends by it."""
        effort = self.search.effort
        left_s = self._left_s()
        nodes = effort.nodes if left_s is None else _MANY_NODES
        most_s = None if left_s is None else max(0.01, min(part * (effort.time_limit_s or 0.0), left_s))
        return IntegerLimits(nodes, gap_fraction=1e-4, time_limit_s=most_s, stop=effort.over)
