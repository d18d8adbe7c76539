"""Priorities of workloads that share replicas: the router sets them only where every engine of a route looks at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from planner.plan import Desired, Replica, Route


def priority_problems(desired: Desired) -> Iterator[str]:
    """What is wrong with the priorities of routes and replicas."""
    replicas = {replica.name: replica for replica in desired.replicas}
    yield from priority_problems_of(desired.routes, replicas)
    shared = {workload.name: workload.served_name for workload in desired.workloads}
    for replica in desired.replicas:
        where = f"replica {replica.name}"
        if (replica.args.scheduling_policy == "priority") != bool(replica.priorities):
            yield f"{where}: has {len(replica.priorities)} priorities, and its scheduling policy is {replica.args.scheduling_policy}"
        for item in replica.priorities:
            if shared.get(item.workload) != replica.served_name:
                yield f"{where}: has a priority for {item.workload}, which is no workload of {replica.served_name}"


def priority_problems_of(routes: Sequence[Route], replicas: Mapping[str, Replica]) -> Iterator[str]:
    """What is wrong with the priorities of routes: replicas are those that there are, by name."""
    for route in routes:
        where = f"route {route.served_name}"
        for name, times in sorted(Counter(item.workload for item in route.priorities).items()):
            if times > 1:
                yield f"{where}: workload {name} has {times} priorities"
        for item in route.priorities:
            if item.model != route.served_name:
                yield f"{where}: workload {item.workload} asks for {item.model}"
        for backend in route.backends if route.priorities else ():
            replica = replicas.get(backend.replica)
            if replica is not None and replica.args.scheduling_policy != "priority":
                yield f"{where}: sets priorities, which {replica.name} refuses: its scheduling policy is {replica.args.scheduling_policy}"
