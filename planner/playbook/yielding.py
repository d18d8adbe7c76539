"""Which workloads yield to one that has a burst, and how long that takes."""

from __future__ import annotations

from collections.abc import Iterable

from planner.plan import Desired, Replica, WorkloadForecast


def who_yields(desired: Desired, workload: WorkloadForecast) -> tuple[WorkloadForecast, ...]:
    """Workloads beside it that are less urgent, who yields first first: the least urgent, and among equals those on its own engines.

    Not models that the disruption budget protects, nor those whose requests are told apart by their length: a refusal of both parts would
    not be one.
    """
    neighbours = neighbour_models(desired, workload.served_name)
    kept = {workload.served_name for workload in desired.workloads if workload.name in split_workloads(desired)}
    kept |= set(desired.rules.disruption_budget.protected)
    found = [
        other
        for other in desired.workloads
        if other.priority < workload.priority and other.served_name in neighbours and other.served_name not in kept and other.rate_rps > 0
    ]
    return tuple(sorted(found, key=lambda other: (other.priority, other.served_name != workload.served_name, other.name)))


def neighbour_models(desired: Desired, served_name: str) -> frozenset[str]:
    """Models with a replica on a GPU, or a slice, where this one has one too; itself among them."""
    seats: dict[object, set[str]] = {}
    for replica in desired.replicas:
        for seat in seats_of(replica):
            seats.setdefault(seat, set()).add(replica.served_name)
    return frozenset(name for names in seats.values() if served_name in names for name in names)


def seats_of(replica: Replica) -> list[object]:
    """Its GPUs, or its slice of one."""
    return [(replica.node, gpu, replica.mig) for gpu in replica.gpus]


def split_workloads(desired: Desired) -> frozenset[str]:
    """Both parts of the workloads whose requests are told apart by their length."""
    parts = {name for split in desired.prompt_splits if split.longer is not None for name in (split.workload, split.long_workload)}
    return frozenset(name for name in parts if name)


def ending_s(workload: WorkloadForecast) -> float:
    """Seconds until a long request of a workload has ended that has just come."""
    return (workload.ttft_s or 0.0) + max(workload.output_tokens, workload.output_p99_tokens) * (workload.tpot_s or 0.0)


def names_of(workloads: Iterable[WorkloadForecast]) -> frozenset[str]:
    """Their names."""
    return frozenset(workload.name for workload in workloads)
