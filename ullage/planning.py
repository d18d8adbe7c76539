"""Wires the planner to the engines: a fleet and a state in, a checked plan out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter

from planner.build import build
from planner.certificate import Asked, Outcome
from planner.plan import Plan, State
from planner.planning import Tolerance, assemble
from planner.problem import Problem, Solution
from planner.spec import Fleet
from solvers.portfolio import solve_all
from solvers.unlimited import unlimited
from ullage.checking import checked
from ullage.plugins import BASELINES, SOLVERS, load
from ullage.tolerance import answer_with_places

# What is asked besides the baselines unless the user names one engine.
DEFAULT_ENGINE = "exact"

# Greedy engines look at every open GPU for each replica: beyond this many GPUs, which is beyond every fleet of one owner, a baseline
# keeps its answer for the pools as they are, with what it leaves unserved.
MOST_PRICED_GPUS = 4096


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and the seconds it took; the seconds go to the screen, never into the plan."""

    plan: Plan
    solve_s: float


def plan_fleet(fleet: Fleet, state: State, *, solver: str = DEFAULT_ENGINE, time_limit_s: float | None = None) -> Planned:
    """The best of an engine and all baselines, judged by the independent checker (CheckError is a defect of ours, not of the input)."""
    started_s = perf_counter()
    blueprint = build(fleet, state)
    answered = answer_with_places(blueprint.problem, lambda problem: _ask(problem, solver, time_limit_s))
    tolerance = Tolerance(answered.losses, answered.cost_microusd_per_h)
    plan = assemble(fleet, replace(blueprint, problem=answered.problem), answered.outcome, answered.placed, state, tolerance)
    return Planned(checked(plan, "plan", state), perf_counter() - started_s)


def _ask(problem: Problem, solver: str, time_limit_s: float | None) -> Outcome:
    engines = {name: load("solvers", SOLVERS, name) for name in dict.fromkeys((solver, *BASELINES))}
    answer = solve_all(problem, engines, time_limit_s=time_limit_s)
    return Outcome(
        best=answer.solution,
        asked=tuple(Asked(report.engine, report.solution, report.skipped or None) for report in answer.reports),
        baselines={
            report.engine: _priced(problem, report.engine, report.solution)
            for report in answer.reports
            if report.engine in BASELINES and report.solution is not None
        },
        timed_out=time_limit_s is not None,
    )


def _priced(problem: Problem, name: str, solution: Solution) -> tuple[Solution, bool]:
    """A baseline's answer; one that leaves demand unserved is answered again on pools made large enough, to have a price.

    It does not fit only when larger pools would serve more: what can run nowhere is no matter of room.
    """
    if not any(solution.unserved_microrps):
        return solution, True
    larger_problem = unlimited(problem)
    if sum(pool.gpus for pool in larger_problem.pools) > MOST_PRICED_GPUS:
        return solution, False
    larger: Solution = load("solvers", SOLVERS, name)(larger_problem)
    return larger, larger.unserved_microrps == solution.unserved_microrps
