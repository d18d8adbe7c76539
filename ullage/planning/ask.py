"""Asks the portfolio: within limits, watched by whoever waits, and with baselines priced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol

from planner.assembly.certificate import Asked, Outcome
from planner.choice.choose import as_it_runs, choose, sparing_answers
from planner.choice.fragmentation import Unusable
from planner.plan import StoppedBy
from planner.problem import Problem, Solution, Solve, Watch, blocks_used, counted
from planner.sizing.blueprint import Blueprint
from planner.sizing.together import loosened
from planner.spec import Fleet
from solvers.portfolio import PortfolioAnswer, SolverReport, solve_all
from solvers.tiers.program import Leftovers
from solvers.tiers.refine import Refinement, refine, unrefined
from solvers.unlimited import unlimited
from ullage.plugins import BASELINES, PEAKS, SOLVERS, load

# What is asked besides the baselines unless the user names one engine.
DEFAULT_ENGINE = "exact"

# What is asked in its place while plans are only tried.
QUICK_ENGINE = "quick"

# What says in a moment how far a plan could go at all.
GREEDY_ENGINE = "best-fit"

# Greedy engines look at every open GPU for each replica: beyond this many GPUs, which is beyond every fleet of one owner, a baseline
# keeps its answer for the pools as they are, with what it leaves unserved.
MOST_PRICED_GPUS = 4096

# part of a time limit for the goals after cost
_REFINED_FRACTION = 0.08


@dataclass(frozen=True, slots=True)
class SolveLimits:
    """How long engines may work: time_limit_s for each of them (None: fixed amounts of work), and until watch says stop."""

    time_limit_s: float | None = None
    watch: Watch | None = None

    @property
    def stopped(self) -> bool:
        """Whether whoever waits wants no more."""
        return self.watch is not None and self.watch.stop()


NO_LIMITS = SolveLimits()


class AskEngines(Protocol):
    """Asks several engines for one problem, as solvers.portfolio.solve_all does."""

    def __call__(
        self, problem: Problem, engines: Mapping[str, Solve], *, time_limit_s: float | None = None, watch: Watch | None = None
    ) -> PortfolioAnswer:
        """The best answer and what each engine said."""
        ...


def ask(
    fleet: Fleet,
    blueprint: Blueprint,
    problem: Problem,
    solver: str,
    limits: SolveLimits,
    *,
    alone: bool = False,
    solve: AskEngines = solve_all,
) -> Outcome:
    """The best answer by the fleet's goals, with every engine's report and the baselines; problem is the blueprint's or a variant of it.

    Replicas that must be apart are counted only (`counted`): where they are is settled with their places.

    alone asks the one solver and no baseline: the exact engine starts from their answers, and nobody is shown what they cost.
    solve asks the engines, or knows what they said.
    """
    problem = counted(problem)
    baselines = () if alone else (*BASELINES, PEAKS) if len(blueprint.windows) > 1 else BASELINES
    engines = {name: load("solvers", SOLVERS, name) for name in dict.fromkeys((solver, *baselines))}
    answer = solve(problem, engines, time_limit_s=limits.time_limit_s, watch=limits.watch)
    solutions = [loosened(blueprint, problem, report.solution) for report in answer.reports if report.solution is not None]
    best = loosened(blueprint, problem, answer.solution)
    sparing = list(sparing_answers(problem, best, solutions))
    refined = (
        unrefined(problem, best) if alone else refine(problem, best, [*solutions, *sparing], _refinement(fleet, problem, best, limits))
    )
    sparing = [*(as_it_runs(problem, loosened(blueprint, problem, solution)) for solution in refined.solutions), *sparing]
    choice = choose(fleet, replace(blueprint, problem=problem), best, solutions, sparing)
    return Outcome(
        best=choice.solution,
        asked=tuple(Asked(report.engine, report.solution, report.skipped or None) for report in answer.reports),
        baselines={
            report.engine: _priced(problem, report.engine, report.solution)
            for report in answer.reports
            if report.engine in baselines and report.solution is not None
        },
        stopped_by=_stopped_by(answer.reports, limits),
        kept=choice.kept,
        least_load_mib=refined.least_load_mib,
        searched=refined.searched,
    )


def _refinement(fleet: Fleet, problem: Problem, best: Solution, limits: SolveLimits) -> Refinement:
    """How answers are searched for by the fleet's goals; a time limit leaves a part of it for that."""
    unusable = Unusable(problem, best)
    used = [sum(blocks_used(problem, best.patterns, index).values()) for index in range(len(problem.pools))]
    free = [unusable.of_free(index, pool.gpus - used[index]) for index, pool in enumerate(problem.pools)]
    started_s, limit_s = perf_counter(), limits.time_limit_s

    def time_left_s() -> float | None:
        return None if limit_s is None else _REFINED_FRACTION * limit_s - (perf_counter() - started_s)

    return Refinement(
        tiers=[{term.goal: term.weight for term in tier} for tier in fleet.policy.goals],
        slack_fraction=fleet.policy.cost_slack_fraction,
        leftovers=Leftovers(unusable.of_pattern, free),
        time_left_s=time_left_s,
        stop=None if limits.watch is None else limits.watch.stop,
    )


def answer_exactly(problem: Problem, limits: SolveLimits) -> Solution:
    """The exact engine's answer alone, for what-if questions."""
    solution: Solution = load("solvers", SOLVERS, DEFAULT_ENGINE)(counted(problem), time_limit_s=limits.time_limit_s, watch=limits.watch)
    return solution


def left(limits: SolveLimits, started_s: float, questions: int) -> SolveLimits:
    """Limits for one of so many questions still to come, when the time limit began to run at started_s."""
    if limits.time_limit_s is None:
        return limits
    return replace(limits, time_limit_s=max(0.0, limits.time_limit_s - (perf_counter() - started_s)) / max(1, questions))


def _stopped_by(reports: tuple[SolverReport, ...], limits: SolveLimits) -> StoppedBy:
    """What ended engines that search; baselines end by themselves."""
    if limits.stopped:
        return "interrupt"
    limit_s = limits.time_limit_s
    late = limit_s is not None and any(report.solve_s >= limit_s for report in reports if report.engine not in BASELINES)
    return "time_limit" if late else "work_limit"


def _priced(problem: Problem, name: str, solution: Solution) -> tuple[Solution, bool]:
    """A baseline's answer; one that leaves demand unserved is answered again on pools made large enough, to have a price.

    It does not fit only when larger pools would serve more: what can run nowhere is no matter of room. A search is not run again.
    """
    if not any(solution.unserved_microrps) or name == PEAKS:
        return solution, True
    larger_problem = unlimited(problem)
    if sum(pool.gpus for pool in larger_problem.pools) > MOST_PRICED_GPUS:
        return solution, False
    larger: Solution = load("solvers", SOLVERS, name)(larger_problem)
    return larger, larger.unserved_microrps == solution.unserved_microrps
