"""From what runs to what is desired: the list of actions that plan prints and apply executes.

Order: replicas that fit beside everything that runs start first, then the router leaves those that go, they drain and
stop, GPUs change their MIG layout, the remaining replicas start, and the final routes are set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from planner.plan import (
    Action,
    Backend,
    Desired,
    Drain,
    GpuPlan,
    Repartition,
    Replica,
    Route,
    SetRoutes,
    Start,
    State,
    Stop,
)

TOTAL_WEIGHT = 1000


def diff(state: State, desired: Desired) -> tuple[Action, ...]:
    """Actions that turn a state into the desired world; empty when nothing differs."""
    before = {replica.name: replica for replica in state.replicas}
    after = {replica.name: replica for replica in desired.replicas}
    going = [replica for name, replica in sorted(before.items()) if not _same_engine(after.get(name), replica)]
    coming = [replica for name, replica in sorted(after.items()) if not _same_engine(before.get(name), replica)]
    repartitions = _repartitions(state, desired)
    early, late = _split_starts(state, desired, going, coming, {(item.node, item.gpu) for item in repartitions})
    actions: list[Action] = [_start(replica, before) for replica in early]
    gone = {replica.name for replica in going}
    if going:
        interim = _without(state.routes, gone)
        if interim != state.routes:
            actions.append(SetRoutes(routes=interim, reason="take replicas that go out of the router"))
    actions += [Drain(replica=replica.name, reason=_why_going(replica, after)) for replica in going]
    actions += [Stop(replica=replica.name, reason=_why_going(replica, after)) for replica in going]
    actions += repartitions
    actions += [_start(replica, before) for replica in late]
    routes_now = _without(state.routes, gone) if going else state.routes
    if routes_now != desired.routes or state.router != desired.router:
        actions.append(SetRoutes(routes=desired.routes, reason="route to the desired replicas"))
    return tuple(actions)


def routes_for(replicas: Sequence[Replica]) -> tuple[Route, ...]:
    """One route per served name, weights in proportion to planned rates and summing to 1000 exactly."""
    by_name: defaultdict[str, list[Replica]] = defaultdict(list)
    for replica in replicas:
        by_name[replica.served_name].append(replica)
    return tuple(
        Route(served_name=name, backends=_backends(sorted(by_name[name], key=lambda replica: replica.name))) for name in sorted(by_name)
    )


def _backends(replicas: Sequence[Replica]) -> tuple[Backend, ...]:
    weights = largest_remainder([replica.capacity_rps for replica in replicas], TOTAL_WEIGHT)
    return tuple(
        Backend(replica=replica.name, host=replica.host, port=replica.args.port, weight=weight)
        for replica, weight in zip(replicas, weights, strict=True)
    )


def largest_remainder(parts: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion to parts that sum to total; ties go to the earlier part.

    >>> largest_remainder([1.0, 1.0, 1.0], 1000)
    [334, 333, 333]
    """
    scale = total / sum(parts)
    floors = [int(part * scale) for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda i: (floors[i] - parts[i] * scale, i))
    for i in by_rest[: total - sum(floors)]:
        floors[i] += 1
    return floors


def _same_engine(one: Replica | None, other: Replica) -> bool:
    return one is not None and (one.args, one.node, one.host, one.gpus, one.mig, one.engine_version) == (
        other.args,
        other.node,
        other.host,
        other.gpus,
        other.mig,
        other.engine_version,
    )


def _why_going(replica: Replica, after: dict[str, Replica]) -> str:
    return "replaced by other engine arguments" if replica.name in after else "not in the plan"


def _start(replica: Replica, before: dict[str, Replica]) -> Start:
    reason = (
        "replaces the replica of this name" if replica.name in before else f"{replica.planned_rps:.3g} requests/s of {replica.served_name}"
    )
    return Start(replica=replica.name, node=replica.node, gpus=replica.gpus, reason=reason)


def _without(routes: Sequence[Route], gone: set[str]) -> tuple[Route, ...]:
    """Routes without some replicas; a route that would be left empty goes altogether (its clients get 404, not a hang)."""
    kept: list[Route] = []
    for route in routes:
        backends = [backend for backend in route.backends if backend.replica not in gone]
        if len(backends) == len(route.backends):
            kept.append(route)
        elif backends:
            weights = largest_remainder([float(backend.weight) for backend in backends], TOTAL_WEIGHT)
            kept.append(
                Route(
                    served_name=route.served_name,
                    backends=tuple(b.model_copy(update={"weight": w}) for b, w in zip(backends, weights, strict=True)),
                )
            )
    return tuple(kept)


def _repartitions(state: State, desired: Desired) -> list[Repartition]:
    before = {(gpu.node, gpu.index): gpu.mig_layout for gpu in state.gpus}
    return [
        Repartition(node=gpu.node, gpu=gpu.index, layout=gpu.mig_layout, reason=_layout_words(gpu))
        for gpu in desired.gpus
        if before.get((gpu.node, gpu.index), ()) != gpu.mig_layout
    ]


def _layout_words(gpu: GpuPlan) -> str:
    return " + ".join(f"{place.profile} at {place.start}" for place in gpu.mig_layout) or "MIG off"


def _split_starts(
    state: State, desired: Desired, going: Sequence[Replica], coming: Sequence[Replica], repartitioned: set[tuple[str, int]]
) -> tuple[list[Replica], list[Replica]]:
    """Those that fit beside everything that runs now (make before break), and those that must wait for room."""
    room_mib = {(gpu.node, gpu.index): gpu.memory_mib - gpu.headroom_mib for gpu in desired.gpus}
    exclusive: set[tuple[str, int]] = set()
    for replica in state.replicas:
        for gpu in replica.gpus:
            key = (replica.node, gpu)
            room_mib[key] = room_mib.get(key, 0) - replica.ledger.total_mib
            if replica.mode != "time_shared":
                exclusive.add(key)
    leaving_seats = {(replica.node, gpu) for replica in going for gpu in replica.gpus}
    names_running = {replica.name for replica in state.replicas}
    early: list[Replica] = []
    late: list[Replica] = []
    for replica in coming:
        keys = [(replica.node, gpu) for gpu in replica.gpus]
        alone = replica.mode != "time_shared" and any(key in leaving_seats for key in keys)
        blocked = replica.name in names_running or alone or any(key in exclusive or key in repartitioned for key in keys)
        if going and not blocked and all(room_mib.get(key, 0) >= replica.ledger.total_mib for key in keys):
            early.append(replica)
            for key in keys:
                room_mib[key] -= replica.ledger.total_mib
        else:
            late.append(replica)
    return early, late
