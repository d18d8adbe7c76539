"""The same tenants served in other ways, each simulated under the trace: whole GPUs, the sum of peaks, and plans in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from planner.demand.traces import TraceRequest
from planner.demand.windows import TokenLengths, constant_demand
from planner.plan import Plan, State
from planner.schedule.phases import HOUR_S
from planner.schedule.timetable import Schedule
from planner.spec import Fleet, Workload
from planner.spec.fleet import FleetPool
from ullage.planning.plan import plan_fleet
from ullage.planning.scheduling import ScheduleOptions, plan_schedule
from ullage.traffic.requests import tagged
from ullage.traffic.simulate import simulated


@dataclass(frozen=True, slots=True)
class ConsolidationStep:
    """A way of serving: GPUs in the mean over time and at most, and the part of all requests that met both goals."""

    name: str
    gpus_mean: float
    gpus_most: int
    attainment_fraction: float


def other_ways(
    fleet: Fleet, requests: Sequence[TraceRequest], *, verify: bool, seed: int, shortest_s: float
) -> Iterator[ConsolidationStep]:
    """Whole GPUs, sharing sized on the sum of peaks, sleepers on owned GPUs, and rented GPUs planned again for each phase."""
    peaks = fleet.model_copy(update={"workloads": tuple(_at_peak(item) for item in fleet.workloads)})
    exclusive = peaks.model_copy(update={"pools": tuple(pool.model_copy(update={"sharing": ("exclusive",)}) for pool in fleet.pools)})
    for name, changed in (("exclusive", exclusive), ("sum_of_peaks", peaks)):
        yield whole(name, plan_fleet(changed, State(), verify=verify).plan, requests, seed)
    sleepy = _sleepy(fleet)
    rented = sleepy.model_copy(update={"pools": tuple(_rented(pool) for pool in fleet.pools)})
    for name, changed in (("sleepers", sleepy), ("rented", rented)):
        made = plan_schedule(changed, State(), ScheduleOptions(verify=verify, shortest_s=shortest_s))
        plans = [made.plans[phase.plan] for phase in made.schedule.phases]
        yield _in_phases(name, made.schedule, plans, requests, seed)


def whole(name: str, plan: Plan, requests: Sequence[TraceRequest], seed: int) -> ConsolidationStep:
    """One plan at all times."""
    total = simulated(plan, tagged(plan, requests, {}), seed=seed).summary.total
    return ConsolidationStep(name, float(plan.desired.gpus_used), plan.desired.gpus_used, total.attained / max(1, total.requests))


def _in_phases(name: str, schedule: Schedule, plans: Sequence[Plan], requests: Sequence[TraceRequest], seed: int) -> ConsolidationStep:
    """Each stretch of a phase is simulated by itself; requests for a model that is not ready there, or not yet, missed their goals."""
    attained, hours, gpu_hours = 0, 0.0, 0.0
    for phase, plan in zip(schedule.phases, plans, strict=True):
        ready = {row.name for row in plan.desired.workloads}
        late_s = {row.name: phase.late_s.get(row.served_name, 0.0) for row in plan.desired.workloads}
        for time in phase.times:
            last = time.end_s >= schedule.end_s
            here = [item for item in requests if time.start_s <= item.arrival_s and (last or item.arrival_s < time.end_s)]
            served = [
                replace(item, arrival_s=item.arrival_s - time.start_s)
                for item in here
                if item.tenant in ready and item.arrival_s - time.start_s >= late_s[item.tenant]
            ]
            if served:
                attained += simulated(plan, tagged(plan, served, {}), seed=seed).summary.total.attained
            hours += (time.end_s - time.start_s) / HOUR_S
            gpu_hours += phase.gpus * (time.end_s - time.start_s) / HOUR_S
    return ConsolidationStep(name, gpu_hours / hours, max(phase.gpus for phase in schedule.phases), attained / max(1, len(requests)))


def _at_peak(workload: Workload) -> Workload:
    """Its largest rate at all times, with the longest requests and the worst bursts that any window has."""
    windows = [window for window in workload.demand.windows if window.rate_rps > 0]
    inputs, outputs = (_longest([getattr(window, part) for window in windows]) for part in ("input", "output"))
    constant = constant_demand(workload.demand.peak_rps, inputs, outputs)
    busiest = max(windows, key=lambda window: window.rate_rps)
    window = constant.windows[0].model_copy(update={"burstiness": busiest.burstiness})
    return workload.model_copy(update={"demand": constant.model_copy(update={"windows": (window,)})})


def _longest(lengths: Sequence[TokenLengths]) -> TokenLengths:
    return TokenLengths(**{name: max(getattr(item, name) for item in lengths) for name in TokenLengths.model_fields})


def _sleepy(fleet: Fleet) -> Fleet:
    """All models may sleep."""
    models = {model.name: model.model_copy(update={"sleep": True}) for model in fleet.models}
    workloads = tuple(item.model_copy(update={"model": models[item.model.name]}) for item in fleet.workloads)
    return fleet.model_copy(update={"models": tuple(models.values()), "workloads": workloads})


def _rented(pool: FleetPool) -> FleetPool:
    """As many GPUs on nodes of one, each rented by the hour and there after five minutes."""
    count = pool.nodes * pool.gpus_per_node
    return pool.model_copy(
        update={
            "nodes": count,
            "max_nodes": count,
            "min_nodes": 0,
            "gpus_per_node": 1,
            "block_sizes": (1,),
            "ownership": "rentable",
            "hosts": ("127.0.0.1",) * count,
            "host_cores": pool.host_cores // pool.gpus_per_node,
            "host_memory_mib": pool.host_memory_mib // pool.gpus_per_node,
            "start_time_s": 300.0,
        }
    )
