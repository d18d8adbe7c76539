"""The plans between least cost and least disturbance: each costs more than the one before it, and disturbs less of what runs.

How a point is reached is an option of the fleet file: policy.cost_slack_fraction says how much of the cost may be spent to keep what runs,
and policy.goals may put churn first. Of the plans that these give, those stay that no other one beats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from planner.plan import Plan, Start, State, Stop
from planner.problem import MIB_PER_GIB
from planner.spec import Fleet
from planner.spec.goals import goal_tiers
from ullage.planning.plan import plan_fleet
from ullage.planning.shared_work import SharedWork

# Our choice: parts of the cost that may be spent to keep what runs.
SLACK_FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

# Digits to which costs and demand are compared: sums of fractions differ in the last ones.
_DIGITS = 6

_USUAL = goal_tiers(())
_CHURN_FIRST = goal_tiers(("churn",))


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """A plan, and the option of the fleet file that gets it (empty where nothing runs); as_it_is: the file needs no change for it."""

    option: str
    plan: Plan
    as_it_is: bool = False

    @property
    def cost_usd_per_h(self) -> float:
        """Cost of the plan."""
        return self.plan.desired.cost_usd_per_h

    @property
    def gpus_used(self) -> int:
        """GPUs that hold a replica."""
        return self.plan.desired.gpus_used

    @property
    def loads_gib(self) -> float:
        """Weights of all replicas that start."""
        started = {action.replica for action in self.plan.actions if isinstance(action, Start)}
        replicas = (replica for replica in self.plan.started if replica.name in started)
        return sum(replica.ledger.weights_mib * len(replica.gpus) for replica in replicas) / MIB_PER_GIB

    @property
    def stopped_replicas(self) -> int:
        """Running replicas that stop, for good or to start again."""
        copies = {replica.name for replica in self.plan.temporary}
        return len({action.replica for action in self.plan.actions if isinstance(action, Stop)} - copies)

    @property
    def unavailable_s(self) -> float:
        """Seconds for which a served name may have no ready replica, over all names."""
        return sum(outage.unavailable_s for outage in self.plan.outages)

    @property
    def unserved_rps(self) -> float:
        """Demand that no replica carries."""
        return sum(workload.unserved_rps for workload in self.plan.desired.workloads)

    @property
    def disturbs(self) -> tuple[float, int]:
        """GiB of weights to load, then replicas that stop: less is better, the first difference decides."""
        return round(self.loads_gib, _DIGITS), self.stopped_replicas


def frontier(fleet: Fleet, state: State, **options: Any) -> tuple[FrontierPoint, ...]:  # noqa: ANN401 -- of plan_fleet
    """The plans that no other one beats in cost and in what it disturbs, the cheapest first and the least disturbing last.

    Where nothing runs there is one, of the fleet as it is. options are those of plan_fleet.
    """
    shared = SharedWork()

    def planned(each: Fleet) -> Plan:
        return plan_fleet(each, state, warm=shared, **options).plan

    if not state.replicas:
        return (FrontierPoint("", planned(fleet), as_it_is=True),)
    ways = list(_ways(fleet))
    found = _by_halves(lambda index: planned(ways[index][1]), len(ways))
    now = next((index for index, (_, each) in enumerate(ways) if each.policy == fleet.policy), None)
    # a way that was not asked ends as those before and after it
    own = None if now is None else _runs(found[max(index for index in found if index <= now)])
    return non_dominated([FrontierPoint(ways[index][0], plan, as_it_is=_runs(plan) == own) for index, plan in sorted(found.items())])


def _by_halves(plan_of: Callable[[int], Plan], count: int) -> dict[int, Plan]:
    """Plans of so many ways by their numbers. Where two ways end in the same plan, those between them do too, and are not asked."""
    found: dict[int, Plan] = {}

    def ask(index: int) -> Plan:
        if index not in found:
            found[index] = plan_of(index)
        return found[index]

    def between(low: int, high: int) -> None:
        if high - low > 1 and _runs(ask(low)) != _runs(ask(high)):
            middle = (low + high) // 2
            ask(middle)
            between(low, middle)
            between(middle, high)

    ask(0), ask(count - 1)
    between(0, count - 1)
    return found


def _runs(plan: Plan) -> tuple[object, ...]:
    """What tells plans apart that somebody would apply."""
    return plan.desired.cost_usd_per_h, plan.desired.replicas, plan.desired.routes


def non_dominated(points: Sequence[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """Of those that serve most the ones that are cheaper than all that disturb no more; of equal ones the earlier."""
    least = min(map(_lost, points), default=())
    left = sorted(
        (point for point in points if _lost(point) == least), key=lambda point: (round(point.cost_usd_per_h, _DIGITS), point.disturbs)
    )
    found: list[FrontierPoint] = []
    for point in left:
        if not found or point.disturbs < found[-1].disturbs:
            found.append(point)
    return tuple(found)


def _lost(point: FrontierPoint) -> tuple[float, ...]:
    """Unserved demand by priority, highest first."""
    rows = point.plan.desired.workloads
    priorities = sorted({row.priority for row in rows}, reverse=True)
    return tuple(round(sum(row.unserved_rps for row in rows if row.priority == priority), _DIGITS) for priority in priorities)


def _ways(fleet: Fleet) -> Iterator[tuple[str, Fleet]]:
    """The fleet with each option that leads to a point."""
    usual = fleet.policy.goals == _USUAL
    for fraction in sorted({*SLACK_FRACTIONS, fleet.policy.cost_slack_fraction}):
        policy = fleet.policy.model_copy(update={"goals": _USUAL, "cost_slack_fraction": fraction})
        option = f"policy.cost_slack_fraction: {fraction:g}"
        yield option if usual else f"policy.goals: [cost], {option}", fleet.model_copy(update={"policy": policy})
    policy = fleet.policy.model_copy(update={"goals": _CHURN_FIRST})
    yield "policy.goals: [churn]", fleet.model_copy(update={"policy": policy})
