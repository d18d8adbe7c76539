"""What a plan expects for each declared workload, and for the loss of a node."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.latency_classes import LatencyClass
from planner.plan.bounds import Fraction, PerSecond, PlanPart, Seconds, Some, WholeNumber
from planner.plan.grounds.reasons import Breaking
from planner.plan.planned_volume import PlannedVolume


class Attainment(PlanPart):
    """The part of a simulation's requests that met both goals under a stress, with its Wilson 95 % interval."""

    stress: str
    requests: WholeNumber
    fraction: Fraction
    low_fraction: Fraction
    high_fraction: Fraction


class WorkloadForecast(PlanPart):
    """A declared workload, where it is served and what is expected for it.

    Lengths (means and p99), burstiness (index of dispersion) and prefix_hit_fraction are those of all requests of its model. simulated is
    what its replicas keep of their goals under their planned load; empty when nobody asked. kept_load_factor is the largest multiple of
    that load, of a few that are tried, at which nobody on their GPUs falls below the goal; None also where another model there misses its
    goals at the planned load. best_effort: it is served, but the simulation denies that it keeps its goals.
    unserved_rps > 0 carries a reason. Where nothing is generated (task: embed) tpot_slo_s is None, output_tokens 0, and the time to first
    token is that to the answer. volume: its requests come as a volume with a deadline, and rate_rps is the largest at which they are done.
    """

    name: str
    served_name: str
    latency_class: LatencyClass
    priority: int
    ttft_slo_s: Seconds
    tpot_slo_s: Seconds | None
    rate_rps: PerSecond
    input_tokens: PerSecond
    output_tokens: PerSecond
    input_p99_tokens: PerSecond = 0.0
    output_p99_tokens: PerSecond = 0.0
    burstiness: PerSecond = 1.0
    prefix_hit_fraction: Fraction = 0.0
    ttft_s: Seconds | None
    tpot_s: Seconds | None
    unserved_rps: PerSecond
    unserved_reason: str | None = None
    breaking: Breaking | None = None
    tolerate_nodes: WholeNumber = 0
    simulated: tuple[Attainment, ...] = ()
    kept_load_factor: Annotated[float, Field(ge=0, le=100)] | None = None
    best_effort: bool = False
    volume: PlannedVolume | None = Field(default=None, exclude_if=lambda volume: volume is None)

    @property
    def generates(self) -> bool:
        """Whether its model writes text; it makes vectors or scores otherwise."""
        return self.tpot_slo_s is not None


class PlannedWindow(PlanPart):
    """A window in which workloads are planned together: from start_s to end_s, and for stands_for such windows in all.

    rates_rps holds the rate of each served model; none of the windows that it stands for asks for more of any. timeline is that of the
    times: the clock's, or that of a trace file.
    """

    timeline: str
    start_s: Seconds
    end_s: Seconds
    stands_for: Some
    rates_rps: dict[str, PerSecond]


class NodeLoss(PlanPart):
    """The node whose loss hurts a served model most, and what the replicas elsewhere cannot carry of its peak then.

    One for each model with a workload that tolerates the loss of a node; unserved_rps 0 says that it survives any.
    """

    served_name: str
    node: str
    unserved_rps: PerSecond
