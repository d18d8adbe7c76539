"""Workloads of one model with different priorities: set only where every engine looks at them, and sent apart only to engines for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from planner.plan import Desired, Replica, Route, WorkloadRoute


def priority_problems(desired: Desired) -> Iterator[str]:
    """What is wrong with the priorities of routes and replicas."""
    replicas = {replica.name: replica for replica in desired.replicas}
    yield from priority_problems_of(desired.routes, replicas)
    yield from _apart(desired)
    shared = {workload.name: workload.served_name for workload in desired.workloads}
    asleep = {item.name for item in desired.asleep}
    for replica in desired.replicas:
        where = f"replica {replica.name}"
        if (replica.args.scheduling_policy == "priority") != bool(replica.priorities):
            yield f"{where}: has {len(replica.priorities)} priorities, and its scheduling policy is {replica.args.scheduling_policy}"
        for item in replica.priorities:
            # nobody need ask for what a sleeper serves
            if shared.get(item.workload, replica.served_name if replica.name in asleep else None) != replica.served_name:
                yield f"{where}: has a priority for {item.workload}, which is no workload of {replica.served_name}"


def _apart(desired: Desired) -> Iterator[str]:
    """Whoever has replicas of its own is sent there."""
    asleep = {item.name for item in desired.asleep}
    routes = {route.served_name: route for route in desired.routes}
    served = {workload.name: workload.served_name for workload in desired.workloads}
    for replica in desired.replicas:
        for rule in replica.apart:
            where = f"replica {replica.name}"
            if rule.served_name != replica.served_name or served.get(rule.workload, replica.served_name) != replica.served_name:
                yield f"{where}: is for {rule.workload} alone, which {served.get(rule.workload, 'nothing')} serves"
            route = routes.get(rule.model)
            if replica.name not in asleep and (route is None or rule not in route.apart):
                yield f"{where}: is for requests of {rule.workload} for {rule.model}, and its route does not send them"


def priority_problems_of(routes: Sequence[Route], replicas: Mapping[str, Replica]) -> Iterator[str]:
    """What is wrong with the priorities of routes: replicas are those that there are, by name."""
    for route in routes:
        where = f"route {route.served_name}"
        for name, times in sorted(Counter(item.workload for item in route.priorities).items()):
            if times > 1:
                yield f"{where}: workload {name} has {times} priorities"
        for rule in route.apart:
            yield from (f"{where}: {problem}" for problem in _sent_apart(rule, route, routes, replicas))
        for item in route.priorities:
            if item.model != route.served_name:
                yield f"{where}: workload {item.workload} asks for {item.model}"
        for backend in route.backends if route.priorities else ():
            replica = replicas.get(backend.replica)
            if replica is not None and replica.args.scheduling_policy != "priority":
                yield f"{where}: sets priorities, which {replica.name} refuses: its scheduling policy is {replica.args.scheduling_policy}"


def _sent_apart(rule: WorkloadRoute, route: Route, routes: Sequence[Route], replicas: Mapping[str, Replica]) -> Iterator[str]:
    target = next((other for other in routes if other.served_name == rule.served_name), None)
    if rule.model != route.served_name:
        yield f"sends {rule.workload} apart, which asks for {rule.model}"
    if target is None or not target.backends:
        yield f"sends {rule.workload} to {rule.served_name}, which has no replica"
        return
    for backend in target.backends:
        replica = replicas.get(backend.replica)
        if replica is not None and route.served_name not in replica.args.also_served_as:
            yield f"sends {rule.workload} to {replica.name}, whose engine does not answer to {route.served_name}"
