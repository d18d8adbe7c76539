"""From a trace to the requests of a plan's workloads: which stretch, how often repeated, which tenant is which workload."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from planner.demand.traces import MAX_TOKENS, TraceRequest, busiest, repeat_rate
from planner.plan import Plan, PlannedWindow, WorkloadForecast
from planner.simulation.offered_load import OfferedLoad, offered_requests
from planner.simulation.plan_input import tenants, told_apart, workload_priorities, workload_requests
from planner.simulation.simulation_input import SimulatedRequest
from planner.spec.nearest import nearest
from planner.verification.plan_judge import mix_of

NO_SCALE: Mapping[str, float] = MappingProxyType({})


class TrafficError(ValueError):
    """A trace that does not fit the plan; the message names the tenants and the workloads."""


def window_of(
    requests: Sequence[TraceRequest], seconds: float | None, start_s: float | None, k: int
) -> tuple[tuple[TraceRequest, ...], float]:
    """The requests of a stretch, arrivals counted from its start and repeated k times, and its length in seconds.

    seconds None is the whole trace; start_s None is the busiest stretch of that length.
    """
    if seconds is not None and math.isinf(seconds):
        raise TrafficError("a stretch of inf s has no end; give its length in seconds")
    if seconds is None:
        begin_s = start_s or 0.0
        # a stretch excludes its end: the next larger number keeps the last request inside
        seconds = max(math.nextafter(requests[-1].arrival_s - begin_s, math.inf), 1.0)
    else:
        begin_s = busiest(requests, seconds) if start_s is None else start_s
    inside = [replace(item, arrival_s=item.arrival_s - begin_s) for item in requests if 0.0 <= item.arrival_s - begin_s < seconds]
    if not inside:
        raise TrafficError(
            f"the trace has no request between {begin_s:g} s and {begin_s + seconds:g} s; it ends at {requests[-1].arrival_s:g} s"
        )
    return repeat_rate(inside, k, seconds), seconds


def declared_requests(
    plan: Plan, seconds: float, k: int, seed: int, scale: Mapping[str, float] = NO_SCALE, window: int | None = None
) -> tuple[SimulatedRequest, ...]:
    """Requests at k times the rates that the plan was made for, of seconds in all; where it has windows, of an equal part in each.

    window: of that one alone, for the whole time. scale multiplies the rates of workloads, by their name or the model's. Raises
    TrafficError when that is no request at all, or for a name or factor that cannot be.
    """
    _check_scale(plan, scale)
    windows = plan.desired.windows if window is None else plan.desired.windows[window : window + 1]
    part_s = seconds / max(1, len(windows))
    found: list[SimulatedRequest] = []
    for index in range(max(1, len(windows))):
        now = windows[index] if windows else None
        loads = [_load(plan, workload, now, k * _factor(workload, scale)) for workload in plan.desired.workloads]
        inside = told_apart(plan, offered_requests(loads, part_s, seed + index))
        found.extend(replace(request, arrival_s=request.arrival_s + index * part_s) for request in inside)
    if not found:
        raise TrafficError(f"at the declared rates no request arrives within {seconds:g} s; give a longer --seconds")
    return tuple(sorted(found, key=lambda request: request.arrival_s))


def _check_scale(plan: Plan, scale: Mapping[str, float]) -> None:
    known = {name for row in plan.desired.workloads for name in (row.name, row.served_name)}
    if not isinstance(scale, Mapping):
        raise TrafficError(f"scale is {scale!r:.60}; give factors by workload or model, for example {{'chat': 2}}")
    for name, factor in scale.items():
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close!r}? " if close else ""
            raise TrafficError(f"{name!r} is not a workload, nor a model that one asks for; {hint}the plan has {_some(sorted(known))}")
        shown = f"{factor:g}" if hasattr(factor, "__float__") else repr(factor)
        if not hasattr(factor, "__float__") or not 0 <= factor < math.inf:
            raise TrafficError(f"{name}: the factor {shown} must be a finite number that is not negative")


def _factor(workload: WorkloadForecast, scale: Mapping[str, float]) -> float:
    return scale.get(workload.name, scale.get(workload.served_name, 1.0))


def _load(plan: Plan, workload: WorkloadForecast, window: PlannedWindow | None, k: float) -> OfferedLoad:
    """What a workload asks for in a window: its part of its model's rate there.

    A plan does not say which of a model's workloads ask in which window. Their rates are their peaks; where these do not meet, each gets
    so much less that all together ask for what the model was planned for.
    """
    name = workload.served_name
    rows = [item for item in plan.desired.workloads if item.served_name == name]
    peaks_rps = sum(item.rate_rps for item in rows)
    if window is not None:
        peak_rps = max(item.rates_rps.get(name, 0.0) for item in plan.desired.windows)
        part = window.rates_rps.get(name, 0.0) / max(peak_rps, peaks_rps) if peaks_rps else 0.0
    else:
        planned_rps = sum(item.planned_rps for item in plan.desired.replicas if item.served_name == name)
        part = min(1.0, planned_rps / peaks_rps) if peaks_rps and not any(item.unserved_rps for item in rows) else 1.0
    longest = [replica.args.max_model_len for replica in plan.desired.replicas if replica.served_name == name]
    # without a replica nobody takes it: any length will do
    priority = workload_priorities(plan.desired).get(workload.name, 0)
    return OfferedLoad(workload.name, name, workload.rate_rps * part * k, mix_of(workload), max(longest, default=MAX_TOKENS), priority)


def tagged(plan: Plan, requests: Sequence[TraceRequest], mapping: Mapping[str, str]) -> tuple[SimulatedRequest, ...]:
    """Requests with their workload: the one mapping names for the tenant, else the one called like it, else the plan's only one."""
    served = tenants(plan)
    only = next(iter(served)) if len(served) == 1 else None
    unknown = sorted(set(mapping.values()) - set(served))
    if unknown:
        raise TrafficError(f"--map names workloads that the plan does not have: {', '.join(unknown)}; it has {_some(sorted(served))}")
    workload_of = {tenant: mapping.get(tenant, tenant if tenant in served else only) for tenant in {item.tenant for item in requests}}
    lost = sorted(tenant for tenant, workload in workload_of.items() if workload is None)
    if lost:
        raise TrafficError(
            f"no workload is named like these tenants of the trace: {_some(lost)}; the plan has {_some(sorted(served))}. "
            "Name the workloads like the tenants or give --map TENANT=WORKLOAD"
        )
    named = (replace(item, tenant=workload) for item in requests if (workload := workload_of[item.tenant]) is not None)
    return workload_requests(plan, named)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name or "(no tenant)" for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
