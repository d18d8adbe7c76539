"""Copies for the time of a change: where what comes has no room beside what goes, one of it serves meanwhile from GPUs that nobody uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.plan import Desired, Outage, Replica, State
from planner.transition import same_engine, seats_of

# What the name of a copy ends with.
_SUFFIX = "-meanwhile"


def is_copy_of(name: str, originals: Sequence[str]) -> bool:
    """Whether a replica of this name is a copy that a change has made of one of those."""
    return name.endswith(_SUFFIX) and name.startswith(tuple(originals))


def copies(state: State, desired: Desired, told: Sequence[Outage]) -> tuple[Replica, ...]:
    """Copies of coming replicas for the names that would lack some, as many as they lack at worst, while free GPUs and ports last.

    Only on GPUs of the same pool that are paid for anyway and that neither the state nor the desired world uses.
    """
    found: list[Replica] = []
    for outage in told:
        model = _smallest_coming(state, desired, outage.served_name)
        if model is None or any(item.served_name == model.served_name for item in found):
            continue
        for number in range(outage.least_replicas - outage.fewest_replicas):
            copy = _copy(state, desired, model, number, found)
            if copy is not None:
                found.append(copy)
    return tuple(found)


def _smallest_coming(state: State, desired: Desired, served_name: str) -> Replica | None:
    """The replica to copy; none for slices, which are not there on free GPUs."""
    before = {replica.name: replica for replica in state.replicas}
    asleep = {item.name for item in desired.asleep}
    coming = [
        replica
        for replica in desired.replicas
        if served_name in replica.args.names
        and replica.mig is None
        and replica.name not in asleep
        and not same_engine(before.get(replica.name), replica)
    ]
    return min(coming, key=lambda replica: (len(replica.gpus), replica.name), default=None)


def _copy(state: State, desired: Desired, replica: Replica, number: int, others: Sequence[Replica]) -> Replica | None:
    name = f"{replica.name}-{number + 1}{_SUFFIX}" if number else f"{replica.name}{_SUFFIX}"
    everybody = (*state.replicas, *desired.replicas, *others)
    if any(other.name == name for other in everybody):
        return None
    ports = desired.rules.ports
    for host, node, gpus in _free_blocks(state, desired, replica, others):
        taken = {other.args.port for other in everybody if other.host == host} | {desired.router.port, desired.router.admin_port}
        port = next((port for port in range(ports.start, ports.end + 1) if port not in taken), None)
        if port is not None:
            args = replica.args.model_copy(update={"host": host, "port": port})
            return replica.model_copy(update={"name": name, "node": node, "host": host, "gpus": gpus, "args": args})
    return None


def _free_blocks(state: State, desired: Desired, replica: Replica, others: Sequence[Replica]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Host, node and GPUs of each aligned block of its size that nobody uses, and that costs nothing more."""
    used = {seat for other in (*state.replicas, *desired.replicas, *others) for seat in seats_of(other)}
    cut = {(gpu.node, gpu.index) for gpu in (*state.gpus, *desired.gpus) if gpu.mig_layout}
    free = {(gpu.node, gpu.index) for gpu in desired.gpus if not gpu.taken_mib} - used - cut
    by_node = {pool.name for pool in desired.rules.pools if pool.billing == "node"}
    paid = {node for node, _ in used}
    size = len(replica.gpus)
    for node in desired.nodes:
        if node.pool != replica.pool or (node.pool in by_node and node.name not in paid):
            continue
        for first in range(0, node.gpu_count - size + 1, size):
            block = tuple(range(first, first + size))
            if all((node.name, gpu) in free for gpu in block):
                yield node.host, node.name, block
