"""Several engines on one problem: the best answer, the best bound, and who delivered what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

from planner.problem import Problem, Solution, Solve, Watch, objective, unserved_by_priority
from solvers.errors import UnavailableError
from solvers.solution import with_bounds


@dataclass(frozen=True, slots=True)
class SolverReport:
    """What one engine delivered, or why it was skipped; solve_s is how long it took."""

    engine: str
    solution: Solution | None
    skipped: str = ""
    solve_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PortfolioAnswer:
    """The lexicographically best Solution, with the best valid bounds of all engines, and a report per engine in order."""

    solution: Solution
    reports: tuple[SolverReport, ...]


def solve_all(
    problem: Problem, engines: Mapping[str, Solve], *, time_limit_s: float | None = None, watch: Watch | None = None
) -> PortfolioAnswer:
    """Run every engine in order; ties go to the earlier one. The time limit holds for each engine, and each answers under its own name.

    Raises UnavailableError when no engine could answer. An engine that fails in any other way is a defect and is not hidden.
    """
    reports = tuple(_run(problem, name, engine, time_limit_s, watch) for name, engine in engines.items())
    solutions = [report.solution for report in reports if report.solution is not None]
    if not solutions:
        reasons = "; ".join(f"{report.engine}: {report.skipped}" for report in reports) or "no engine was given"
        raise UnavailableError(f"no engine could answer the problem ({reasons})")
    best = min(solutions, key=lambda solution: objective(problem, solution))
    return PortfolioAnswer(_with_best_bounds(problem, best, solutions), reports)


def _run(problem: Problem, name: str, engine: Solve, time_limit_s: float | None, watch: Watch | None) -> SolverReport:
    started_s = perf_counter()
    try:
        solution = engine(problem, time_limit_s=time_limit_s, watch=watch)
    except UnavailableError as error:
        return SolverReport(name, None, str(error))
    return SolverReport(name, solution, solve_s=perf_counter() - started_s)


def _with_best_bounds(problem: Problem, best: Solution, solutions: list[Solution]) -> Solution:
    """A cost bound holds for solutions that leave no more unserved than its own: it carries over to the best if that is one."""
    served = unserved_by_priority(problem, best.unserved_microrps)

    def covers(other: Solution) -> bool:
        theirs = unserved_by_priority(problem, other.unserved_microrps)
        return all(mine <= limit for mine, limit in zip(served, theirs, strict=True))

    return with_bounds(
        problem,
        best,
        max(solution.bound_unserved_microrps for solution in solutions),
        max(solution.bound_microusd_per_h for solution in solutions if covers(solution)),
    )
