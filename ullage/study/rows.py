"""What a study knows of each scenario: the figures of its plan, or why there is none."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Annotated

from pydantic import Field, model_validator

from planner.plan import Desired, Plan
from planner.plan.bounds import Fraction, Money, PerSecond, PlanPart, WholeNumber
from ullage.study.scenarios import Scenario

# A row that is fuller than this keeps others out of a GPU: see ullage.views.plan.explain_text.
_FULL_FRACTION = 0.95


class StudyRow(PlanPart):
    """A scenario and the figures of its plan; problem says why there is none, and the figures are then None.

    settings are what differs from the fleet as declared. unserved_rps is the sum, by_workload_rps holds what is unserved of each workload.
    attainment_fraction is the smallest of all simulated ones, None where nothing was simulated. breaks_at_load_factor is the smallest
    growth of demand at which some workload misses its goals with these replicas: 0 where demand is unserved, None where not even 32 times
    the demand does. lost_at_once_rps is what the replicas on lost nodes carried and the others cannot, before anything is planned anew.
    loads_gib are weights to load against what runs.
    """

    scenario: str
    settings: dict[str, str] = Field(default_factory=dict)
    problem: str | None = None
    cost_usd_per_h: Money | None = None
    bound_usd_per_h: Money | None = None
    gap_fraction: Fraction | None = None
    gap_goal: str | None = None
    unserved_rps: PerSecond | None = None
    by_workload_rps: dict[str, PerSecond] = Field(default_factory=dict)
    lost_at_once_rps: dict[str, PerSecond] = Field(default_factory=dict)
    gpus_used: WholeNumber | None = None
    gpus_total: WholeNumber | None = None
    gpus_by_type: dict[str, WholeNumber] = Field(default_factory=dict)
    attainment_fraction: Fraction | None = None
    breaks_at_load_factor: Annotated[float, Field(ge=0, le=100)] | None = None
    binding: str = ""
    loads_gib: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _has_figures_or_a_problem(self) -> StudyRow:
        """A row without a problem has the figures of a plan."""
        figures = (self.cost_usd_per_h, self.bound_usd_per_h, self.gap_fraction, self.unserved_rps, self.gpus_used, self.gpus_total)
        if self.problem is None and None in figures:
            raise ValueError("a scenario with a plan has a cost, a bound, a gap, GPUs and unserved demand")
        return self

    @property
    def solved(self) -> bool:
        """Whether there is a plan."""
        return self.problem is None


def row_of(scenario: Scenario, plan: Plan) -> StudyRow:
    """The figures of a scenario's plan."""
    desired = plan.desired
    tiers = desired.certificate.proven_tiers
    open_tier = next((tier for tier in tiers if tier.gap_fraction > 0), None)
    short = {workload.name: workload.unserved_rps for workload in desired.workloads if workload.unserved_rps > 0}
    used = Counter(gpu.gpu_type for gpu in desired.gpus if gpu.replicas)
    return StudyRow(
        scenario=scenario.name,
        settings=dict(scenario.settings),
        cost_usd_per_h=desired.cost_usd_per_h,
        bound_usd_per_h=max(0.0, tiers[-1].bound),
        gap_fraction=open_tier.gap_fraction if open_tier else 0.0,
        gap_goal=open_tier.goal if open_tier else None,
        unserved_rps=sum(short.values()),
        by_workload_rps=short,
        gpus_used=desired.gpus_used,
        gpus_total=len(desired.gpus),
        gpus_by_type=dict(sorted(used.items())),
        attainment_fraction=_attainment(desired),
        breaks_at_load_factor=0.0 if short else _breaks_at(desired),
        binding=binding(desired),
        loads_gib=plan.churn.value if plan.churn is not None else None,
    )


def problem_row(scenario: Scenario, problem: str) -> StudyRow:
    """The row of a scenario that has no plan."""
    return StudyRow(scenario=scenario.name, settings=dict(scenario.settings), problem=problem)


def binding(desired: Desired) -> str:
    """What keeps more out of the GPUs in use: unserved workloads, else the row that is full on most of them."""
    short = [workload.name for workload in desired.workloads if workload.unserved_rps > 0]
    if short:
        more = f" and {len(short) - 3} more" if len(short) > 3 else ""
        return f"no room for {', '.join(short[:3])}{more}"
    gpus = desired.explanation.gpus if desired.explanation is not None else ()
    full = Counter(row.fullest for row in gpus if max(row.memory_fraction, row.active_fraction, row.compute_fraction) >= _FULL_FRACTION)
    if not full:
        return "nothing is full"
    row, count = min(full.items(), key=lambda item: (-item[1], item[0]))
    return f"{row} on {count} of {len(gpus)}"


def lost_at_once(desired: Desired, nodes: tuple[str, ...]) -> dict[str, float]:
    """Requests/s by served model that replicas on these nodes carry and those elsewhere have no capacity for, in this plan."""
    carried: defaultdict[str, float] = defaultdict(float)
    spare: defaultdict[str, float] = defaultdict(float)
    for replica in desired.replicas:
        if replica.node in nodes:
            carried[replica.served_name] += replica.planned_rps
        else:
            spare[replica.served_name] += replica.capacity_rps - replica.planned_rps
    lost = {name: rate_rps - max(0.0, spare[name]) for name, rate_rps in sorted(carried.items())}
    return {name: rate_rps for name, rate_rps in lost.items() if rate_rps > 1e-9}


def _attainment(desired: Desired) -> float | None:
    return min((item.fraction for workload in desired.workloads for item in workload.simulated), default=None)


def _breaks_at(desired: Desired) -> float | None:
    """The smallest growth that breaks a workload, by the closed formulas: a simulation only says which multiples were still kept."""
    factors = (workload.breaking.demand_factor for workload in desired.workloads if workload.breaking is not None)
    return min((factor for factor in factors if factor is not None), default=None)
