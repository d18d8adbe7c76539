"""Why a plan is believed: its goals with bounds and gaps, the engines that were asked, the baselines it is no worse than."""

from __future__ import annotations

from typing import Literal

from planner.plan.bounds import Money, PerSecond, PlanPart, WholeNumber
from planner.plan.grounds.reasons import CostBand

# the goal of a tier that breaks ties between plans of equal cost
FRAGMENTATION = "fragmentation_gpus"

StoppedBy = Literal["proof", "work_limit", "time_limit", "interrupt"]


class TierResult(PlanPart):
    """One goal of the lexicographic order: value reached, valid bound, and gap = (value - bound) / value.

    optimised is False for goals that only decide between answers that engines gave for other goals: their bound holds, but no search
    tried to meet it.
    """

    goal: str
    value: float
    bound: float
    gap_fraction: float
    optimised: bool = True


class Baseline(PlanPart):
    """What a simpler method would do; fits is False when the pools are too small for it and it is priced as if not."""

    cost_usd_per_h: Money
    unserved_rps: PerSecond
    gpus: WholeNumber
    fits: bool


class EngineReport(PlanPart):
    """An engine that was asked, and what came of it; skipped carries the reason instead of a value."""

    engine: str
    cost_usd_per_h: Money | None = None
    unserved_rps: PerSecond | None = None
    skipped: str | None = None


class Certificate(PlanPart):
    """Tiers with bounds, the winning engine, the baselines, and what ended the search.

    kept says that another answer was cheaper, and left for policy.cost_slack_fraction or policy.goals. cost_band is there when it was
    asked for.
    """

    solver: str
    status: Literal["optimal", "feasible"]
    stopped_by: StoppedBy = "proof"
    tiers: tuple[TierResult, ...]
    baselines: dict[str, Baseline]
    engines: tuple[EngineReport, ...]
    kept: bool = False
    cost_band: CostBand | None = None

    @property
    def proven_tiers(self) -> tuple[TierResult, ...]:
        """Unserved demand by priority, and cost: the goals whose gap says how far a plan may be from the best. Others break ties."""
        return tuple(tier for tier in self.tiers if tier.goal != FRAGMENTATION)
