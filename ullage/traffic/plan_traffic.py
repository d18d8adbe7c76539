"""Which requests a plan is tried with: those of a trace, or those that were declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from planner.plan import Plan
from planner.simulation.simulation_input import SimulatedRequest
from ullage.inputs import read_trace
from ullage.traffic.requests import declared_requests, tagged, window_of

# Ten minutes of requests at the declared rates: enough for patient goals, short enough to wait for.
DECLARED_S = 600.0


@dataclass(frozen=True, slots=True)
class TraceUse:
    """The part of a trace that is used, and how: length_s None is all of it, start_s None where it is busiest.

    Every request is sent repeat_rate times, evenly shifted. workload_of names the workload of tenants that are called otherwise. scale
    multiplies declared rates, by workload or model; a trace says itself how many requests there are.
    """

    length_s: float | None = None
    start_s: float | None = None
    repeat_rate: int = 1
    workload_of: Mapping[str, str] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)


def trace_requests(plan: Plan, trace: Path, use: TraceUse) -> tuple[tuple[SimulatedRequest, ...], float]:
    """The requests of a trace for a plan's workloads, and the length of the stretch in seconds.

    Raises TraceError for a trace that is wrong, TrafficError for one that does not fit the plan.
    """
    requests, length_s = window_of(read_trace(trace), use.length_s, use.start_s, use.repeat_rate)
    return tagged(plan, requests, use.workload_of), length_s


def plan_requests(plan: Plan, trace: Path | None, use: TraceUse, seed: int) -> tuple[SimulatedRequest, ...]:
    """The requests of a trace; without one, requests at the declared rates, drawn from the seed, 600 s of them by default.

    Raises as trace_requests(), and ValueError where there is no trace and use says something about one.
    """
    if trace is not None:
        if use.scale:
            raise ValueError("--scale is about the declared demand; with a trace, --repeat-rate sends every request more often")
        return trace_requests(plan, trace, use)[0]
    if use.start_s is not None or use.workload_of:
        option = "--map" if use.workload_of else "--start"
        raise ValueError(f"{option} is about a trace, and none is given; add --trace, or leave it out")
    return declared_requests(plan, DECLARED_S if use.length_s is None else use.length_s, use.repeat_rate, seed, use.scale)
