"""Changes of what runs: as little as can be, one after the other where there is no room, and what they cost is told before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.backends.local import Deadlines
from planner.check import check
from planner.plan import Desired, Outage, Plan, Route, SetRoutes, Start, State, Stop
from planner.spec import Fleet
from planner.transitions.outages import DRAIN_LIMIT_S, STOP_LIMIT_S
from profiles.catalogue import builtin
from tests.fleets import fleet, fleet_dict, workload
from tests.planner.transitions.test_diff import applied, engine
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet
from ullage.views.plan.plan_text import outage_lines

MODELS: dict[str, dict[str, Any]] = fleet_dict()["models"]


def keeps_ready(state: State, plan: Plan, least: Mapping[str, int]) -> None:
    """Fails when a route names a replica that is not ready, or a model has fewer routed replicas at some step than it must."""
    wanted = {item.name: item for item in plan.started}
    ready = {item.name: item.args.port for item in state.replicas}
    for action in plan.actions:
        match action:
            case Start():
                ready[action.replica] = wanted[action.replica].args.port
            case Stop():
                del ready[action.replica]
            case SetRoutes():
                routed = {route.served_name: route.backends for route in action.routes}
                assert all(ready.get(backend.replica) == backend.port for backends in routed.values() for backend in backends)
                assert {name: len(routed[name]) for name, count in least.items() if len(routed[name]) < count} == {}


def all_fit(state: State, desired: Desired) -> bool:
    """Whether whatever the plan starts has room beside all that runs and all that starts."""
    runs = {engine(item) for item in state.replicas}
    coming = [item for item in desired.replicas if engine(item) not in runs]
    for gpu in desired.gpus:
        old, new = ([item for item in items if item.node == gpu.node and gpu.index in item.gpus] for items in (state.replicas, coming))
        both = [*old, *new]
        extra_mib = max((item.ledger.start_extra_mib for item in new), default=0)
        if new and len(both) > 1 and {item.mode for item in both} != {"time_shared"}:
            return False
        if new and sum(item.ledger.total_mib for item in both) + extra_mib + gpu.headroom_mib > gpu.memory_mib:
            return False
    return True


def replicated_fleets() -> st.SearchStrategy[Fleet]:
    rates = st.sampled_from(["0.2/s", "1/s", "4/s", "5/s", "20/s"])
    asked = st.tuples(rates, st.integers(1, 3), st.sampled_from([2048, 4096]))
    chosen = st.dictionaries(st.sampled_from(["small", "middle", "large"]), asked, min_size=1)

    def built(chosen: Mapping[str, tuple[str, int, int]]) -> Fleet:
        served = {name: workload(name, rate, min_replicas=count) for name, (rate, count, _) in sorted(chosen.items())}
        models = {name: {**MODELS[name], "max_model_len": chosen[name][2] if name in chosen else 2048} for name in MODELS}
        pool = {"gpu": "H100", "nodes": 2, "gpus_per_node": 2, "price": "3 USD/h"}
        return fleet(pools={"h100": pool}, models=models, workloads=served)

    return st.builds(built, chosen)


@settings(max_examples=40)
@given(replicated_fleets(), replicated_fleets())
def test_no_model_loses_ready_replicas_it_needs_where_there_is_room(before: Fleet, after: Fleet) -> None:
    """Invariant 19."""
    state = applied(State(), plan_fleet(before, State()).plan)
    plan = plan_fleet(after, state).plan
    counts = [Counter(item.served_name for item in replicas) for replicas in (state.replicas, plan.desired.replicas)]
    asked = {model.served_name: model.min_replicas for model in plan.desired.rules.models}
    least = {name: min(asked[name], counts[0][name], counts[1][name]) for name in counts[0] & counts[1]}
    fits = all_fit(state, plan.desired)
    keeps_ready(state, plan, least if fits else {})
    assert not (fits and plan.outages)
    assert {engine(item) for item in applied(state, plan).replicas} == {engine(item) for item in plan.desired.replicas}


def crowded(rate: str, count: int = 2, max_model_len: int = 65536) -> Fleet:
    """Replicas of one model that fill most of two GPUs, so that none fits beside another."""
    pool = {"gpu": "H100", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h", "sharing": ["exclusive"]}
    models = {"middle": {**MODELS["middle"], "max_model_len": max_model_len}}
    return fleet(pools={"h100": pool}, models=models, workloads={"middle": workload("middle", rate, min_replicas=count)})


def test_replicas_that_must_make_room_for_their_successors_go_one_after_the_other() -> None:
    state = applied(State(), plan_fleet(crowded("1/s"), State()).plan)
    plan = plan_fleet(crowded("1/s", max_model_len=32768), state).plan
    done = [(action.kind, getattr(action, "replica", "")) for action in plan.actions]
    one = ["set_routes", "drain", "stop", "start"]
    assert done == [
        *zip(one, ["", *["middle-0"] * 3], strict=True),
        *zip(one, ["", *["middle-1"] * 3], strict=True),
        ("set_routes", ""),
    ]
    keeps_ready(state, plan, {"middle": 1})
    applied(state, plan)
    [start_s] = {item.start_s for item in plan.desired.replicas}
    assert plan.outages == (
        Outage(
            served_name="middle",
            unavailable_s=0.0,
            short_s=2 * (start_s + 60 + 35),
            fewest_replicas=1,
            least_replicas=2,
            reason="no room for both: middle-0, middle-1 must stop before middle-0, middle-1 can start; up to 190 s of it while "
            "running requests end; one more free GPU of pool h100 would avoid it",
        ),
    )


def test_a_lone_replica_that_must_make_room_leaves_a_route_without_backends() -> None:
    here = {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h", "sharing": ["exclusive"]}

    def lone(max_model_len: int) -> Fleet:
        models = {"small": {**MODELS["small"], "max_model_len": max_model_len}}
        return fleet(pools={"h100": here}, models=models, workloads={"small": workload("small")})

    state = applied(State(), plan_fleet(lone(2048), State()).plan)
    plan = plan_fleet(lone(4096), state).plan
    assert [action.kind for action in plan.actions] == ["set_routes", "drain", "stop", "start", "set_routes"]
    assert isinstance(plan.actions[0], SetRoutes)
    assert plan.actions[0].routes == (Route(served_name="small", backends=()),)
    reason = "no room for both: small-0 must stop before small-0 can start; up to 95 s of it while running requests end"
    reason += "; one more free GPU of pool h100 would avoid it"
    start_s = plan.desired.replicas[0].start_s
    assert start_s > 10
    # it takes no new request from the start of its drain, which lasts at most 60 s, and its end at most 35 s
    lack_s = start_s + 95
    assert plan.outages == (
        Outage(served_name="small", unavailable_s=lack_s, short_s=lack_s, fewest_replicas=0, least_replicas=1, reason=reason),
    )
    assert f"  small: UNAVAILABLE for up to {lack_s:.0f} s: {reason}" in list(outage_lines(plan.outages))
    without = plan.model_copy(update={"outages": (plan.outages[0].model_copy(update={"unavailable_s": start_s}),)})
    [fault] = check(without, builtin().gpu, architecture_of, state)
    assert f"small is unavailable for up to {lack_s:.0f} s" in fault


def test_apply_waits_no_longer_than_the_plan_counts() -> None:
    assert (Deadlines().drain_s, Deadlines().stop_grace_s) == (DRAIN_LIMIT_S, STOP_LIMIT_S)


def test_an_engine_with_new_settings_starts_beside_the_old_one_where_there_is_room() -> None:
    def shared(max_model_len: int) -> Fleet:
        models = {**MODELS, "small": {**MODELS["small"], "max_model_len": max_model_len}}
        return fleet(models=models)

    state = applied(State(), plan_fleet(shared(2048), State()).plan)
    plan = plan_fleet(shared(3072), state).plan
    assert [action.kind for action in plan.actions] == ["start", "set_routes", "drain", "stop"]
    keeps_ready(state, plan, {"small": 1, "middle": 1, "large": 1})
    assert plan.outages == ()


def shared_by_three(rate: str) -> Fleet:
    """Two GPUs: two replicas of a model that is asked much, and two other models beside them."""
    models = {
        "talk": {"source": "meta-llama/Meta-Llama-3.1-8B", "max_model_len": 4096},
        "write": {"source": "Qwen/Qwen3-14B", "max_model_len": 4096},
        "sort": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048},
    }
    served = {
        "talk": workload("talk", rate, min_replicas=2, **{"class": "interactive"}),
        "write": workload("write", "0.5/s"),
        "sort": workload("sort", "2/s", **{"class": "background"}),
    }
    return fleet(models=models, workloads=served)


@pytest.mark.parametrize("rate", ["7.5/s", "8.1/s", "4/s", "1/s"])
def test_a_small_change_of_demand_changes_nothing_that_runs(rate: str) -> None:
    first = plan_fleet(shared_by_three("8/s"), State()).plan
    assert Counter(item.served_name for item in first.desired.replicas) == {"talk": 2, "write": 1, "sort": 1}
    state = applied(State(), first)
    plan = plan_fleet(shared_by_three(rate), state).plan
    assert plan.actions == ()
    assert [(item.args, item.ledger) for item in plan.desired.replicas] == [(item.args, item.ledger) for item in state.replicas]
    assert sum(item.planned_rps for item in plan.desired.replicas if item.served_name == "talk") == pytest.approx(float(rate[:-2]))
