"""What a burst of one workload does to all: simulated for as long as it lasts, without the playbook and with its steps."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from planner.plan import Burst, Desired, Plan
from planner.playbook.burst_judge import BurstJudge
from planner.playbook.burst_moves import moved, moves_of
from planner.playbook.burst_steps import burst
from planner.simulation.plan_input import PlannedWorld, planned_world, workload_slos
from planner.simulation.routing import by_length
from planner.simulation.simulation_input import Routes, SimulatedRequest
from planner.simulation.traffic_metrics import WorkloadRow, summarise
from planner.simulation.virtual_time import simulate
from planner.verification.plan_judge import busiest_window
from planner.verification.stress import stresses
from profiles.catalogue import builtin
from profiles.store.measurements import Measurements
from ullage.checking import FindArchitecture, architecture_of
from ullage.traffic.requests import TrafficError, declared_requests

_NOTHING = Measurements()

# The engines get their planned load for so long before the burst, so that it does not meet them empty.
_BEFORE_S = 60.0

# What one simulation takes in a minute or less.
_MOST_REQUESTS = 300_000


@dataclass(frozen=True, slots=True)
class BurstRow:
    """A workload while the burst lasts: its requests, and the part of them within its goals, without the playbook and with it.

    refused_requests are those that the playbook turns away; they count as missed. None where it has no request.
    """

    workload: str
    requests: int
    refused_requests: int
    without_fraction: float | None
    with_fraction: float | None


@dataclass(frozen=True, slots=True)
class BurstAnswer:
    """The entry of the playbook, whether it stands in the plan, and the rows, by workload; the worst of the plan's stresses."""

    burst: Burst
    in_plan: bool
    duration_s: float
    goal_fraction: float
    rows: tuple[BurstRow, ...]


def burst_answer(
    plan: Plan,
    workload: str,
    factor: float,
    duration_s: float,
    *,
    seed: int = 0,
    measurements: Measurements = _NOTHING,
    architecture: FindArchitecture = architecture_of,
) -> BurstAnswer:
    """The playbook's entry is made where the plan has none. ValueError for a workload that is not served, or for too many requests."""
    row = next((item for item in plan.desired.workloads if item.name == workload), None)
    if row is None or row.rate_rps <= row.unserved_rps:
        served = ", ".join(item.name for item in plan.desired.workloads if item.rate_rps > item.unserved_rps) or "none"
        raise ValueError(f"--burst {workload}: no workload of the plan that is served; those are: {served}")
    asked = sum(item.rate_rps * (factor if item is row else 1.0) for item in plan.desired.workloads) * (duration_s + _BEFORE_S)
    if asked > _MOST_REQUESTS:
        raise ValueError(f"--for: about {asked:.0f} requests would be simulated, more than {_MOST_REQUESTS}; give a shorter time")
    world = planned_world(plan, builtin().gpu, architecture, measurements)
    known = next((item for item in plan.desired.playbook if (item.workload, item.load_factor) == (workload, factor)), None)
    entry = known or burst(BurstJudge(plan.desired, world), row, factor)
    # the playbook's entry is for that window, too
    window = busiest_window(plan.desired, row.served_name) if plan.desired.windows else None
    try:
        before = declared_requests(plan, _BEFORE_S, 1, seed + 1, window=window)
    except TrafficError:
        # so few that none comes in a minute
        before = ()
    during = declared_requests(plan, duration_s, 1, seed, {workload: factor}, window)
    requests = [*before, *(replace(item, arrival_s=item.arrival_s + _BEFORE_S) for item in during)]
    without = _kept(plan, world, requests, seed)
    after = without
    if entry.steps:
        # who sleeps, stops and wakes does so from the start: what a replica has done before the burst does not change what it can do in it
        then = replace(world, routes=_routes(moved(plan.desired, moves_of(entry.steps))))
        after = _kept(plan, then, [item for item in requests if _is_served(item, entry.refused, then)], seed)
    rows = tuple(_row(name, during, entry.refused, without[name], after[name]) for name in sorted(after))
    return BurstAnswer(entry, known is not None, duration_s, plan.desired.risk.attainment_fraction, rows)


def _is_served(request: SimulatedRequest, refused: Set[str], then: PlannedWorld) -> bool:
    return request.workload not in refused or (request.arrival_s < _BEFORE_S and request.served_name in then.routes)


def _routes(desired: Desired) -> Routes:
    found = {route.served_name: tuple((item.replica, item.weight) for item in route.backends) for route in desired.routes}
    return {name: backends for name, backends in found.items() if backends}


def _kept(plan: Plan, world: PlannedWorld, requests: Sequence[SimulatedRequest], seed: int) -> dict[str, WorkloadRow]:
    """Each workload while the burst lasts, under the stress that is worst for it."""
    worst: dict[str, WorkloadRow] = {}
    for stress in stresses(2, plan.desired.risk):
        result = simulate(
            world.engines,
            world.gpus,
            by_length(requests, world.longer_over_tokens),
            world.routes,
            seed=seed,
            step_quantile=stress.step_quantile,
            interference_factor=stress.interference_factor,
        )
        records = [record for record in result.records if record.arrival_s >= _BEFORE_S]
        for found in summarise(records, workload_slos(plan)).workloads:
            if found.workload not in worst or found.attained < worst[found.workload].attained:
                worst[found.workload] = found
    return worst


def _row(name: str, during: Sequence[SimulatedRequest], refused: Set[str], before: WorkloadRow, after: WorkloadRow) -> BurstRow:
    count = sum(request.workload == name for request in during)
    kept_fraction = 0.0 if name in refused else after.attainment_fraction
    return BurstRow(name, count, count if name in refused else 0, before.attainment_fraction, kept_fraction if count else None)
