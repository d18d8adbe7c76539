"""The rules of a fleet that a plan carries with it."""

from __future__ import annotations

from collections.abc import Sequence

from planner.disruption_budget import DisruptionBudget
from planner.plan import ModelRules, PoolRules, PortRange, Rules
from planner.sizing.groups import ServiceGroup
from planner.spec import Fleet


def rules(fleet: Fleet, groups: Sequence[ServiceGroup]) -> Rules:
    """Pins, neighbours, teams, numbers of replicas and prices, sorted by name; what every GPU keeps free and how many share it."""
    return Rules(
        models=tuple(_model(fleet, group) for group in groups),
        pools=tuple(
            PoolRules(
                name=pool.name,
                price_usd_per_h=pool.price_usd_per_h,
                billing="node" if pool.ownership == "rentable" else "gpu",
                min_nodes=pool.min_nodes if pool.ownership == "rentable" else 0,
            )
            for pool in sorted(fleet.pools, key=lambda pool: pool.name)
        ),
        isolate_teams=fleet.policy.isolate_teams,
        headroom_mib=fleet.policy.headroom_mib,
        max_active_residents=fleet.policy.max_active_residents,
        rollout=fleet.policy.rollout,
        ports=PortRange(start=fleet.policy.ports.start, end=fleet.policy.ports.end),
        disruption_budget=_by_served_name(fleet.policy.disruption_budget, groups),
    )


def _by_served_name(budget: DisruptionBudget, groups: Sequence[ServiceGroup]) -> DisruptionBudget:
    """The budget of workloads as one of the models that serve them."""
    least = {group.name: max(budget.min_available.get(workload.name, 0) for workload in group.workloads) for group in groups}
    protected = [group.name for group in groups if any(workload.name in budget.protected for workload in group.workloads)]
    return budget.model_copy(
        update={"min_available": {name: count for name, count in sorted(least.items()) if count}, "protected": tuple(sorted(protected))}
    )


def _model(fleet: Fleet, group: ServiceGroup) -> ModelRules:
    allowed = tuple(sorted(pool.name for pool in fleet.pools if group.allows(pool.name)))
    # also where teams may share GPUs by turns: by MPS they never do
    by_team = fleet.policy.isolate_teams or any("mps" in pool.sharing for pool in fleet.pools)
    return ModelRules(
        served_name=group.name,
        pools=() if len(allowed) == len(fleet.pools) else allowed,
        not_with=tuple(sorted(group.not_with)),
        team=group.team if by_team else None,
        max_replicas=group.max_replicas,
        min_replicas=group.min_replicas,
        spread_nodes=group.spread_nodes,
    )
