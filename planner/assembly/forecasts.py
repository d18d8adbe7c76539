"""What is expected for each workload, and for demand that is not served the binding constraint, with numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from planner.plan import Refusal, Replica, WorkloadForecast
from planner.problem import MICRO, Solution, shortfall
from planner.sizing.blueprint import Blueprint
from planner.sizing.groups import ServiceGroup

# Names in a sentence before the rest is only counted.
MOST_NAMES = 4


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
            tpot_slo_s=workload.tpot_p95_s,
            rate_rps=workload.demand.peak_rps,
            input_tokens=group.mix.input_tokens,
            output_tokens=group.mix.output_tokens,
            ttft_s=max((replica.forecast.ttft_s for replica in replicas), default=None),
            tpot_s=max((replica.forecast.tpot_s for replica in replicas), default=None),
            unserved_rps=workload.demand.peak_rps * missing_fraction,
            unserved_reason=reason,
            tolerate_nodes=workload.tolerate_nodes,
        )
        for workload in group.workloads
    ]


def why_unserved(blueprint: Blueprint, solution: Solution, index: int) -> str:
    """The binding constraint of the group with this index, which is not fully served."""
    group, problem = blueprint.groups[index], blueprint.problem
    shapes = [candidate for candidate in blueprint.candidates if candidate.group.name == group.name]
    if not shapes:
        return _impossible(blueprint.refusals.get(group.name, ()), group)
    pools = [pool for pool in blueprint.pools if group.allows(pool.name)]
    gpus = _gpus(sum(pool.max_nodes * pool.gpus_per_node for pool in pools))
    own = [problem.shapes[item] for pattern in solution.patterns for item in pattern.residents * pattern.count]
    own = [shape for shape in own if shape.demand == index]
    around = f"it may use {gpus}{_also_served(blueprint, solution, index)}{_kept_away(blueprint, index)}"
    capacity_microrps = sum(shape.capacity_microrps for shape in own)
    demand = problem.demands[index]
    if shortfall(demand, demand.peak_microrps, len(own), 0) >= demand.peak_microrps - capacity_microrps:
        return (
            f"min_replicas asks for {group.min_replicas} replicas and {len(own)} found room, each on GPUs or in a MIG slice of its own: "
            f"{around}; missing replicas count as that part of the demand; add nodes or lower min_replicas"
        )
    if group.max_replicas is not None and len(own) >= group.max_replicas:
        return f"max_replicas allows {len(own)}, which carry {capacity_microrps / MICRO:.3g} of {group.peak_rps:.3g} requests/s; raise it"
    most = max(shapes, key=lambda candidate: candidate.capacity_rps / candidate.gpus)
    return (
        f"the GPUs are used up: one replica on {_gpus(most.gpus)} of pool {most.site.pool} carries at most {most.capacity_rps:.3g} "
        f"requests/s within the SLO, {group.peak_rps:.3g} are asked for, and {around}; add nodes, relax slo or lower the demand"
    )


def _also_served(blueprint: Blueprint, solution: Solution, index: int) -> str:
    """Who else runs in the pools of a group."""
    allowed = {i for i, pool in enumerate(blueprint.pools) if blueprint.groups[index].allows(pool.name)}
    residents = [item for pattern in solution.patterns if pattern.pool in allowed for item in pattern.residents]
    others = sorted({blueprint.candidates[item].group.name for item in residents} - {blueprint.groups[index].name})
    return f", which also serve {_few(others)}" if others else ""


def _kept_away(blueprint: Blueprint, index: int) -> str:
    names = sorted(blueprint.groups[other].name for other in blueprint.problem.demands[index].not_with)
    return f", not those of {_few(names)} (not_with)" if names else ""


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMES else f"{', '.join(names[:MOST_NAMES])} and {len(names) - MOST_NAMES} more"


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _impossible(refusals: Sequence[Refusal], group: ServiceGroup) -> str:
    if not refusals:
        return (
            f"no pool that {group.name} may use allows a sharing mode and block size for it; change pin, sharing, tensor_parallel, or "
            "policy.max_active_residents where pools only share"
        )
    ways: defaultdict[str, set[str]] = defaultdict(set)
    for item in refusals:
        ways[item.reason].add(f"{item.pool}, {item.mode.replace('_', '-')} on {_gpus(item.gpus)}")
    listed = sorted(f"{'; '.join(sorted(places))}: {reason}" for reason, places in ways.items())
    return f"no replica of it is possible: {'; '.join(listed)}"
