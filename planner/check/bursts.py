"""The playbook for bursts: who is refused may be, what that frees is what the plan has there, and who wakes has room."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

from planner.check.burst_moves import move_problems
from planner.plan import Burst, BurstStep, Desired, WorkloadForecast

# Sums of rates of replicas are rounded where they are written.
_TOLERANCE = 1e-6


def burst_problems(desired: Desired) -> Iterator[str]:
    """What is wrong with the playbook."""
    workloads = {workload.name: workload for workload in desired.workloads}
    seen: set[tuple[str, float]] = set()
    for item in desired.playbook:
        where = f"playbook, {item.workload} x{item.load_factor:g}"
        if (item.workload, item.load_factor) in seen:
            yield f"{where}: stands twice"
        seen.add((item.workload, item.load_factor))
        own = workloads.get(item.workload)
        if own is None:
            yield f"{where}: there is no such workload in the plan"
            continue
        yield from (f"{where}: {problem}" for problem in _burst_problems(desired, item, own, workloads))


def _burst_problems(desired: Desired, item: Burst, own: WorkloadForecast, workloads: dict[str, WorkloadForecast]) -> Iterator[str]:
    goal_fraction = desired.risk.attainment_fraction
    refusals = [name for step in item.steps for name in step.refuses]
    if len(set(refusals)) < len(refusals):
        yield "a workload is refused in two steps"
    if item.steps and item.attainment_fraction >= goal_fraction:
        yield f"has steps, and keeps {item.attainment_fraction:.2%} of its goals without them"
    if (item.last_fraction >= goal_fraction) != (item.kept_load_factor >= item.load_factor) or item.kept_load_factor > item.load_factor:
        yield f"keeps {item.last_fraction:.2%} of its goals at the end, and its kept factor is {item.kept_load_factor:g}"
    for step in item.steps:
        if step.kind != "throttle":
            continue
        other = workloads.get(step.workload)
        if other is None:
            yield f"refuses {step.workload}, which is no workload of the plan"
            continue
        yield from _step_problems(desired, step, own, other)
    yield from move_problems(desired, item, own)
    yield from _late_problems(item, workloads)


def _late_problems(item: Burst, workloads: dict[str, WorkloadForecast]) -> Iterator[str]:
    """Only others that are served then can be late, and with no more than they have."""
    refused: set[str] = set()
    for late_rps, names in ((item.late_rps, ()), *((step.late_rps, step.refuses) for step in item.steps)):
        refused |= {*names}
        for other_name, rate_rps in late_rps.items():
            known = workloads.get(other_name)
            if known is None or other_name == item.workload or other_name in refused:
                yield f"says that {other_name} is late, which is no other workload that is served then"
            elif rate_rps > known.rate_rps * (1 + _TOLERANCE):
                yield f"says that {rate_rps:g} requests/s of {other_name} are late, and it has {known.rate_rps:g}"


def _step_problems(desired: Desired, step: BurstStep, own: WorkloadForecast, other: WorkloadForecast) -> Iterator[str]:
    """Only who is less urgent, not protected and on the same GPUs is refused, with all that its replicas there have."""
    if other.priority >= own.priority:
        yield f"refuses {other.name} of priority {other.priority}, which is not below {own.priority}"
    if other.served_name in desired.rules.disruption_budget.protected:
        yield f"refuses {other.name}, which policy.disruption_budget protects"
    served_rps = other.rate_rps - other.unserved_rps
    if not isclose(step.refused_rps, served_rps, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
        yield f"refuses {step.refused_rps:g} requests/s of {other.name}, which gets {served_rps:g}"
    model_rps = sum(workload.rate_rps for workload in desired.workloads if workload.served_name == other.served_name)
    part = other.rate_rps / model_rps if model_rps else 0.0
    seats = {(item.node, gpu, item.mig) for item in desired.replicas if item.served_name == own.served_name for gpu in item.gpus}
    there = {
        item.name: item
        for item in desired.replicas
        if item.served_name == other.served_name and any((item.node, gpu, item.mig) in seats for gpu in item.gpus)
    }
    if not there or sorted(there) != sorted(freed.replica for freed in step.frees):
        said = ", ".join(freed.replica for freed in step.frees) or "nothing"
        yield f"by refusing {other.name} frees {said}; its replicas there are {', '.join(sorted(there)) or 'none'}"
        return
    for freed in step.frees:
        replica = there[freed.replica]
        for what, said_number, has in (
            ("requests/s", freed.rate_rps, replica.planned_rps * part),
            ("of its time", freed.busy_fraction, replica.forecast.busy_fraction * part),
        ):
            if not isclose(said_number, has, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
                yield f"frees {said_number:g} {what} of {freed.replica}, which has {has:g} of {other.name}"
