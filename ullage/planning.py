"""Wires the planner to the engines: a fleet and a state in, a checked plan out."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from planner.build import build
from planner.certificate import Asked, Outcome
from planner.plan import Plan, State
from planner.planning import assemble
from planner.problem import Problem
from planner.spec import Fleet
from solvers.physical import place
from solvers.portfolio import run
from solvers.unlimited import unlimited
from ullage.checking import checked
from ullage.plugins import BASELINES, SOLVERS, load


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and the seconds it took; the seconds go to the screen, never into the plan."""

    plan: Plan
    solve_s: float


def plan_fleet(fleet: Fleet, state: State, *, solver: str = "portfolio", time_limit_s: float | None = None) -> Planned:
    """The best plan the engines find, judged by the independent checker (CheckError is a defect of ours, not of the input)."""
    started_s = perf_counter()
    blueprint = build(fleet, state)
    outcome = _ask(blueprint.problem, solver, time_limit_s)
    placed = place(blueprint.problem, outcome.best)
    plan = assemble(fleet, blueprint, outcome, placed, state)
    return Planned(checked(plan, "plan"), perf_counter() - started_s)
