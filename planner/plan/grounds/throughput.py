"""Tokens that a GPU makes at its planned load, and up to how many its models keep their goals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planner.plan.document import Desired, Replica
from planner.plan.grounds.workload_forecast import WorkloadForecast


@dataclass(frozen=True, slots=True)
class GpuThroughput:
    """Output tokens/s of the engines on one GPU, all together; an engine on several GPUs counts in equal parts on each.

    planned_tokens_per_s is that of the window in which they make most, at the planned rates. capacity_tokens_per_s is what they make there
    at the largest load with which their models keep their goals: simulated where the plan was, else what sizing allows them.
    """

    planned_tokens_per_s: float
    capacity_tokens_per_s: float


def gpu_throughputs(desired: Desired) -> dict[tuple[str, int], GpuThroughput]:
    """The throughput of each GPU in use, by node and index; zeros where nothing is generated."""
    rows = {row.served_name: row for row in desired.workloads}
    residents: defaultdict[tuple[str, int], list[Replica]] = defaultdict(list)
    for replica in desired.replicas:
        for gpu in replica.gpus if replica.served_name in rows else ():
            residents[replica.node, gpu].append(replica)
    return {place: _throughput(desired, rows, found) for place, found in residents.items()}


def _throughput(desired: Desired, rows: Mapping[str, WorkloadForecast], residents: Sequence[Replica]) -> GpuThroughput:
    windows = range(len(desired.windows)) if desired.windows else (-1,)
    planned, capacity = max(
        (
            sum(tokens * item.planned_rps for item, tokens in shares),
            sum(tokens * item.capacity_rps for item, tokens in shares),
        )
        for shares in ([(item, _tokens(desired, rows, item, window)) for item in residents] for window in windows)
    )
    kept = [factor for item in residents if (factor := rows[item.served_name].kept_load_factor) is not None]
    return GpuThroughput(planned, planned * min(kept) if kept else capacity)


def _tokens(desired: Desired, rows: Mapping[str, WorkloadForecast], replica: Replica, window: int) -> float:
    """Output tokens of a request, as far as one of its GPUs makes them, times the part of its peak that a replica has in a window."""
    return rows[replica.served_name].output_tokens * window_part(desired, replica.served_name, window) / len(replica.gpus)


def window_part(desired: Desired, served_name: str, window: int) -> float:
    """The part of its peak that a model has in a window; -1 stands for the only one that a plan without windows has."""
    if window < 0:
        return 1.0
    peak_rps = max(item.rates_rps.get(served_name, 0.0) for item in desired.windows)
    return desired.windows[window].rates_rps.get(served_name, 0.0) / peak_rps if peak_rps else 0.0
