"""Invariant 5: apply, then diff is empty; and the order of actions keeps every GPU within its memory."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.plan import Action, Desired, Drain, Plan, Repartition, Replica, SetRoutes, Start, State, Stop
from planner.routes import largest_remainder, routes_for, total_weight
from planner.spec import Fleet
from planner.transitions.diff import diff
from tests.fleets import fleet, workload
from tests.plans import replica
from ullage.planning.plan import plan_fleet


def applied(state: State, plan: Plan) -> State:
    """What a faithful executor leaves, action by action; fails on an action that makes no sense."""
    desired = plan.desired
    wanted = {replica.name: replica for replica in plan.started}
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
                here = [item for item in running.values() if action.node == item.node and action.gpu in item.gpus]
                assert all(item.mig in action.layout for item in here)
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


def engine(replica: Replica) -> tuple[object, ...]:
    """What makes a replica a process of its own."""
    return (replica.args, replica.node, replica.gpus, replica.mig, replica.engine_version)


def changed_fleets() -> st.SearchStrategy[Fleet]:
    models = ("small", "middle", "large")
    rates = st.sampled_from(["0.2/s", "1/s", "4/s", "20/s"])
    chosen = st.dictionaries(st.sampled_from(models), rates, min_size=1)
    return st.builds(lambda rates: fleet(workloads={name: workload(name, rate) for name, rate in sorted(rates.items())}), chosen)


@settings(max_examples=40)
@given(changed_fleets(), changed_fleets())
def test_every_change_ends_at_the_target_within_memory(before: Fleet, after: Fleet) -> None:
    state = applied(State(), plan_fleet(before, State()).plan)
    plan = plan_fleet(after, state).plan
    reached = applied(state, plan)
    # a replica that stays keeps what was expected of it when it was started
    assert {item.name: engine(item) for item in reached.replicas} == {item.name: engine(item) for item in plan.desired.replicas}
    assert reached.routes == plan.desired.routes
    assert diff(reached, plan.desired) == ()


def test_what_goes_leaves_the_router_then_drains_then_stops() -> None:
    state = applied(State(), plan_fleet(fleet(), State()).plan)
    smaller = fleet(workloads={"small": workload("small")})
    actions: tuple[Action, ...] = plan_fleet(smaller, state).plan.actions
    assert [action.kind for action in actions] == ["set_routes", "drain", "drain", "stop", "stop"]


def test_a_model_that_moves_is_routed_all_the_time() -> None:
    """The new replica takes over before the old one is drained; there is no moment without a route."""
    pinned = {
        "one": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"},
        "two": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"},
    }
    state = applied(State(), plan_fleet(fleet(pools=pinned, workloads={"small": workload("small", pin=["one"])}), State()).plan)
    plan = plan_fleet(fleet(pools=pinned, workloads={"small": workload("small", pin=["two"])}), state).plan
    assert [action.kind for action in plan.actions] == ["start", "set_routes", "drain", "stop"]
    assert plan.actions[1] == SetRoutes(routes=plan.desired.routes, reason=plan.actions[1].reason)


def mig_fleet(*models: str, **pool: object) -> Fleet:
    pools = {"mig": {"gpu": "H100", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h", "mig": "repartition", **pool}}
    return fleet(pools=pools, workloads={name: workload(name, "0.5/s") for name in models})


def test_a_mig_neighbour_stays_while_instances_are_added_beside_it() -> None:
    state = applied(State(), plan_fleet(mig_fleet("small"), State()).plan)
    plan = plan_fleet(mig_fleet("small", "middle"), state).plan
    # the model that is new has a route without backends until its replica is ready
    assert [action.kind for action in plan.actions] == ["set_routes", "repartition", "start", "set_routes"]
    applied(state, plan)


def test_a_mig_layout_that_has_all_seats_is_left_alone() -> None:
    both = applied(State(), plan_fleet(mig_fleet("small", "middle"), State()).plan)
    plan = plan_fleet(mig_fleet("small"), both).plan
    assert [action.kind for action in plan.actions] == ["set_routes", "drain", "stop"]
    again = plan_fleet(mig_fleet("small", "middle"), applied(both, plan)).plan
    assert [action.kind for action in again.actions] == ["set_routes", "start", "set_routes"]


def test_a_fixed_mig_layout_stays_whole_on_every_gpu() -> None:
    fixed = mig_fleet("small", mig="fixed", mig_layout=["3g.40gb", "4g.40gb"])
    plan = plan_fleet(fixed, State()).plan
    assert [[place.profile for place in gpu.mig_layout] for gpu in plan.desired.gpus] == [["4g.40gb", "3g.40gb"]] * 2
    more = plan_fleet(mig_fleet("small", "middle", mig="fixed", mig_layout=["3g.40gb", "4g.40gb"]), applied(State(), plan)).plan
    assert not any(isinstance(action, Repartition) for action in more.actions)


def test_a_pool_that_leaves_mig_mode_undoes_its_layouts() -> None:
    state = applied(State(), plan_fleet(mig_fleet("small"), State()).plan)
    plan = plan_fleet(mig_fleet("small", mig="off"), state).plan
    applied(state, plan)
    assert all(gpu.mig_layout == () for gpu in plan.desired.gpus)


def test_nodes_that_are_gone_lose_their_replicas() -> None:
    pool = {"gpu": "H100", "nodes": 2, "gpus_per_node": 1, "price": "3 USD/h"}
    served = {name: workload(name, "1/s", min_replicas=2) for name in ("small", "middle")}
    state = applied(State(), plan_fleet(fleet(pools={"h100": pool}, workloads=served), State()).plan)
    plan = plan_fleet(fleet(pools={"h100": {**pool, "nodes": 1}}, workloads=served), state).plan
    assert {action.replica for action in plan.actions if isinstance(action, Stop)} == {
        item.name for item in state.replicas if item.node == "h100-1"
    }
    applied(state, plan)


def test_a_router_that_takes_an_engines_port_gets_it() -> None:
    state = applied(State(), plan_fleet(fleet(), State()).plan)
    policy = {"router": {"port": 8100}, "ports": {"start": 8200, "end": 8299}}
    plan = plan_fleet(fleet(policy=policy), state).plan
    assert {item.args.port for item in plan.desired.replicas} == {8200, 8201, 8202}
    applied(state, plan)


def test_just_enough_ports_are_enough_for_a_move() -> None:
    two = {name: {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"} for name in ("one", "two")}
    policy = {"ports": {"start": 8100, "end": 8100}}
    here, there = ({"small": workload("small", pin=[name])} for name in ("one", "two"))
    state = applied(State(), plan_fleet(fleet(pools=two, workloads=here, policy=policy), State()).plan)
    plan = plan_fleet(fleet(pools=two, workloads=there, policy=policy), state).plan
    assert [action.kind for action in plan.actions] == ["set_routes", "drain", "stop", "start", "set_routes"]
    applied(state, plan)


@settings(max_examples=20)
@given(count=st.integers(1, 3000), capacity_rps=st.floats(0.01, 100), spread=st.integers(1, 4))
def test_however_many_replicas_share_a_route_each_gets_its_part(count: int, capacity_rps: float, spread: int) -> None:
    """Invariant 3."""
    sample = replica("small-0", "small")
    parts = [capacity_rps * (1 + index % spread) for index in range(count)]
    made = [sample.model_copy(update={"name": f"small-{index:04}", "capacity_rps": part}) for index, part in enumerate(parts)]
    [route] = routes_for(made)
    total = sum(backend.weight for backend in route.backends)
    assert total == total_weight(count)
    assert total == 1000 or count > 100
    # no less than three quarters of its part, however small that is
    assert all(backend.weight / total > 0.75 * part / sum(parts) for backend, part in zip(route.backends, parts, strict=True))


@given(st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=1, max_size=40))
def test_weights_are_whole_and_sum_to_the_total(parts: list[float]) -> None:
    weights = largest_remainder(parts, 1000)
    assert sum(weights) == 1000
    # a replica that runs takes part, however small it is: what it gets beyond its part the largest give
    assert min(weights) >= 1
    exact = [1000 * part / sum(parts) for part in parts]
    given_away = sum(max(0.0, 1 - part) for part in exact)
    assert all(-1 - given_away - 1e-6 < weight - part < 1 + 1e-6 for weight, part in zip(weights, exact, strict=True))


def test_routes_of_every_model_sum_to_1000() -> None:
    plan = plan_fleet(fleet(workloads={"middle": workload("middle", "60/s")}), State()).plan
    assert len(plan.desired.replicas) > 1
    assert routes_for(plan.desired.replicas) == plan.desired.routes
    assert [sum(backend.weight for backend in route.backends) for route in plan.desired.routes] == [1000]
