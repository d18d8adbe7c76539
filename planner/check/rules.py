"""What the fleet asked of places and money: pins, neighbours, teams, numbers of replicas, and the cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations

from planner.check.machine_names import machine_names
from planner.plan import Desired, ModelRules, PoolRules, Rules

# Prices are kept in whole micro-dollars/h per GPU; the sum over a fleet's GPUs holds within one part in a million and a cent.
RELATIVE_TOLERANCE = 1e-6
CENT_USD_PER_H = 0.01


def rule_problems(desired: Desired) -> Iterator[str]:
    """What breaks a rule that the plan carries."""
    models = {model.served_name: model for model in desired.rules.models}
    yield from _known(desired, models)
    yield from _places(desired, models)
    yield from _numbers(desired, models)
    yield from _neighbours(desired, models, desired.rules)
    yield from _apart(desired, models)
    yield from _cost(desired, desired.rules)


def _known(desired: Desired, models: dict[str, ModelRules]) -> Iterator[str]:
    """Rules, workloads and pools name each other, each once."""
    for name, times in sorted(Counter(model.served_name for model in desired.rules.models).items()):
        if times > 1:
            yield f"{name}: has rules {times} times"
    asked = {workload.served_name for workload in desired.workloads}
    asleep = {item.name for item in desired.asleep}
    sleeping = {replica.served_name for replica in desired.replicas if replica.name in asleep}
    for name in sorted(asked - models.keys()):
        yield f"{name}: a workload uses this model, but the rules of the plan do not contain it"
    for name in sorted(models.keys() - asked - sleeping):
        yield f"{name}: has rules, but no workload of the plan uses this model"
    pools = Counter(pool.name for pool in desired.rules.pools)
    for name, times in sorted(pools.items()):
        if times > 1:
            yield f"pool {name}: has a price {times} times"
    for model in desired.rules.models:
        for name in sorted({*model.pools} - pools.keys()):
            yield f"{model.served_name}: may be in pool {name}, which is not among those of the plan"
        for name in sorted({*model.not_with} - models.keys()):
            yield f"{model.served_name}: may not be with {name}, which the rules of the plan do not know"


def _numbers(desired: Desired, models: dict[str, ModelRules]) -> Iterator[str]:
    """No fewer replicas awake than asked for, unless the plan admits that demand is not served for it, and no more."""
    asleep = {item.name for item in desired.asleep}
    counts = Counter(replica.served_name for replica in desired.replicas if replica.name not in asleep)
    asked = {workload.served_name for workload in desired.workloads}
    unserved = {workload.served_name for workload in desired.workloads if workload.unserved_rps > 0}
    for name, model in sorted(models.items()):
        if name in asked and counts[name] < model.min_replicas and name not in unserved:
            yield f"{name}: {counts[name]} replicas, at least {model.min_replicas}, and none of its demand counts as unserved"
        if model.max_replicas is not None and counts[name] > model.max_replicas:
            yield f"{name}: {counts[name]} replicas, at most {model.max_replicas}"


def _places(desired: Desired, models: dict[str, ModelRules]) -> Iterator[str]:
    for replica in desired.replicas:
        model = models.get(replica.served_name)
        if model is None:
            yield f"replica {replica.name}: serves {replica.served_name}, which the rules of the plan do not know"
        elif model.pools and replica.pool not in model.pools:
            yield f"replica {replica.name}: is in pool {replica.pool}, {model.served_name} may only be in {', '.join(model.pools)}"


def _neighbours(desired: Desired, models: dict[str, ModelRules], rules: Rules) -> Iterator[str]:
    residents: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    by_mps: set[tuple[str, int]] = set()
    for replica in desired.replicas:
        for index in replica.gpus:
            residents[replica.node, index].add(replica.served_name)
            by_mps |= {(replica.node, index)} if replica.mode == "mps" else set()
    for (node, index), names in sorted(residents.items()):
        for one, other in combinations(sorted(names & models.keys()), 2):
            where = f"node {node}, GPU {index}"
            if other in models[one].not_with or one in models[other].not_with:
                yield f"{where}: {one} may not share a GPU with {other} (not_with)"
            if models[one].team == models[other].team:
                continue
            what = f"{where}: {one} of team {models[one].team} shares it with {other} of team {models[other].team}"
            if rules.isolate_teams:
                yield f"{what} (isolate_teams)"
            elif (node, index) in by_mps:
                yield f"{what} by MPS, where a fault of one ends both"


def _apart(desired: Desired, models: dict[str, ModelRules]) -> Iterator[str]:
    """No machine holds two replicas of a model with spread: nodes, whichever of its pools and GPUs they use."""
    machines = machine_names(desired)
    here: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for replica in desired.replicas:
        if replica.served_name in models and models[replica.served_name].spread_nodes:
            here[replica.served_name, machines.get(replica.node, replica.node)].append(replica.name)
    for (name, where), replicas in sorted(here.items()):
        if len(replicas) > 1:
            yield f"{name}: replicas {', '.join(sorted(replicas))} are on one machine, {where} (spread: nodes)"


def _cost(desired: Desired, rules: Rules) -> Iterator[str]:
    cost_usd_per_h = sum(_pool_cost(desired, pool) for pool in rules.pools)
    if abs(cost_usd_per_h - desired.cost_usd_per_h) > RELATIVE_TOLERANCE * cost_usd_per_h + CENT_USD_PER_H:
        yield f"cost_usd_per_h says {desired.cost_usd_per_h:.6g}, the GPUs and nodes in use cost {cost_usd_per_h:.6g}"
    unknown = {node.pool for node in desired.nodes} - {pool.name for pool in rules.pools}
    for name in sorted(unknown):
        yield f"pool {name}: has no price in the rules of the plan"


def _pool_cost(desired: Desired, pool: PoolRules) -> float:
    asleep = {item.name for item in desired.asleep}
    used = [gpu for gpu in desired.gpus if gpu.pool == pool.name and not asleep.issuperset(gpu.replicas)]
    if pool.billing == "gpu":
        return len(used) * pool.price_usd_per_h
    sizes = {node.name: node.gpu_count for node in desired.nodes if node.pool == pool.name}
    paid = max(len({gpu.node for gpu in used}), pool.min_nodes)
    return paid * max(sizes.values(), default=0) * pool.price_usd_per_h
