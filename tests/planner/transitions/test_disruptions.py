"""What an unattended change may do now never touches what the disruption budget protects; repairs are no disruption."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from planner.disruption_budget import DisruptionBudget, whole_week
from planner.plan import Desired, Plan, Stop, as_applied
from planner.transitions.change import change
from planner.transitions.disruptions import allowed_now
from planner.transitions.repairs import Repairs
from tests.plans import plan_of, replica

MODELS = ("a", "b", "c")
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def world(ports: dict[str, int], budget: DisruptionBudget) -> Desired:
    """Replica NAME-N of model NAME on a GPU of its own, listening on its port."""
    replicas = tuple(
        replica(name, name.partition("-")[0], gpus=(gpu,), args={"port": 3000 + 100 * port + gpu})
        for gpu, (name, port) in enumerate(sorted(ports.items()))
    )
    desired = plan_of(replicas, gpu_count=max(1, len(replicas))).desired
    return desired.model_copy(update={"rules": desired.rules.model_copy(update={"disruption_budget": budget})})


names = st.sampled_from([f"{model}-{number}" for model in MODELS for number in range(2)])
ports = st.dictionaries(names, st.integers(0, 1), min_size=1, max_size=6)
budgets = st.builds(
    DisruptionBudget,
    max_concurrent=st.one_of(st.none(), st.integers(1, 3)),
    min_available=st.dictionaries(st.sampled_from(MODELS), st.integers(1, 2), max_size=2),
    protected=st.lists(st.sampled_from(MODELS), unique=True, max_size=2).map(tuple),
    windows_s=st.sampled_from([(), whole_week([(7_200.0, 21_600.0)], daily=True)]),
)


def allowed_stops(plan: Plan, before: Plan, useless: frozenset[str], moment: datetime) -> set[str]:
    allowed = allowed_now(plan, as_applied(before), useless, 0, moment)
    assert bool(allowed.reasons) == (allowed.actions < len(plan.actions))
    return {action.replica for action in plan.actions[: allowed.actions] if isinstance(action, Stop)}


@given(ports, ports, budgets, st.integers(0, 23), st.sets(names, max_size=2))
def test_invariant_28_nobody_whom_the_budget_protects_is_stopped(
    now: dict[str, int], then: dict[str, int], budget: DisruptionBudget, hour: int, hung: set[str]
) -> None:
    before = change(as_applied(plan_of((), gpu_count=1)), world(now, budget))
    useless = frozenset(hung) & now.keys()
    plan = change(as_applied(before), world(then, budget), repairs=Repairs(useless=dict.fromkeys(useless, "hangs")))
    moment = MONDAY + timedelta(hours=hour)
    stops = allowed_stops(plan, before, useless, moment)
    assert stops >= useless
    for name in stops - useless:
        assert name.partition("-")[0] not in budget.protected
        assert budget.is_open(moment)
    # the plan itself lets no more go at once
    for _, group in groupby(plan.actions, lambda action: action.kind):
        leaving = [action for action in group if isinstance(action, Stop) and action.replica not in useless]
        assert budget.max_concurrent is None or len(leaving) <= budget.max_concurrent


def test_windows_open_and_close_and_the_next_one_is_named() -> None:
    nights = DisruptionBudget(windows_s=whole_week([(7_200.0, 21_600.0)], daily=True))
    assert [nights.is_open(MONDAY + timedelta(hours=hour)) for hour in (1, 2, 5, 6)] == [False, True, True, False]
    assert nights.opens(MONDAY + timedelta(hours=6)) == "Tue 02:00 UTC"
    assert nights.opens(MONDAY + timedelta(days=6, hours=7)) == "Mon 02:00 UTC"
    assert DisruptionBudget().is_open(MONDAY)
