"""Sleepers of a phase: how soon they are back, and whether a request that nobody expected may wake them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planner.plan import Desired, Replica
from planner.schedule.timetable import PhaseSleeper
from planner.sleep_costs import asleep_mib, wake_s
from planner.spec import Workload


def sleepers_of(desired: Desired, workloads: Sequence[Workload]) -> tuple[PhaseSleeper, ...]:
    """The sleepers of a plan by name; workloads are those of the fleet, whose goals say how long a request may wait for a wake.

    Replicas that wake at once on one machine share its link to the GPUs, or its disk: each takes as long as all of them one by one.
    """
    levels = {item.name: item.level for item in desired.asleep}
    sleepers = [replica for replica in desired.replicas if replica.name in levels]
    alone_s = {replica.name: wake_s(replica, levels[replica.name]) for replica in sleepers}
    together_s = {item.name: sum(alone_s[other.name] for other in sleepers if other.node == item.node) for item in sleepers}
    goals_s: dict[str, float] = {}
    for workload in workloads:
        goals_s[workload.served_name] = min(workload.ttft_p95_s, goals_s.get(workload.served_name, workload.ttft_p95_s))
    return tuple(_sleeper(desired, replica, alone_s, together_s, goals_s) for replica in sleepers)


def _sleeper(
    desired: Desired,
    replica: Replica,
    alone_s: Mapping[str, float],
    together_s: Mapping[str, float],
    goals_s: Mapping[str, float],
) -> PhaseSleeper:
    level = next(item.level for item in desired.asleep if item.name == replica.name)
    # what its goal leaves beside the time that a request takes anyway
    slack_s = max(0.0, goals_s.get(replica.served_name, 0.0) - replica.forecast.ttft_s)
    awake = any(route.served_name == replica.served_name and route.backends for route in desired.routes)
    missing_mib = max(_missing_mib(desired, replica, index) for index in replica.gpus)
    if awake:
        why = "others of its model are awake"
    elif missing_mib > 0:
        why = f"{missing_mib} MiB are missing beside those that are awake"
    elif alone_s[replica.name] > slack_s:
        why = f"its TTFT goal leaves {slack_s:.1f} s"
    else:
        why = ""
    return PhaseSleeper(
        replica=replica.name,
        level=level,
        wake_s=alone_s[replica.name],
        together_s=together_s[replica.name],
        slack_s=slack_s,
        on_request=not why,
        why_not=why,
    )


def _missing_mib(desired: Desired, replica: Replica, index: int) -> int:
    """What a GPU lacks for all of its memory, beside the others there and the headroom."""
    gpu = next(gpu for gpu in desired.gpus if (gpu.node, gpu.index) == (replica.node, index))
    return replica.ledger.total_mib - asleep_mib(replica) - (gpu.free_mib - gpu.headroom_mib)
