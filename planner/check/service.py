"""Routes and goals: every replica takes its part of the traffic and can carry it; what is not served says why."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from planner.plan import Desired, Replica, Route, WorkloadForecast, ttft_s_of

# Forecasts are floats; a goal counts as met within one part in a million.
RELATIVE_TOLERANCE = 1e-6

# Demand and capacities are counted in whole micro-requests/s, each rounded by up to one.
MICRO_RPS = 1e-6

# Weights of a route are thousandths, of as many thousands as there are begun hundreds of replicas.
THOUSAND, HUNDRED = 1000, 100


def service_problems(desired: Desired) -> Iterator[str]:
    """What is wrong with routes, loads and goals."""
    yield from _routes(desired)
    by_served: defaultdict[str, list[Replica]] = defaultdict(list)
    asleep = {item.name for item in desired.asleep}
    for replica in desired.replicas:
        # those that sleep serve nobody
        if replica.name not in asleep:
            by_served[replica.served_name].append(replica)
        if replica.planned_rps > replica.capacity_rps * (1 + RELATIVE_TOLERANCE):
            yield f"replica {replica.name}: planned {replica.planned_rps:.4g} requests/s, capacity {replica.capacity_rps:.4g}"
    yield from _windows(desired, by_served)
    routed = {route.served_name for route in desired.routes}
    for workload in desired.workloads:
        if workload.served_name not in routed:
            yield f"workload {workload.name}: no route is named {workload.served_name}, so its clients would get a 404 and not a 503"
        yield from _goals(workload, by_served[workload.served_name])
        yield from _simulated(workload, desired.risk.attainment_fraction)


def _windows(desired: Desired, by_served: Mapping[str, Sequence[Replica]]) -> Iterator[str]:
    """Windows in which workloads are planned together: every replica says what it does in each, and nobody's peak is left out."""
    for replica in desired.replicas:
        if len(replica.forecast.active_fractions) != max(1, len(desired.windows)):
            yield (
                f"replica {replica.name}: has forecasts of {len(replica.forecast.active_fractions)} windows, "
                f"the plan has {max(1, len(desired.windows))}"
            )
    for served_name in sorted({workload.served_name for workload in desired.workloads}) if desired.windows else ():
        rates_rps = [window.rates_rps.get(served_name, 0.0) for window in desired.windows]
        planned_rps = sum(replica.planned_rps for replica in by_served.get(served_name, ()))
        if planned_rps > max(rates_rps) * (1 + RELATIVE_TOLERANCE) + MICRO_RPS:
            yield f"{served_name}: {planned_rps:.4g} requests/s are planned, no window has more than {max(rates_rps):.4g}"
        for replica in by_served.get(served_name, ()):
            for window, (rate_rps, fraction) in enumerate(zip(rates_rps, replica.forecast.active_fractions, strict=False)):
                if rate_rps > 0 and not fraction:
                    yield f"replica {replica.name}: never active in window {window}, which has {rate_rps:.4g} requests/s of {served_name}"


def _routes(desired: Desired) -> Iterator[str]:
    replicas = {replica.name: replica for replica in desired.replicas}
    routed: Counter[str] = Counter()
    for name, times in sorted(Counter(route.served_name for route in desired.routes).items()):
        if times > 1:
            yield f"route {name} is listed {times} times"
    for route in desired.routes:
        yield from _route(route, replicas)
        routed.update(backend.replica for backend in route.backends)
    asleep = {item.name for item in desired.asleep}
    for name, replica in replicas.items():
        must = 0 if name in asleep else len(replica.args.names)
        if routed[name] != must:
            why = "it sleeps" if name in asleep else "one for each name it serves"
            yield f"replica {name} takes part in {routed[name]} routes, it must be {must}: {why}"


def weight_problems(route: Route) -> Iterator[str]:
    """What is wrong with the weights of a route, wherever it stands."""
    where = f"route {route.served_name}"
    total = sum(backend.weight for backend in route.backends)
    wanted = THOUSAND * max(1, math.ceil(len(route.backends) / HUNDRED))
    if total != wanted:
        yield f"{where}: weights sum to {total}, not {wanted}"
    for name, times in sorted(Counter(backend.replica for backend in route.backends).items()):
        if times > 1:
            yield f"{where}: backend {name} is listed {times} times"


def _route(route: Route, replicas: Mapping[str, Replica]) -> Iterator[str]:
    where = f"route {route.served_name}"
    # without a backend it keeps a name known that no replica serves; one that serves it would be missed above
    yield from weight_problems(route) if route.backends else ()
    for backend in route.backends:
        replica = replicas.get(backend.replica)
        if replica is None:
            yield f"{where}: backend {backend.replica} is not a replica of the plan"
        elif route.served_name not in replica.args.names or (replica.host, replica.args.port) != (backend.host, backend.port):
            yield f"{where}: backend {backend.replica} is {replica.served_name} at {replica.host}:{replica.args.port}"


def _seconds(value_s: float | None) -> str:
    return "nothing" if value_s is None else f"{value_s:.4f} s"


def _simulated(workload: WorkloadForecast, goal_fraction: float) -> Iterator[str]:
    """What is simulated counts for more than the forecast, which is on the safe side; what it denies is not promised."""
    denied = [item for item in workload.simulated if item.high_fraction < goal_fraction]
    if denied and not workload.best_effort:
        yield (
            f"workload {workload.name}: {denied[0].fraction:.2%} of its requests meet their goals under {denied[0].stress}, not "
            f"{goal_fraction:.2%}, and it is not marked best_effort"
        )
    if workload.best_effort and not denied:
        yield f"workload {workload.name}: is marked best_effort, though no simulation denies its goals"
    for item in workload.simulated:
        if not item.low_fraction <= item.fraction <= item.high_fraction:
            interval = f"{item.low_fraction:.4f} to {item.high_fraction:.4f}"
            yield f"workload {workload.name}: an attainment of {item.fraction:.4f} is not within its interval of {interval}"


def _goals(workload: WorkloadForecast, replicas: Sequence[Replica]) -> Iterator[str]:
    """Each replica, at its planned rate, meets the tightest SLO among the workloads it serves, unless a simulation says so of it."""
    where = f"workload {workload.name}"
    for name, said_s, seen_s in (
        ("ttft_s", workload.ttft_s, [ttft_s_of(workload.name, replica) for replica in replicas]),
        ("tpot_s", workload.tpot_s, [replica.forecast.tpot_s for replica in replicas]),
    ):
        if said_s != max(seen_s, default=None):
            yield f"{where}: {name} says {_seconds(said_s)}, the slowest of its replicas {_seconds(max(seen_s, default=None))}"
    if workload.unserved_rps > workload.rate_rps * (1 + RELATIVE_TOLERANCE) + MICRO_RPS:
        yield f"{where}: {workload.unserved_rps:.4g} of {workload.rate_rps:.4g} requests/s count as unserved"
    for replica in replicas:
        for goal, is_s, slo_s in (
            ("TTFT", ttft_s_of(workload.name, replica), workload.ttft_slo_s),
            ("TPOT", replica.forecast.tpot_s, workload.tpot_slo_s),
        ):
            if slo_s is not None and is_s > slo_s * (1 + RELATIVE_TOLERANCE) and not workload.simulated:
                yield f"{where}: {goal} forecast {is_s:.4f} s on {replica.name} misses the goal of {slo_s:.4f} s"
    served_rps = workload.rate_rps - workload.unserved_rps
    planned_rps = sum(replica.planned_rps for replica in replicas)
    rounding_rps = workload.rate_rps * RELATIVE_TOLERANCE + MICRO_RPS * (1 + len(replicas))
    if served_rps > planned_rps + rounding_rps:
        yield (
            f"{where}: {served_rps:.4g} requests/s count as served, its {len(replicas)} replicas are planned for {planned_rps:.4g}, "
            f"and only {workload.unserved_rps:.4g} requests/s count as unserved"
        )
    if workload.unserved_rps > 0 and not workload.unserved_reason:
        yield f"{where}: {workload.unserved_rps:.4g} requests/s are unserved without a reason"
