"""Names, addresses and places: everything exists, and exists once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from planner.hosts import address_of, is_everywhere, is_loopback
from planner.plan import Desired, Replica


def placement_problems(desired: Desired) -> Iterator[str]:
    """What is wrong with names, ports, nodes and blocks of GPUs."""
    yield from _twice("node", (node.name for node in desired.nodes))
    yield from _twice("GPU", (f"{gpu.index} of node {gpu.node}" for gpu in desired.gpus))
    yield from _twice("replica", (replica.name for replica in desired.replicas))
    takers = [(replica.host, replica.args.port) for replica in desired.replicas]
    takers += [(desired.router.host, port) for port in (desired.router.port, desired.router.admin_port)]
    for (host, port), times in sorted(Counter((address_of(host), port) for host, port in takers).items()):
        if times > 1:
            yield f"port {port} on {host} is used {times} times"
    yield from _node_gpus(desired)
    gpus = {(gpu.node, gpu.index) for gpu in desired.gpus}
    nodes = {node.name: node for node in desired.nodes}
    everywhere = [node for node in desired.nodes if is_everywhere(node.host)]
    yield from (
        f"node {item.name}: host {item.host} is not the address of one machine: its engines would listen on every interface"
        for item in everywhere
    )
    for replica in desired.replicas:
        yield from _block(replica)
        for index in replica.gpus:
            if (replica.node, index) not in gpus:
                yield f"replica {replica.name}: GPU {index} of node {replica.node} does not exist"
        node = nodes.get(replica.node)
        if node is not None and not node.host == replica.host == replica.args.host:
            yield f"replica {replica.name}: host {replica.host} (engine: {replica.args.host}) is not that of node {node.name}, {node.host}"
    asleep = {item.name for item in desired.asleep}
    used = sum(1 for gpu in desired.gpus if not asleep.issuperset(gpu.replicas))
    if used != desired.gpus_used:
        yield f"gpus_used says {desired.gpus_used}, {used} GPUs hold replicas that are awake"


def _node_gpus(desired: Desired) -> Iterator[str]:
    """Each node lists just the GPUs it has, and no GPU of a machine is used by two nodes."""
    listed: defaultdict[str, list[int]] = defaultdict(list)
    users: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    hosts = {node.name: node.host for node in desired.nodes}
    for gpu in desired.gpus:
        listed[gpu.node].append(gpu.index)
        host = hosts.get(gpu.node, "")
        if gpu.replicas and host and not is_loopback(host):
            users[host, gpu.index].add(gpu.node)
    for node in desired.nodes:
        if len(listed[node.name]) != node.gpu_count or max(listed[node.name], default=0) >= node.gpu_count:
            yield f"node {node.name}: gpu_count says {node.gpu_count}, {len(listed[node.name])} GPUs are listed"
    for (host, index), names in sorted(users.items()):
        if len(names) > 1:
            yield f"GPU {index} of {host} is used by the nodes {', '.join(sorted(names))}"


def _twice(what: str, names: Iterator[str]) -> Iterator[str]:
    for name, times in sorted(Counter(names).items()):
        if times > 1:
            yield f"{what} {name} is listed {times} times"


def _block(replica: Replica) -> Iterator[str]:
    size = replica.args.tensor_parallel_size
    first = replica.gpus[0] if replica.gpus else -1
    if replica.gpus != tuple(range(first, first + size)) or first % size:
        yield f"replica {replica.name}: GPUs {list(replica.gpus)} are not an aligned block of {size}"
    if (size > 1) != (replica.mode == "tensor_parallel"):
        yield f"replica {replica.name}: mode {replica.mode} with tensor_parallel_size {size}"
