"""Copies for the time of a change: where what comes has no room beside what goes, one of it serves meanwhile from GPUs that nobody uses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from planner.plan import Desired, Outage, Replica, State
from planner.transitions.transition import same_engine, seats_of

# What the name of a copy ends with.
_SUFFIX = "-meanwhile"


def is_copy_of(name: str, originals: Sequence[str]) -> bool:
    """Whether a replica of this name is a copy that a change has made of one of those."""
    return name.endswith(_SUFFIX) and name.startswith(tuple(originals))


def copies(state: State, desired: Desired, told: Sequence[Outage]) -> tuple[Replica, ...]:
    """Copies of coming replicas for the names that would lack some, as many as they lack at worst, while free GPUs and ports last.

    Only on GPUs of the same pool that are paid for anyway and that neither the state nor the desired world uses.
    """
    room, originals = _Room(state, desired), to_copy(state, desired)
    found: list[Replica] = []
    models: set[str] = set()
    for outage in told:
        model = originals.get(outage.served_name)
        if model is None or model.served_name in models:
            continue
        for number in range(outage.least_replicas - outage.fewest_replicas):
            copy = room.take(model, f"{model.name}-{number + 1}{_SUFFIX}" if number else f"{model.name}{_SUFFIX}")
            if copy is not None:
                found.append(copy)
                models.add(model.served_name)
    return tuple(found)


def to_copy(state: State, desired: Desired) -> dict[str, Replica]:
    """By served name the smallest replica that comes and is awake, which a copy would be of; never a slice: no free GPU has any."""
    before = {replica.name: replica for replica in state.replicas}
    asleep = {item.name for item in desired.asleep}
    found: dict[str, Replica] = {}
    for replica in sorted(desired.replicas, key=lambda replica: (len(replica.gpus), replica.name)):
        if replica.mig is None and replica.name not in asleep and not same_engine(before.get(replica.name), replica):
            for name in replica.args.names:
                found.setdefault(name, replica)
    return found


class _Room:
    """GPUs, names and ports that nobody uses during the change."""

    def __init__(self, state: State, desired: Desired) -> None:
        everybody = (*state.replicas, *desired.replicas)
        used = {seat for replica in everybody for seat in seats_of(replica)}
        cut = {(gpu.node, gpu.index) for gpu in (*state.gpus, *desired.gpus) if gpu.mig_layout}
        by_node = {pool.name for pool in desired.rules.pools if pool.billing == "node"}
        paid = {node for node, _ in used}
        self._free = {(gpu.node, gpu.index) for gpu in desired.gpus if not gpu.taken_mib} - used - cut
        self._nodes = [node for node in desired.nodes if node.pool not in by_node or node.name in paid]
        self._names = {replica.name for replica in everybody}
        self._range = desired.rules.ports
        self._ports: defaultdict[str, set[int]] = defaultdict(lambda: {desired.router.port, desired.router.admin_port})
        for replica in everybody:
            self._ports[replica.host].add(replica.args.port)

    def take(self, replica: Replica, name: str) -> Replica | None:
        """A copy of a replica on GPUs that are free, which then are not any more; None without any, or where the name is taken."""
        if name in self._names:
            return None
        for host, node, gpus in self._blocks(replica):
            port = next((port for port in range(self._range.start, self._range.end + 1) if port not in self._ports[host]), None)
            if port is not None:
                self._free -= {(node, gpu) for gpu in gpus}
                self._names.add(name)
                self._ports[host].add(port)
                args = replica.args.model_copy(update={"host": host, "port": port})
                return replica.model_copy(update={"name": name, "node": node, "host": host, "gpus": gpus, "args": args})
        return None

    def _blocks(self, replica: Replica) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """Host, node and GPUs of each free aligned block of its size."""
        size = len(replica.gpus)
        for node in self._nodes:
            for first in range(0, node.gpu_count - size + 1, size) if node.pool == replica.pool else ():
                block = tuple(range(first, first + size))
                if all((node.name, gpu) in self._free for gpu in block):
                    yield node.host, node.name, block
