"""Plans that their own simulation confirms: what falls short is sized with more room and planned again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from planner.plan import Attainment, Desired, Plan
from planner.simulation.plan_input import planned_world
from planner.spec import Fleet
from planner.verification.plan_judge import attainments, falls_short
from profiles.catalogue import builtin
from ullage.checking import FindArchitecture

# Rounds of planning again, and how much longer the steps of a model that falls short are taken to be in each.
MOST_ROUNDS, SLOWER_PER_ROUND = 3, 1.15

# A plan with these step times, by served name; a model that is not named keeps its own.
PlanWith = Callable[[Mapping[str, float]], Plan]


@dataclass(frozen=True, slots=True)
class _Tried:
    plan: Plan
    found: Mapping[str, tuple[Attainment, ...]]
    short: tuple[str, ...]

    @property
    def rank(self) -> tuple[float, int, float]:
        """Unserved demand first, then models that fall short, then cost."""
        desired = self.plan.desired
        return sum(workload.unserved_rps for workload in desired.workloads), len(self.short), desired.cost_usd_per_h


def confirmed(fleet: Fleet, plan_with: PlanWith, architecture: FindArchitecture, stopped: Callable[[], bool]) -> Plan:
    """The plan with its simulated attainment; of several rounds the one that serves most, then confirms most, then costs least.

    Where a model keeps fewer of its goals than policy.sizing_quantile, under any stress, its steps are taken to be longer and the fleet is
    planned again, at most MOST_ROUNDS times. stopped ends this early.
    """
    slower: dict[str, float] = {}
    tried: list[_Tried] = []
    while True:
        plan = plan_with(slower)
        found = attainments(plan.desired, planned_world(plan, builtin().gpu, architecture, fleet.measurements))
        short = tuple(name for name, items in found.items() if falls_short(items, fleet.policy.sizing_quantile))
        tried.append(_Tried(plan, found, short))
        if not short or len(tried) > MOST_ROUNDS or stopped():
            break
        for name in short:
            slower[name] = slower.get(name, 1.0) * SLOWER_PER_ROUND
    best = min(tried, key=lambda item: item.rank)
    return best.plan.model_copy(update={"desired": _with(best.plan.desired, best.found)})


def _with(desired: Desired, found: Mapping[str, tuple[Attainment, ...]]) -> Desired:
    rows = tuple(row.model_copy(update={"simulated": found.get(row.served_name, ())}) for row in desired.workloads)
    return desired.model_copy(update={"workloads": rows})
