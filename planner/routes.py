"""Routes to replicas: backends with whole weights in proportion to what they can carry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from planner.plan import LongPrompts, Replica, RequestPriority, Route, RouteBackend, WorkloadRoute

# Our choice: thousandths are easy to read; with more replicas every further hundred gets as many again, ten for each on average.
WEIGHT_PER_HUNDRED = 1000


def routes_for(replicas: Sequence[Replica], known: Iterable[str] = ()) -> tuple[Route, ...]:
    """One route per served name and adapter, weights in proportion to capacities and summing to total_weight exactly.

    A known name that no replica serves has a route without backends: the router then answers 503 and not 404. Longer requests go to
    replicas for them as soon as there are any, by the rule that these carry; until then whoever serves the model takes all. Priorities
    are set as soon as all that serve a name look at them: others refuse such requests.
    """
    by_name: defaultdict[str, list[Replica]] = defaultdict(list, {name: [] for name in known})
    for replica in replicas:
        for name in replica.args.names:
            by_name[name].append(replica)
    longer = _longer(replicas)
    apart = _apart(replicas)
    return tuple(
        Route(
            served_name=name,
            backends=_backends(sorted(by_name[name], key=lambda replica: replica.name)),
            longer=longer.get(name),
            priorities=_priorities(name, by_name[name]),
            apart=apart.get(name, ()),
        )
        for name in sorted(by_name)
    )


def _longer(replicas: Sequence[Replica]) -> dict[str, LongPrompts]:
    """Where the longer requests for a name go; while two rules of one name are under way, that with the smaller limit counts."""
    found: dict[str, LongPrompts] = {}
    for replica in sorted(replicas, key=lambda replica: replica.name):
        rule = replica.longer_of
        if rule is not None and (rule.served_name not in found or rule.over_bytes < found[rule.served_name].over_bytes):
            found[rule.served_name] = rule.model_copy(update={"served_name": replica.served_name})
    return found


def _apart(replicas: Sequence[Replica]) -> dict[str, tuple[WorkloadRoute, ...]]:
    """By model, who goes to replicas of its own: as soon as there are any."""
    found: defaultdict[str, set[WorkloadRoute]] = defaultdict(set)
    for replica in replicas:
        for rule in replica.apart:
            found[rule.model].add(rule)
    return {model: tuple(sorted(rules, key=lambda rule: (rule.workload, rule.served_name))) for model, rules in found.items()}


def _priorities(name: str, replicas: Sequence[Replica]) -> tuple[RequestPriority, ...]:
    """Of the workloads that ask for this name: those of the replica that comes last by name, while two are not of one mind."""
    if not replicas or any(replica.args.scheduling_policy != "priority" for replica in replicas):
        return ()
    last = max(replicas, key=lambda replica: replica.name)
    found = tuple(item for item in last.priorities if item.model == name)
    return found if any(item.priority for item in found) else ()


def total_weight(replica_count: int) -> int:
    """Sum of the weights of a route to so many replicas: 1000 up to a hundred of them, 2000 up to two hundred, and so on."""
    return WEIGHT_PER_HUNDRED * max(1, -(-replica_count // 100))


def _backends(replicas: Sequence[Replica]) -> tuple[RouteBackend, ...]:
    if not replicas:
        return ()
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
