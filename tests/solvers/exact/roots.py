"""Stages of the exact engine as it would begin them, for tests of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from planner.problem import Demand, Problem, priorities, unserved, unserved_by_priority
from solvers.baselines import best_fit
from solvers.exact.effort import Effort, Search
from solvers.exact.relaxation.cover_root import CoverRoot
from solvers.model.master import Master, StageGoal
from solvers.model.shape_catalogue import catalogue
from solvers.model.slots import slots
from solvers.model.useful_shapes import candidates
from tests.strategies import MIG_LAYOUTS


def goals(problem: Problem, pinned_microrps: tuple[int, ...]) -> Iterator[StageGoal]:
    """All stages when each priority may leave so much unserved: the unserved demand of each one, then the cost."""
    pinned = tuple(zip(priorities(problem), pinned_microrps, strict=True))
    yield from (StageGoal(priority, pinned[:at]) for at, (priority, _) in enumerate(pinned))
    yield StageGoal(None, pinned)


def served_by_best_fit(problem: Problem) -> tuple[int, ...]:
    """What the greedy answer leaves unserved per priority."""
    return unserved_by_priority(problem, unserved(problem, best_fit.solve(problem).patterns))


def root_of(problem: Problem, goal: StageGoal) -> CoverRoot:
    """The relaxation of a stage, before it has run."""
    shapes = Search(problem, candidates(problem), Effort(), (), "exact").concerned(goal)
    return CoverRoot(Master(problem, slots(problem, shapes), goal), catalogue(problem, shapes))


def never(bound: float) -> bool:
    """No bound is enough."""
    return False


def _changed(problem: Problem, change: Callable[[int, Demand], Demand]) -> Problem:
    return replace(problem, demands=tuple(change(i, demand) for i, demand in enumerate(problem.demands)))


def _sliced(problem: Problem) -> Problem:
    """Every pool in MIG mode, every shape that shares in one of its slices."""
    shapes = tuple(
        replace(shape, mode="mig", mig_profile=("half", "quarter")[i % 2], capacity_microrps=max(5, shape.capacity_microrps))
        if shape.gpus == 1 and i % 3
        else shape
        for i, shape in enumerate(problem.shapes)
    )
    return replace(problem, pools=tuple(replace(pool, mig_layouts=MIG_LAYOUTS) for pool in problem.pools), shapes=shapes)


# what makes every problem one with a rule of its own
FEATURES: dict[str, Callable[[Problem], Problem]] = {
    "as drawn": lambda problem: problem,
    "max_replicas": lambda problem: _changed(problem, lambda i, demand: replace(demand, max_replicas=1 + i % 3)),
    "min_replicas": lambda problem: _changed(problem, lambda i, demand: replace(demand, min_replicas=1 + i % 3, max_replicas=9)),
    "tolerate_nodes": lambda problem: _changed(problem, lambda _, demand: replace(demand, tolerate_nodes=1)),
    "not_with": lambda problem: _changed(
        problem, lambda i, demand: replace(demand, not_with=frozenset({(i + 1) % len(problem.demands)} - {i}))
    ),
    "MIG": _sliced,
}
