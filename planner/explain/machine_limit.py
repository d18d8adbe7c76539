"""What `spread: nodes` keeps from being served: no more replicas than machines."""

from __future__ import annotations

from planner.explain.obstacle import SPREAD_LEVER, Obstacle
from planner.problem import MICRO, Problem, Solution, apart_counts, machines, most_apart
from planner.sizing.groups import ServiceGroup


def full_pools_apart(problem: Problem, solution: Solution, demand: int) -> dict[int, Obstacle]:
    """Pools in which each machine holds a replica of a demand that wants them on different ones."""
    found: dict[int, Obstacle] = {}
    for index in range(len(problem.pools)):
        count, there = apart_counts(problem, solution.patterns, index).get(demand, 0), machines(problem, [index])
        if count >= there > 0:
            where = "its one machine" if there == 1 else f"each of its {there} machines"
            found[index] = Obstacle("spread", f"a replica of it is on {where} (spread: nodes)", SPREAD_LEVER)
    return found


def why_no_more_machines(problem: Problem, group: ServiceGroup, index: int, replicas: int, capacity_microrps: int) -> str | None:
    """Why no more replicas serve a group that has as many as there are machines for it; None for all others."""
    most = most_apart(problem, index)
    if not problem.demands[index].spread_nodes or replicas < most:
        return None
    levers = (
        f"add nodes, widen pin or {SPREAD_LEVER}" if any(workload.pin for workload in group.workloads) else f"add nodes or {SPREAD_LEVER}"
    )
    there = "1 machine" if most == 1 else f"{most} machines"
    if group.min_replicas > replicas:
        return (
            f"min_replicas asks for {group.min_replicas} replicas, and with spread: nodes there are {replicas}, one on each of the {there} "
            f"that it may use; the part of a missing replica counts as unserved; lower min_replicas, {levers}"
        )
    return (
        f"spread: nodes allows {replicas} replica{'' if replicas == 1 else 's'}, one on each of the {there} that it may use; they carry "
        f"{capacity_microrps / MICRO:.3g} of {group.peak_rps:.3g} requests/s; allow a larger tensor_parallel, {levers}"
    )
