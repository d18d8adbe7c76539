"""Prompts that are told apart by their length: each goes to just one group of replicas, which takes it whatever the router makes of it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from planner.plan import Desired, LongPrompts, Replica, Route


def length_problems(desired: Desired) -> Iterator[str]:
    """What is wrong with the limits between short and long prompts, at routes, replicas and in what the plan says of them."""
    replicas = {replica.name: replica for replica in desired.replicas}
    yield from rule_problems_of(desired.routes, replicas)
    routes = {route.served_name: route for route in desired.routes}
    asleep = {item.name for item in desired.asleep}
    for replica in desired.replicas:
        yield from _names(replica)
        rule = replica.longer_of
        if rule is not None and replica.name not in asleep:
            route = routes.get(rule.served_name)
            if route is None or route.longer != rule.model_copy(update={"served_name": replica.served_name}):
                yield (
                    f"replica {replica.name}: is for requests of {rule.served_name} with more than {rule.over_bytes} bytes, "
                    "and its route does not send them"
                )
    yield from _said(desired, routes)
    yield from _longest(desired)


def rule_problems_of(routes: Sequence[Route], replicas: Mapping[str, Replica]) -> Iterator[str]:
    """What is wrong with routes that send longer requests elsewhere: replicas are those that there are, by name.

    A route and its limit cover all lengths once: at most so many bytes, or not. So what remains to be seen is where the others go.
    """
    by_name = {route.served_name: route for route in routes}
    takers = Counter(route.longer.served_name for route in routes if route.longer is not None)
    for route in routes:
        rule = route.longer
        if rule is None:
            continue
        where = f"route {route.served_name}"
        if rule.over_bytes != max(1, math.floor(rule.over_tokens * rule.bytes_per_token)):
            yield f"{where}: {rule.over_tokens} tokens of {rule.bytes_per_token:g} bytes are not {rule.over_bytes} bytes"
        target = by_name.get(rule.served_name)
        if target is None or not target.backends:
            yield f"{where}: longer requests go to {rule.served_name}, which has no replica"
            continue
        if target.longer is not None:
            yield f"{where}: longer requests go to {rule.served_name}, which tells lengths apart itself"
        if takers[rule.served_name] > 1:
            yield f"{where}: longer requests go to {rule.served_name}, as those of another route do"
        for backend in target.backends:
            replica = replicas.get(backend.replica)
            if replica is not None and route.served_name not in replica.args.also_served_as:
                yield f"{where}: longer requests go to {replica.name}, whose engine does not answer to {route.served_name}"


def _names(replica: Replica) -> Iterator[str]:
    rule = replica.longer_of
    wanted = tuple({item.model for item in replica.apart}) if rule is None else (rule.served_name,)
    if replica.args.also_served_as != wanted:
        has, needs = (", ".join(names) or "nothing" for names in (replica.args.also_served_as, wanted))
        yield f"replica {replica.name}: its engine also answers to {has}, by its rule to {needs}"


def _longest(desired: Desired) -> Iterator[str]:
    """A router sees bytes: some requests come to the other group, so both take prompts of every length."""
    lengths: defaultdict[str, set[int]] = defaultdict(set)
    for replica in desired.replicas:
        lengths[replica.served_name].add(replica.args.max_model_len)
    for route in desired.routes:
        if route.longer is None:
            continue
        both = lengths[route.served_name] | lengths[route.longer.served_name]
        if len(both) > 1:
            yield (
                f"route {route.served_name}: its replicas and those of {route.longer.served_name} have max_model_len "
                f"{' and '.join(map(str, sorted(both)))}, so a request that comes to the wrong ones may fail"
            )


def _said(desired: Desired, routes: Mapping[str, Route]) -> Iterator[str]:
    served = {replica.served_name for replica in desired.replicas}
    told: dict[str, LongPrompts | None] = {}
    for split in desired.prompt_splits:
        told[split.served_name] = split.longer
        if split.longer is not None and split.longer.served_name in served:
            route = routes.get(split.served_name)
            if route is None or route.longer != split.longer:
                yield f"workload {split.workload}: is split at {split.longer.over_bytes} bytes, and its route is not"
    for name, route in sorted(routes.items()):
        if route.longer is not None and told.get(name) is None:
            yield f"route {name}: longer requests go to {route.longer.served_name}, and the plan says of no workload that it is split there"
