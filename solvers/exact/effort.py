"""What a search may spend, and the best plan that it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from planner.problem import Pattern, Problem, SolveProgress, Watch, cost, nodes_needed, priorities, unserved, unserved_by_priority
from solvers.baselines.best_fit import fill
from solvers.baselines.packing import Packing
from solvers.model.master import StageGoal
from solvers.solution import trimmed


@dataclass(frozen=True, slots=True)
class Breadth:
    """Which columns take part: patterns worth so much of a GPU's price (so many per group), replicas per demand, columns in all."""

    near_fraction: float = 0.94
    patterns: int = 60
    replicas: int = 10
    columns: int = 5_000


_BREADTH = Breadth()


@dataclass(frozen=True, slots=True)
class Effort:
    """Limits of one solve, all in units of work unless time_left_s says otherwise.

    rounds and precise_rounds of the relaxation, tries of whole numbers of GPUs, dives, nodes and breadth of the integer programs that
    improve on them, neighbourhoods, columns and nodes of proofs by enumeration.
    """

    rounds: int = 400
    precise_rounds: int = 30
    tries: int = 40
    dives: int = 3
    nodes: int = 60
    neighbourhoods: int = 12
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
    """The problem, its candidate shapes, the best patterns so far, and the name of the engine that searches."""

    problem: Problem
    shapes: Sequence[int]
    effort: Effort
    incumbent: tuple[Pattern, ...]
    engine: str
    # values of the incumbent that were asked for, which searches do at every step
    _values: dict[StageGoal, int] = field(default_factory=dict)

    def concerned(self, goal: StageGoal) -> list[int]:
        """Shapes of the demands that a goal minimises or that are pinned: the others buy nothing in this stage."""
        priorities_concerned = {priority for priority, _ in goal.pinned} | {goal.priority}
        demands = self.problem.demands
        return [i for i in self.shapes if demands[self.problem.shapes[i].demand].priority in priorities_concerned]

    def value(self, goal: StageGoal) -> int:
        """Value of the incumbent for a goal, in micro-units."""
        if goal not in self._values:
            self._values[goal] = value_of(self.problem, self.incumbent, goal)
        return self._values[goal]

    def report(self, goal: StageGoal, bound: int) -> None:
        """Tell whoever waits where a goal stands."""
        if self.effort.watch is not None:
            value = self.value(goal)
            self.effort.watch.report(SolveProgress(self.engine, goal.priority, value, min(bound, value)))

    def offer(self, patterns: Sequence[Pattern]) -> None:
        """Take the patterns if they are lexicographically better, or as good with fewer replicas."""
        better = trimmed(self.problem, patterns)
        if rank(self.problem, better) < rank(self.problem, self.incumbent):
            self.incumbent = better
            self._values.clear()


def value_of_plan(problem: Problem, patterns: Sequence[Pattern]) -> tuple[int, ...]:
    """Unserved micro-requests/s per priority, highest first, then micro-dollars/h: smaller is better."""
    return (*unserved_by_priority(problem, unserved(problem, patterns)), cost(problem, patterns))


def rank(problem: Problem, patterns: Sequence[Pattern]) -> tuple[int, ...]:
    """Value of a plan, and its replicas: of plans of one value, the one with fewer has less to start and more room for more load."""
    return (*value_of_plan(problem, patterns), sum(len(pattern.residents) * pattern.count for pattern in patterns))


def value_of(problem: Problem, patterns: Sequence[Pattern], goal: StageGoal) -> int:
    """Unserved micro-requests/s of the goal's priority, or micro-dollars/h."""
    if goal.priority is None:
        return cost(problem, patterns)
    return unserved_by_priority(problem, unserved(problem, patterns))[priorities(problem).index(goal.priority)]


def completed(problem: Problem, patterns: Sequence[Pattern]) -> tuple[Pattern, ...]:
    """The patterns that their pools have room for, and whatever else it takes to serve the demands, in best fit.

    Nodes that are paid for are filled before others are.
    """
    packing = Packing(problem)
    packing.take(patterns)
    packing.most_nodes.update(
        (index, max(min(pool.min_nodes, pool.nodes), nodes_needed(pool, packing.blocks[index])))
        for index, pool in enumerate(problem.pools)
        if pool.billing == "node"
    )
    fill(packing)
    packing.most_nodes.clear()
    fill(packing)
    return tuple(packing.patterns())
