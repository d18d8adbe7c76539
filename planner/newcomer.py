"""What a newcomer would add: at once from what is left of the plan, then by comparing two plans."""

from __future__ import annotations

from dataclasses import dataclass

from planner.choice.beside import cheapest_change
from planner.plan import Plan, Start, Stop
from planner.problem import MIB_PER_GIB, MICRO, holdings_now
from planner.sizing.blueprint import Blueprint


@dataclass(frozen=True, slots=True)
class PlacementEstimate:
    """A first answer without solving: replicas of one shape join GPUs in use where they may, the others open free ones.

    usd_per_h None says that there is no room left beside what runs: somebody would have to move or be displaced. With replaced the
    replicas come in place of so many that the model has.
    """

    usd_per_h: float | None
    replicas: int = 0
    joined: int = 0
    shape: str = ""
    replaced: int = 0


@dataclass(frozen=True, slots=True)
class Quote:
    """The confirmed answer: what the plan with the newcomer costs more, between the bounds that both proofs leave.

    workload is the newcomer's name in that plan, places its GPUs, moved the other replicas that are started or stopped for it, loaded_mib
    the weights that are loaded, displaced_rps what others lose.
    """

    workload: str
    estimate: PlacementEstimate
    before_usd_per_h: float
    after_usd_per_h: float
    usd_per_h: float
    least_usd_per_h: float
    most_usd_per_h: float
    exact: bool
    served_rps: float
    unserved_rps: float
    unserved_reason: str | None
    places: tuple[str, ...]
    moved: tuple[str, ...]
    loaded_mib: int
    displaced_rps: dict[str, float]


def estimate(blueprint: Blueprint, name: str) -> PlacementEstimate:
    """The cheapest way for the group of that name beside what others run (problem.current), which stays where it is."""
    problem = blueprint.problem
    demand = next(i for i, group in enumerate(blueprint.groups) if group.name == name)
    found = cheapest_change(problem, demand, holdings_now(problem))
    if found is None:
        return PlacementEstimate(None)
    way, replaced = found
    return PlacementEstimate(way.cost_microusd_per_h / MICRO, way.replicas, way.joined, problem.shapes[way.shape].name, replaced)


def compare(first: PlacementEstimate, before: Plan, after: Plan, workload: str) -> Quote:
    """The quote for a workload from the plans without and with it; the second one was made against the first as it runs."""
    row = next(item for item in after.desired.workloads if item.name == workload)
    costs = [_cost_tier(plan) for plan in (before, after)]
    own = [replica for replica in after.desired.replicas if replica.served_name == row.served_name]
    served_names = {replica.name: replica.served_name for plan in (before, after) for replica in plan.desired.replicas}
    moved = {action.replica for action in after.actions if isinstance(action, Start | Stop)} - {copy.name for copy in after.temporary}
    lost = {item.name: item.unserved_rps for item in before.desired.workloads}
    return Quote(
        workload=workload,
        estimate=first,
        before_usd_per_h=before.desired.cost_usd_per_h,
        after_usd_per_h=after.desired.cost_usd_per_h,
        usd_per_h=after.desired.cost_usd_per_h - before.desired.cost_usd_per_h,
        least_usd_per_h=costs[1][1] - costs[0][0],
        most_usd_per_h=costs[1][0] - costs[0][1],
        exact=all(plan.desired.certificate.status == "optimal" for plan in (before, after)),
        served_rps=row.rate_rps - row.unserved_rps,
        unserved_rps=row.unserved_rps,
        unserved_reason=row.unserved_reason,
        places=tuple(f"{item.node} GPU {','.join(map(str, item.gpus))}" for item in own),
        moved=tuple(sorted(name for name in moved if served_names[name] != row.served_name)),
        loaded_mib=0 if after.churn is None else round(after.churn.value * MIB_PER_GIB),
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
