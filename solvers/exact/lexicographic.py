"""Exact engine: whole GPUs in patterns of replicas against whole mixes of each demand, stage by stage, with valid bounds.

Stages, each with the earlier ones pinned: unserved demand of the highest priority, of the next, ..., then cost. A stage
whose value is already zero costs nothing, so a fleet with room for everything is a single cost stage. The search starts from
greedy engines, so it is never worse than them. See solvers.exact.stage for one stage.
"""

from __future__ import annotations

from dataclasses import replace

from planner.problem import Pattern, Problem, Solution, Watch, objective, priorities, violations
from solvers.baselines import best_fit, exclusive, first_fit, squishy
from solvers.exact.collector import old_objects_left_alone
from solvers.exact.effort import Effort, Search, clock
from solvers.exact.plan_search import MOST_GPUS
from solvers.exact.stage import run_stage
from solvers.model.master import StageGoal
from solvers.model.useful_shapes import dominators
from solvers.solution import answer, trimmed, with_bounds

NAME = "exact"
QUICK = "quick"

# What the quick engine does less of: no precise cuts, one dive, small integer programs and proofs, and no second process: plans are tried
# by the dozen, some in processes of their own.
_QUICK = Effort(precise_rounds=0, tries=3, dives=1, nodes=10, neighbourhoods=0, columns=1_000, two_processes=False)


def solve(problem: Problem, *, time_limit_s: float | None = None, watch: Watch | None = None) -> Solution:
    """Answer a problem; by default it stops after fixed amounts of work, with time_limit_s after that many seconds,
    and when watch says so.

    Never raises for want of capacity. status is "optimal" when both bounds are met exactly.
    """
    return _solve(problem, NAME, Effort(time_limit_s=time_limit_s, time_left_s=clock(time_limit_s), watch=watch))


def quick(problem: Problem, *, time_limit_s: float | None = None, watch: Watch | None = None) -> Solution:
    """As solve(), with less work for the proof: nearly always the same answer, more often without knowing that none is better."""
    return _solve(problem, QUICK, replace(_QUICK, time_limit_s=time_limit_s, time_left_s=clock(time_limit_s), watch=watch))


def _solve(problem: Problem, name: str, effort: Effort) -> Solution:
    with old_objects_left_alone():
        return _searched(problem, name, effort)


def _searched(problem: Problem, name: str, effort: Effort) -> Solution:
    standing = dominators(problem)
    search = Search(problem, sorted(set(standing.values())), effort, _start(problem, standing), name)
    bounds: list[int] = []
    pinned: tuple[tuple[int, int], ...] = ()
    for priority in priorities(problem):
        goal = StageGoal(priority, pinned)
        bound = run_stage(search, goal)
        bounds.append(bound if _all_met(bounds, pinned) else 0)
        pinned = (*pinned, (priority, search.value(goal)))
    cost_bound = run_stage(search, StageGoal(None, pinned))
    return with_bounds(problem, answer(problem, name, search.incumbent), bounds, cost_bound)


def _all_met(bounds: list[int], pinned: tuple[tuple[int, int], ...]) -> bool:
    """Whether the earlier tiers are proven: only then is this tier's bound part of a lexicographic one."""
    return all(bound == limit for bound, (_, limit) in zip(bounds, pinned, strict=True))


def _start(problem: Problem, standing: dict[int, int]) -> tuple[Pattern, ...]:
    """The best of the greedy answers and of that which the problem comes with, in candidate shapes only.

    On large fleets two greedy answers will do: plans from the relaxation are better by far, and others tell who asks for baselines.
    """
    engines = [best_fit.solve, exclusive.solve]
    if sum(pool.gpus for pool in problem.pools) <= MOST_GPUS:
        engines = [first_fit.solve, *engines, squishy.solve]
    answers = [engine(problem) for engine in engines]
    given = answer(problem, "start", problem.start)
    if problem.start and not violations(problem, given):
        answers.insert(0, given)
    best = min(answers, key=lambda solution: objective(problem, solution))
    patterns = [
        Pattern(pattern.pool, tuple(sorted(standing[index] for index in pattern.residents)), pattern.count) for pattern in best.patterns
    ]
    return trimmed(problem, patterns)
