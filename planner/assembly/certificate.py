"""Why a plan is believed: its goals with bounds and gaps, the engines that were asked and the baselines it beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.plan import Baseline, Certificate, EngineReport, StoppedBy, TierResult
from planner.problem import MICRO, Problem, Solution, blocks_used, priorities, unserved_by_priority


@dataclass(frozen=True, slots=True)
class Asked:
    """One engine of the portfolio: its answer, or why it was skipped."""

    engine: str
    solution: Solution | None
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the portfolio says: the best answer with the best valid bounds, every engine asked, and the baselines.

    A baseline comes with whether it fits the pools; one that does not was answered on pools made large enough. stopped_by is what ended
    the search where it was not proof; kept says that a cheaper answer was left for policy.cost_slack_fraction or policy.goals. Every answer
    that serves as much and costs no more than is allowed loads least_load_mib of weights; searched says that the goals after cost were
    searched for, too.
    """

    best: Solution
    asked: tuple[Asked, ...]
    baselines: Mapping[str, tuple[Solution, bool]]
    stopped_by: StoppedBy = "work_limit"
    kept: bool = False
    least_load_mib: int = 0
    searched: bool = False


def certificate(problem: Problem, outcome: Outcome, further: Sequence[TierResult] = ()) -> Certificate:
    """The certificate of an outcome; further are the tiers after cost."""
    best = outcome.best
    proven = best.status == "optimal"
    return Certificate(
        solver=best.engine,
        status=best.status,
        stopped_by="proof" if proven else outcome.stopped_by,
        tiers=(*_tiers(problem, best), *further),
        baselines={name: _baseline(problem, solution, fits) for name, (solution, fits) in sorted(outcome.baselines.items())},
        engines=tuple(_report(item) for item in outcome.asked),
        kept=outcome.kept,
    )


def gpus_used(problem: Problem, solution: Solution) -> int:
    """GPUs that hold at least one replica."""
    return sum(sum(blocks_used(problem, solution.patterns, pool).values()) for pool in range(len(problem.pools)))


def _tiers(problem: Problem, best: Solution) -> tuple[TierResult, ...]:
    values = unserved_by_priority(problem, best.unserved_microrps)
    tiers = [
        _tier(f"unserved_rps at priority {priority}", value / MICRO, bound / MICRO)
        for priority, value, bound in zip(priorities(problem), values, best.bound_unserved_microrps, strict=True)
    ]
    tiers.append(_tier("cost_usd_per_h", best.cost_microusd_per_h / MICRO, best.bound_microusd_per_h / MICRO))
    return tuple(tiers)


def _tier(goal: str, value: float, bound: float) -> TierResult:
    return TierResult(goal=goal, value=value, bound=bound, gap_fraction=(value - bound) / value if value > 0 else 0.0)


def _baseline(problem: Problem, solution: Solution, fits: bool) -> Baseline:
    return Baseline(
        cost_usd_per_h=solution.cost_microusd_per_h / MICRO,
        unserved_rps=sum(solution.unserved_microrps) / MICRO,
        gpus=gpus_used(problem, solution),
        fits=fits,
    )


def _report(item: Asked) -> EngineReport:
    if item.solution is None:
        return EngineReport(engine=item.engine, skipped=item.skipped)
    return EngineReport(
        engine=item.engine,
        cost_usd_per_h=item.solution.cost_microusd_per_h / MICRO,
        unserved_rps=sum(item.solution.unserved_microrps) / MICRO,
    )
