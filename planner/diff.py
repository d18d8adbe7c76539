"""From what runs to what is desired: the list of actions that plan prints and apply executes.

Order: replicas that fit beside everything that runs start first, then the router leaves those that go, they drain and
stop, GPUs change their MIG layout, the remaining replicas start, and the final routes are set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from planner.plan import Action, Desired, Drain, GpuPlan, Repartition, Replica, Route, RouteBackend, SetRoutes, Start, State, Stop

# Our choice: thousandths are easy to read; with more replicas every further hundred gets as many again, ten for each on average.
WEIGHT_PER_HUNDRED = 1000


def diff(state: State, desired: Desired) -> tuple[Action, ...]:
    """Actions that turn a state into the desired world; empty when nothing differs."""
    before = {replica.name: replica for replica in state.replicas}
    after = {replica.name: replica for replica in desired.replicas}
    going = [replica for name, replica in sorted(before.items()) if not _same_engine(after.get(name), replica)]
    coming = [replica for name, replica in sorted(after.items()) if not _same_engine(before.get(name), replica)]
    repartitions = _repartitions(state, desired)
    early, late = _split_starts(state, desired, going, coming, {(item.node, item.gpu) for item in repartitions})
    actions: list[Action] = [_start(replica, before) for replica in early]
    routes_now = state.routes
    if going:
        waiting = {replica.name for replica in late}
        routes_now = routes_for([replica for replica in desired.replicas if replica.name not in waiting])
        if routes_now != state.routes:
            actions.append(SetRoutes(routes=routes_now, reason="take replicas that go out of the router, let in those that are ready"))
    actions += [Drain(replica=replica.name, reason=_why_going(replica, after)) for replica in going]
    actions += [Stop(replica=replica.name, reason=_why_going(replica, after)) for replica in going]
    actions += repartitions
    actions += [_start(replica, before) for replica in late]
    if routes_now != desired.routes or state.router != desired.router:
        actions.append(SetRoutes(routes=desired.routes, reason="route to the desired replicas"))
    return tuple(actions)


def routes_for(replicas: Sequence[Replica]) -> tuple[Route, ...]:
    """One route per served name and adapter, weights in proportion to capacities and summing to total_weight exactly."""
    by_name: defaultdict[str, list[Replica]] = defaultdict(list)
    for replica in replicas:
        for name in replica.args.names:
            by_name[name].append(replica)
    return tuple(
        Route(served_name=name, backends=_backends(sorted(by_name[name], key=lambda replica: replica.name))) for name in sorted(by_name)
    )


def total_weight(replica_count: int) -> int:
    """Sum of the weights of a route to so many replicas: 1000 up to a hundred of them, 2000 up to two hundred, and so on."""
    return WEIGHT_PER_HUNDRED * max(1, -(-replica_count // 100))


def _backends(replicas: Sequence[Replica]) -> tuple[RouteBackend, ...]:
    weights = largest_remainder([replica.capacity_rps for replica in replicas], total_weight(len(replicas)))
    return tuple(
        RouteBackend(replica=replica.name, host=replica.host, port=replica.args.port, weight=weight)
        for replica, weight in zip(replicas, weights, strict=True)
    )


def largest_remainder(parts: Sequence[float], total: int) -> list[int]:
    """Whole numbers of at least 1 in proportion to parts, which sum to total (at least as many as parts); ties go to the earlier part.

    >>> largest_remainder([1.0, 1.0, 1.0], 1000)
    [334, 333, 333]
    >>> largest_remainder([5000.0, 1.0], 1000)
    [999, 1]
    """
    scale = total / sum(parts)
    floors = [max(1, int(part * scale)) for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda i: (floors[i] - parts[i] * scale, i))
    for i in by_rest[: max(0, total - sum(floors))]:
        floors[i] += 1
    # what the smallest got beyond their part, the largest give
    for _ in range(sum(floors) - total):
        floors[max(range(len(parts)), key=lambda i: (floors[i], -i))] -= 1
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
    """Those that fit beside everything that runs now (make before break), and those that must wait for room, a name or a port."""
    room_mib = {(gpu.node, gpu.index): gpu.memory_mib - gpu.headroom_mib for gpu in desired.gpus}
    for replica in state.replicas:
        for key in _gpus(replica):
            room_mib[key] = room_mib.get(key, 0) - replica.ledger.total_mib
    occupied = {(key, replica.mig) for replica in state.replicas for key in _gpus(replica)}
    closed = {(key, replica.mig) for replica in state.replicas for key in _gpus(replica) if replica.mode != "time_shared"}
    taken = {replica.name for replica in state.replicas} | {_address(replica) for replica in state.replicas}
    early: list[Replica] = []
    late: list[Replica] = []
    for replica in coming:
        keys = _gpus(replica)
        no_room = closed if replica.mode == "time_shared" else occupied
        blocked = replica.name in taken or _address(replica) in taken or any((key, replica.mig) in no_room for key in keys)
        blocked = blocked or any(key in repartitioned for key in keys)
        fits = replica.mig is not None or all(room_mib.get(key, 0) >= replica.ledger.total_mib for key in keys)
        if going and fits and not blocked:
            early.append(replica)
            room_mib.update({key: room_mib.get(key, 0) - replica.ledger.total_mib for key in keys})
        else:
            late.append(replica)
    return early, late


def _gpus(replica: Replica) -> list[tuple[str, int]]:
    return [(replica.node, gpu) for gpu in replica.gpus]


def _address(replica: Replica) -> str:
    return f"{replica.host}:{replica.args.port}"
