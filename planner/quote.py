"""What a newcomer would add: at once from what is left of the plan, then by comparing two plans."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from planner.build import MICRO, Blueprint
from planner.plan import Plan, Start, Stop
from planner.problem import Pattern, Problem, pattern_violations


@dataclass(frozen=True, slots=True)
class Estimate:
    """A first answer without solving: replicas of one shape join GPUs in use where they may, the others open free ones.

    usd_per_h None says that there is no room left beside what runs: somebody would have to move or be displaced.
    """

    usd_per_h: float | None
    replicas: int = 0
    joined: int = 0
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Quote:
    """The confirmed answer: what the plan with the newcomer costs more, between the bounds that both proofs leave.

    places are the newcomer's GPUs, moved the other replicas that are started or stopped for it, displaced_rps what others lose.
    """

    estimate: Estimate
    usd_per_h: float
    least_usd_per_h: float
    most_usd_per_h: float
    exact: bool
    served_rps: float
    unserved_rps: float
    unserved_reason: str | None
    places: tuple[str, ...]
    moved: tuple[str, ...]
    displaced_rps: dict[str, float]


def estimate(blueprint: Blueprint, name: str) -> Estimate:
    """The cheapest way for the group of that name beside what runs (problem.current), which stays where it is."""
    problem = blueprint.problem
    demand = next(i for i, group in enumerate(blueprint.groups) if group.name == name)
    spots: defaultdict[tuple[int, int, tuple[int, ...]], list[int]] = defaultdict(list)
    for item in problem.current:
        spots[problem.shapes[item.shape].pool, item.node, item.gpus].append(item.shape)
    residents = [(pool, tuple(sorted(here))) for (pool, _, _), here in sorted(spots.items())]
    options = [
        option
        for index, shape in enumerate(problem.shapes)
        if shape.demand == demand and (option := _option(problem, index, residents)) is not None
    ]
    return min(options, key=lambda option: (option.usd_per_h or 0.0, option.replicas, option.shape), default=Estimate(None))


def _option(problem: Problem, index: int, residents: list[tuple[int, tuple[int, ...]]]) -> Estimate | None:
    """So many replicas of a shape as the demand needs beyond its own that run; None without room for them."""
    shape = problem.shapes[index]
    pool, demand = problem.pools[shape.pool], problem.demands[shape.demand]
    own = [problem.shapes[i] for _, here in residents for i in here if problem.shapes[i].demand == shape.demand]
    missing_microrps = max(0, demand.peak_microrps - sum(item.capacity_microrps for item in own))
    replicas = max(-(-missing_microrps // max(1, shape.capacity_microrps)), demand.min_replicas - len(own), 0)
    joined = min(replicas, sum(_joins(problem, index, pool_of, here) for pool_of, here in residents))
    fresh = (replicas - joined) * shape.gpus
    used = sum(max(problem.shapes[i].gpus for i in here) for pool_of, here in residents if pool_of == shape.pool)
    if fresh > pool.gpus - used:
        return None
    paid = fresh
    if pool.billing == "node":
        nodes_before, nodes_after = (max(pool.min_nodes, -(-count // pool.gpus_per_node)) for count in (used, used + fresh))
        paid = (nodes_after - nodes_before) * pool.gpus_per_node
    return Estimate(paid * pool.price_microusd_per_h / MICRO, replicas, joined, shape.name)


def _joins(problem: Problem, index: int, pool: int, residents: tuple[int, ...]) -> bool:
    if problem.shapes[index].pool != pool:
        return False
    return next(pattern_violations(problem, Pattern(pool, tuple(sorted((*residents, index))))), None) is None


def compare(first: Estimate, before: Plan, after: Plan, workload: str) -> Quote:
    """The quote for a workload from the plans without and with it; the second one was made against the first as it runs."""
    row = next(item for item in after.desired.workloads if item.name == workload)
    costs = [_cost_tier(plan) for plan in (before, after)]
    own = [replica for replica in after.desired.replicas if replica.served_name == row.served_name]
    served_names = {replica.name: replica.served_name for plan in (before, after) for replica in plan.desired.replicas}
    moved = {action.replica for action in after.actions if isinstance(action, Start | Stop)}
    lost = {item.name: item.unserved_rps for item in before.desired.workloads}
    return Quote(
        estimate=first,
        usd_per_h=after.desired.cost_usd_per_h - before.desired.cost_usd_per_h,
        least_usd_per_h=costs[1][1] - costs[0][0],
        most_usd_per_h=costs[1][0] - costs[0][1],
        exact=all(plan.desired.certificate.status == "optimal" for plan in (before, after)),
        served_rps=row.rate_rps - row.unserved_rps,
        unserved_rps=row.unserved_rps,
        unserved_reason=row.unserved_reason,
        places=tuple(f"{item.node} GPU {','.join(map(str, item.gpus))}" for item in own),
        moved=tuple(sorted(name for name in moved if served_names[name] != row.served_name)),
        displaced_rps={
            item.name: item.unserved_rps - lost[item.name]
            for item in after.desired.workloads
            if item.name in lost and item.unserved_rps > lost[item.name] + 1 / MICRO
        },
    )


def _cost_tier(plan: Plan) -> tuple[float, float]:
    """Cost and its bound."""
    tier = next(item for item in plan.desired.certificate.tiers if item.goal == "cost_usd_per_h")
    return tier.value, tier.bound
