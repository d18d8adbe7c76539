"""The plan of a fleet file under the requests of a trace, for benchmarks.sizing: attainment under stress, and where it breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from planner.plan import Plan, State
from planner.simulation.plan_input import planned_world, workload_slos
from planner.simulation.simulation_input import SimulatedRequest
from planner.simulation.traffic_metrics import Summary, WorkloadRow, summarise
from planner.simulation.virtual_time import simulate
from planner.spec.workloads import CLASS_DEFAULTS
from planner.verification import INTERFERENCE, NOMINAL, SLOW, FactorSearch, Stress, largest_factor
from profiles.catalogue import builtin
from profiles.store.measurements import Measurements
from ullage.checking import architecture_of
from ullage.inputs import read_fleet, read_trace
from ullage.planning.plan import plan_fleet
from ullage.traffic.requests import tagged, window_of
from ullage.traffic.simulate import under

ATTAINMENT_FRACTION = 0.99
# By how much what is believed of rates and of step times may be off.
OFF_BY = (1.3, 1.5)
# The trace played so many times as fast is soon too short to show anything.
_SEARCH = FactorSearch(lowest_factor=1 / 8, highest_factor=8.0)


def plan_figures(fleet_file: Path, trace: Path, repeat_rate: int, seed: int) -> dict[str, Any]:
    """Plan the fleet and judge the plan; prints a line per stress.

    At a load factor x the trace is played x times as fast. The plan breaks where less than 99 % of all requests meet their goals under slow
    steps or interference 1.3; `every` asks the same of each workload. attainment_when_off: what is kept, class by class, when rates or step
    times are other than believed. Raises ValueError or OSError for files that are not what they should
    be.
    """
    begun_s = perf_counter()
    fleet = read_fleet(fleet_file)
    requests, _ = window_of(read_trace(trace), None, None, repeat_rate)
    planned = plan_fleet(fleet, State(), verify=True)
    offered = tagged(planned.plan, requests, {})
    held: dict[tuple[float, Stress], Summary] = {}

    def run(factor: float, stress: Stress) -> Summary:
        if (factor, stress) not in held:
            held[factor, stress] = under(planned.plan, faster(offered, factor), stress, seed=seed, measurements=fleet.measurements)
        return held[factor, stress]

    def kept(rows: Sequence[WorkloadRow]) -> bool:
        return all(row.attained >= ATTAINMENT_FRACTION * row.requests for row in rows)

    attainment = {stress.name: _attainment(run(1.0, stress)) for stress in (NOMINAL, SLOW, INTERFERENCE)}
    for name, item in attainment.items():
        print(f"{name}: {_shown(item)}", flush=True)
    stressed = (INTERFERENCE, SLOW)
    wrong = {f"rates {factor:g} times as high": run(factor, NOMINAL) for factor in OFF_BY}
    wrong |= {
        f"steps {factor:g} times as long": _with_longer_steps(planned.plan, offered, factor, seed, fleet.measurements) for factor in OFF_BY
    }
    off = {name: _by_class(planned.plan, summary) for name, summary in wrong.items()}
    for name, classes in off.items():
        print(f"{name}: " + ", ".join(f"{latency_class} {fraction:.4f}" for latency_class, fraction in classes.items()), flush=True)
    in_all = largest_factor(lambda factor: all(kept([run(factor, stress).total]) for stress in stressed), _SEARCH)
    every = largest_factor(lambda factor: all(kept(run(factor, stress).workloads) for stress in stressed), _SEARCH)
    desired = planned.plan.desired
    return {
        "cost_usd_per_h": desired.cost_usd_per_h,
        "gpus": desired.gpus_used,
        "unserved_rps": sum(workload.unserved_rps for workload in desired.workloads),
        "requests": len(offered),
        "attainment": attainment,
        "attainment_when_off": off,
        "breaking_factor": round(in_all.factor, 3),
        "breaking_factor_every": round(every.factor, 3),
        "plan_s": round(planned.solve_s, 3),
        "seconds": round(perf_counter() - begun_s, 1),
    }


def _with_longer_steps(plan: Plan, requests: Sequence[SimulatedRequest], factor: float, seed: int, measurements: Measurements) -> Summary:
    """The same plan on engines whose steps take longer than the profiles say."""
    world = planned_world(plan, builtin().gpu, architecture_of, measurements)
    engines = [replace(engine, step_time=engine.step_time.slower(factor)) for engine in world.engines]
    return summarise(simulate(engines, world.gpus, requests, world.routes, seed=seed).records, workload_slos(plan))


def _by_class(plan: Plan, summary: Summary) -> dict[str, float]:
    """The share of requests that met their goals, per latency class in order of urgency."""
    classes = {workload.name: workload.latency_class for workload in plan.desired.workloads}
    found = {}
    for latency_class in CLASS_DEFAULTS:
        rows = [row for row in summary.workloads if row.requests and classes[row.workload] == latency_class]
        if rows:
            found[str(latency_class)] = round(sum(row.attained for row in rows) / sum(row.requests for row in rows), 4)
    return found


def faster(requests: Sequence[SimulatedRequest], factor: float) -> tuple[SimulatedRequest, ...]:
    """The same requests, `factor` times as often."""
    return tuple(replace(request, arrival_s=request.arrival_s / factor) for request in requests)


def _attainment(summary: Summary) -> dict[str, Any]:
    """The share of all requests that met their goals with its 95 % interval, and the workload with the smallest share."""
    asked = [row for row in summary.workloads if row.requests]
    worst = min(asked, key=lambda row: row.attained / row.requests)
    return {
        "attainment_fraction": summary.total.attainment_fraction,
        "attainment_low_fraction": summary.total.attainment_low_fraction,
        "attainment_high_fraction": summary.total.attainment_high_fraction,
        "worst_workload": worst.workload,
        "worst_fraction": worst.attainment_fraction,
        "worst_requests": worst.requests,
    }


def _shown(attainment: Mapping[str, Any]) -> str:
    found = attainment
    interval = f"[{found['attainment_low_fraction']:.4f}, {found['attainment_high_fraction']:.4f}]"
    worst = f"worst {found['worst_workload']} {found['worst_fraction']:.4f} of {found['worst_requests']}"
    return f"{found['attainment_fraction']:.4f} {interval}, {worst}"
