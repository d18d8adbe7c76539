"""From counts to names: the desired world of a plan, with ledgers, routes and forecasts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from planner.assembly.naming import Seat, name_seats, seat_of
from planner.plan import (
    ALL_THREADS,
    Ledger,
    LongPrompts,
    MigPlace,
    NodePlan,
    Replica,
    ReplicaForecast,
    RouterPlan,
    State,
    may_be_neighbours,
)
from planner.plan.local_paths import is_local
from planner.problem import Placed
from planner.sizing.candidates import MIB, Candidate
from planner.sizing.engine_args import engine_args, gpu_mode
from planner.sizing.groups import ServiceGroup
from planner.sizing.kv_targets import floor_bytes
from planner.sleep_costs import slow_link_gb_per_s
from profiles.latency.capacity import LoadForecast
from profiles.memory.caveats import caveats
from profiles.memory.kv import has_cache, kv_pool_tokens
from profiles.memory.lifecycle import start_s


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where the nodes of the plan are and which ports are ours."""

    nodes: Mapping[str, tuple[NodePlan, ...]]
    ports: range
    router: RouterPlan


def build_replicas(
    candidates: Sequence[Candidate], placed: Sequence[Placed], hosts: Hosts, state: State, quantile: float
) -> tuple[Replica, ...]:
    """Named replicas with ports, engine arguments and forecasts, sorted by name; candidates are those of the places."""
    seats = [_seat(candidate, item, hosts) for candidate, item in zip(candidates, placed, strict=True)]
    anew = frozenset(_beside(candidates, seats, state))
    names = name_seats(seats, state, hosts.ports, (hosts.router.port, hosts.router.admin_port), anew)
    total_rps: defaultdict[str, float] = defaultdict(float)
    for candidate in candidates:
        total_rps[candidate.group.name] += candidate.capacity_rps
    replicas = []
    for candidate, seat, (name, port) in zip(candidates, seats, names, strict=True):
        group = candidate.group
        served_rps = min(group.peak_rps, total_rps[group.name])
        planned_rps = served_rps * candidate.capacity_rps / total_rps[group.name]
        replicas.append(_replica(candidate, seat, name, port, planned_rps, quantile))
    return tuple(sorted(replicas, key=lambda replica: replica.name))


def _beside(candidates: Sequence[Candidate], seats: Sequence[Seat], state: State) -> Iterator[Seat]:
    """Seats where another engine runs than is wanted, and the one that is wanted has room to start beside it."""
    running = {seat_of(replica): replica for replica in state.replicas}
    used_mib: Counter[tuple[str, int]] = Counter()
    used_threads: Counter[tuple[str, int]] = Counter()
    for replica in state.replicas:
        used_mib.update({(replica.node, gpu): replica.ledger.total_mib for gpu in replica.gpus})
        used_threads.update({(replica.node, gpu): replica.threads for gpu in replica.gpus})
    for candidate, seat in zip(candidates, seats, strict=True):
        now = running.get(seat)
        if now is None or not may_be_neighbours([now.mode, gpu_mode(candidate)]):
            continue
        same = (now.engine_version, now.args) == (candidate.settings.engine_version, engine_args(candidate, seat.host, now.args.port))
        need_mib = max(candidate.ledger.total_mib, candidate.ledger.start_peak_mib)
        threads = candidate.settings.active_thread_percentage if candidate.mode == "mps" else 0
        if not same and all(
            used_mib[seat.node, gpu] + need_mib <= candidate.site.memory_mib(None) and used_threads[seat.node, gpu] + threads <= ALL_THREADS
            for gpu in seat.gpus
        ):
            yield seat


def _kv_fraction(candidate: Candidate, kv_tokens: float) -> float:
    """The part of a replica's KV pool that holds so many tokens; 0 without a pool."""
    architecture = candidate.group.model.architecture
    if not has_cache(architecture):
        return 0.0
    return min(1.0, kv_tokens / kv_pool_tokens(architecture, candidate.settings, candidate.kv_bytes))


def _seat(candidate: Candidate, item: Placed, hosts: Hosts) -> Seat:
    node = hosts.nodes[candidate.site.pool][item.node]
    mig = None
    if candidate.mig is not None and item.mig_start is not None:
        mig = MigPlace(profile=candidate.mig.name, start=item.mig_start)
    return Seat(candidate.group.name, node.name, node.host, item.gpus, mig)


def _replica(candidate: Candidate, seat: Seat, name: str, port: int, planned_rps: float, quantile: float) -> Replica:
    group = candidate.group
    load = candidate.forecast(planned_rps, quantile)
    if load is None:
        raise AssertionError(f"{name}: no forecast at {planned_rps} requests/s although its capacity is {candidate.capacity_rps}")
    return Replica(
        name=name,
        served_name=group.name,
        # two folders of one name are two models: a local one is named by its whole path
        catalogue_model=group.model.engine_model if is_local(group.model.engine_model) else group.model.architecture.name,
        pool=candidate.site.pool,
        node=seat.node,
        host=seat.host,
        gpus=seat.gpus,
        mig=seat.mig,
        mode=gpu_mode(candidate),
        max_residents=candidate.limit.max_residents,
        active_limit=candidate.limit.active_limit,
        active_at_worst=candidate.active_at_worst,
        engine_version=candidate.settings.engine_version,
        args=engine_args(candidate, seat.host, port),
        kv_floor_mib=-(-floor_bytes(candidate, planned_rps) // MIB),
        ledger=_ledger(candidate),
        capacity_rps=candidate.capacity_rps,
        planned_rps=planned_rps,
        # what is sized with less room may have no steady state beside neighbours at their worst
        forecast=_forecast(candidate, load, candidate.expected(planned_rps, quantile) or load),
        start_s=start_s(group.model.architecture, candidate.site.gpu, candidate.settings),
        longer_of=_longer_of(group),
        priorities=group.priorities,
        apart=group.apart,
        slow_link_gb_per_s=slow_link_gb_per_s(candidate.site.gpu) if group.model.sleep else None,
    )


def _longer_of(group: ServiceGroup) -> LongPrompts | None:
    rule = group.longer_of
    if rule is None:
        return None
    return LongPrompts(
        served_name=rule.served_name, over_tokens=rule.over_tokens, bytes_per_token=rule.bytes_per_token, over_bytes=rule.over_bytes
    )


def _ledger(candidate: Candidate) -> Ledger:
    ledger = candidate.ledger
    return Ledger(
        weights_mib=ledger.weights_mib,
        activation_mib=ledger.activation_mib,
        cuda_graphs_mib=ledger.cuda_graphs_mib,
        context_mib=ledger.context_mib,
        kv_mib=ledger.kv_mib,
        total_mib=ledger.total_mib,
        start_peak_mib=ledger.start_peak_mib,
        caveats=caveats(candidate.group.model.architecture, candidate.site.gpu, candidate.settings),
    )


def _forecast(candidate: Candidate, load: LoadForecast, expected: LoadForecast) -> ReplicaForecast:
    """Load as it is sized for, latencies as they are expected."""
    return ReplicaForecast(
        ttft_s=expected.ttft_s,
        tpot_s=expected.tpot_s,
        busy_fraction=load.busy_fraction,
        running_requests=load.running_requests,
        kv_fraction=_kv_fraction(candidate, load.kv_tokens),
        active_fractions=tuple(active_permille / 1000 for active_permille in candidate.active_permille),
        provenance=candidate.step.provenance,
        ttft_by_class_s=expected.ttft_by_class_s,
        bandwidth_fraction=candidate.bandwidth_fraction,
    )
