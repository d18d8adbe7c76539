"""What is expected for each workload, and for demand that is not served the reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from planner.assembly.volumes_done import planned_volume
from planner.explain import why_unserved
from planner.plan import PlannedWindow, Replica, WorkloadForecast, ttft_s_of
from planner.problem import MICRO, Solution
from planner.sizing.blueprint import Blueprint
from planner.sizing.groups import ServiceGroup


def workload_forecasts(blueprint: Blueprint, solution: Solution, replicas: Sequence[Replica]) -> tuple[WorkloadForecast, ...]:
    """One row per declared workload, sorted by name; workloads of a group share its shortfall in proportion to their rates."""
    by_served: defaultdict[str, list[Replica]] = defaultdict(list)
    for replica in replicas:
        by_served[replica.served_name].append(replica)
    rows: list[WorkloadForecast] = []
    for index, (group, missing_microrps) in enumerate(zip(blueprint.groups, solution.unserved_microrps, strict=True)):
        missing_fraction = min(1.0, missing_microrps / MICRO / group.peak_rps)
        reason = why_unserved(blueprint, solution, index) if missing_microrps else None
        rows.extend(_rows(group, by_served[group.name], missing_fraction, reason))
    return tuple(sorted(rows, key=lambda row: row.name))


def _rows(group: ServiceGroup, replicas: Sequence[Replica], missing_fraction: float, reason: str | None) -> list[WorkloadForecast]:
    return [
        WorkloadForecast(
            name=workload.name,
            served_name=group.name,
            latency_class=workload.latency_class,
            priority=workload.priority,
            ttft_slo_s=workload.ttft_p95_s,
            tpot_slo_s=None if workload.model.pooling else workload.tpot_p95_s,
            rate_rps=workload.demand.peak_rps,
            input_tokens=group.mix.input_tokens,
            output_tokens=0.0 if workload.model.pooling else group.mix.output_tokens,
            input_p99_tokens=group.mix.input_p99_tokens,
            output_p99_tokens=0.0 if workload.model.pooling else group.mix.output_p99_tokens,
            burstiness=group.mix.burstiness,
            prefix_hit_fraction=group.mix.prefix_hit_fraction,
            ttft_s=max((ttft_s_of(workload.name, replica) for replica in replicas), default=None),
            tpot_s=max((replica.forecast.tpot_s for replica in replicas), default=None),
            unserved_rps=workload.demand.peak_rps * missing_fraction,
            unserved_reason=reason,
            tolerate_nodes=workload.tolerate_nodes,
            volume=planned_volume(workload, group.workloads, missing_fraction),
        )
        for workload in group.workloads
    ]


def planned_windows(blueprint: Blueprint) -> tuple[PlannedWindow, ...]:
    """The joint windows of a plan; none where all demand is constant."""
    if len(blueprint.windows) < 2:
        return ()
    return tuple(
        PlannedWindow(
            timeline=window.first.timeline or "",
            start_s=window.first.start_s,
            end_s=window.first.end_s,
            stands_for=window.count,
            rates_rps=dict(window.rates_rps),
        )
        for window in blueprint.windows
    )
