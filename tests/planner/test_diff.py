"""Invariant 5: apply, then diff is empty; and the order of actions keeps every GPU within its memory."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from planner.diff import diff, largest_remainder, routes_for
from planner.plan import Action, Desired, Drain, Plan, Repartition, Replica, SetRoutes, Start, State, Stop
from planner.spec import Fleet
from tests.fleets import fleet, workload
from ullage.planning import plan_fleet


def applied(state: State, plan: Plan) -> State:
    """What a faithful executor leaves, action by action; fails on an action that makes no sense."""
    desired = plan.desired
    wanted = {replica.name: replica for replica in desired.replicas}
    running = {replica.name: replica for replica in state.replicas}
    routes = state.routes
    for action in plan.actions:
        match action:
            case Start():
                assert action.replica not in running
                running[action.replica] = wanted[action.replica]
                assert_fits(list(running.values()), desired)
            case Drain():
                assert all(backend.replica != action.replica for route in routes for backend in route.backends)
            case Stop():
                del running[action.replica]
            case SetRoutes():
                routes = action.routes
                assert {backend.replica for route in routes for backend in route.backends} <= set(running)
            case Repartition():
                assert not any(action.node == item.node and action.gpu in item.gpus for item in running.values())
    return State(
        serial=state.serial + 1,
        nodes=desired.nodes,
        gpus=desired.gpus,
        replicas=tuple(running[name] for name in sorted(running)),
        routes=routes,
        router=desired.router,
    )


def assert_fits(running: Sequence[Replica], desired: Desired) -> None:
    """Invariant 1 at every step."""
    for gpu in desired.gpus:
        here = [item for item in running if item.node == gpu.node and gpu.index in item.gpus and item.mig is None]
        assert sum(item.ledger.total_mib for item in here) + gpu.headroom_mib <= gpu.memory_mib or not here


def test_apply_then_diff_is_empty() -> None:
    plan = plan_fleet(fleet(), State()).plan
    state = applied(State(), plan)
    again = plan_fleet(fleet(), state).plan
    assert again.actions == ()
    assert again.desired == plan.desired


def test_an_empty_state_needs_only_starts_and_routes() -> None:
    kinds = [action.kind for action in plan_fleet(fleet(), State()).plan.actions]
    assert kinds == ["start", "start", "start", "set_routes"]


def changed_fleets() -> st.SearchStrategy[Fleet]:
    models = ("small", "middle", "large")
    rates = st.sampled_from(["0.2/s", "1/s", "4/s", "20/s"])
    chosen = st.dictionaries(st.sampled_from(models), rates, min_size=1)
    return st.builds(lambda rates: fleet(workloads={name: workload(name, rate) for name, rate in sorted(rates.items())}), chosen)


@given(changed_fleets(), changed_fleets())
def test_every_change_ends_at_the_target_within_memory(before: Fleet, after: Fleet) -> None:
    state = applied(State(), plan_fleet(before, State()).plan)
    plan = plan_fleet(after, state).plan
    reached = applied(state, plan)
    assert {item.name: item for item in reached.replicas} == {item.name: item for item in plan.desired.replicas}
    assert reached.routes == plan.desired.routes
    assert diff(reached, plan.desired) == ()


def test_what_goes_leaves_the_router_then_drains_then_stops() -> None:
    state = applied(State(), plan_fleet(fleet(), State()).plan)
    smaller = fleet(workloads={"small": workload("small")})
    actions: tuple[Action, ...] = plan_fleet(smaller, state).plan.actions
    assert [action.kind for action in actions] == ["set_routes", "drain", "drain", "stop", "stop"]


@given(st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=1, max_size=40))
def test_weights_are_whole_and_sum_to_the_total(parts: list[float]) -> None:
    weights = largest_remainder(parts, 1000)
    assert sum(weights) == 1000
    assert all(abs(weight - 1000 * part / sum(parts)) < 1 + 1e-6 for weight, part in zip(weights, parts, strict=True))


def test_routes_of_every_model_sum_to_1000() -> None:
    plan = plan_fleet(fleet(workloads={"middle": workload("middle", "60/s")}), State()).plan
    assert len(plan.desired.replicas) > 1
    assert routes_for(plan.desired.replicas) == plan.desired.routes
    assert [sum(backend.weight for backend in route.backends) for route in plan.desired.routes] == [1000]
