"""Tokens that a GPU makes at its planned load, and up to how many its models keep their goals."""

from __future__ import annotations

from dataclasses import dataclass

from planner.plan.document import Desired, GpuPlan, Replica


@dataclass(frozen=True, slots=True)
class GpuThroughput:
    """Output tokens/s of the engines on one GPU, all together; an engine on several GPUs counts in equal parts on each.

    planned_tokens_per_s is that of the window in which they make most, at the planned rates. capacity_tokens_per_s is what they make there
    at the largest load with which their models keep their goals: simulated where the plan was, else what sizing allows them.
    """

    planned_tokens_per_s: float
    capacity_tokens_per_s: float


def gpu_throughput(desired: Desired, gpu: GpuPlan) -> GpuThroughput:
    """The throughput of a GPU of a plan; zeros where nothing is generated."""
    rows = {row.served_name: row for row in desired.workloads}
    residents = [item for item in desired.replicas if item.name in gpu.replicas and item.served_name in rows]
    windows = range(len(desired.windows)) if desired.windows else (-1,)
    planned, capacity = max(
        (
            sum(_tokens_per_s(desired, item, item.planned_rps, window) for item in residents),
            sum(_tokens_per_s(desired, item, item.capacity_rps, window) for item in residents),
        )
        for window in windows
    )
    kept = [factor for item in residents if (factor := rows[item.served_name].kept_load_factor) is not None]
    return GpuThroughput(planned, planned * min(kept) if kept else capacity)


def window_part(desired: Desired, served_name: str, window: int) -> float:
    """The part of its peak that a model has in a window; -1 stands for the only one that a plan without windows has."""
    if window < 0:
        return 1.0
    peak_rps = max(item.rates_rps.get(served_name, 0.0) for item in desired.windows)
    return desired.windows[window].rates_rps.get(served_name, 0.0) / peak_rps if peak_rps else 0.0


def _tokens_per_s(desired: Desired, replica: Replica, rate_rps: float, window: int) -> float:
    output_tokens = next(row.output_tokens for row in desired.workloads if row.served_name == replica.served_name)
    return rate_rps * window_part(desired, replica.served_name, window) * output_tokens / len(replica.gpus)
