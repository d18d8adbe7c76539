"""Workloads of one model with different priorities: who goes first, from the fleet file to the simulation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.check.priorities import priority_problems
from planner.plan import Plan, RequestPriority, State, as_applied, ttft_s_of
from planner.routes import routes_for
from planner.simulation.configuration import engine_config
from planner.simulation.offered_load import OfferedLoad, offered_requests
from planner.simulation.plan_input import planned_world, workload_requests
from planner.simulation.simulation_input import SimulatedEngine, SimulatedGpu
from planner.simulation.traffic_metrics import RequestRecord
from planner.simulation.virtual_time import simulate
from planner.spec import SpecError
from profiles.catalogue import builtin
from profiles.gpu_types import settings_on
from profiles.latency.capacity import Slo, capacity_rps, forecast
from profiles.latency.mix import QueueClass, RequestMix
from profiles.latency.prediction import predict
from profiles.settings import EngineSettings
from renderers.vllm import command
from tests.fleets import fleet, workload
from ullage.planning.plan import plan_fleet
from ullage.traffic.requests import declared_requests


def _plan(state: State | None = None, **workloads: Any) -> Plan:
    return plan_fleet(fleet(workloads=workloads), state or State()).plan


def _mixed() -> Plan:
    urgent = workload("middle", "3/s", **{"class": "interactive"})
    return _plan(chat=urgent, batch=workload("middle", "1/s", **{"class": "background"}), other=workload("small"))


OWN = (RequestPriority(workload="batch", model="middle", priority=100), RequestPriority(workload="chat", model="middle", priority=0))


def test_engines_of_workloads_with_different_priorities_take_the_urgent_ones_first() -> None:
    plan = _mixed()
    routes = {route.served_name: route for route in plan.desired.routes}
    assert routes["middle"].priorities == OWN
    assert routes["small"].priorities == ()
    for replica in plan.desired.replicas:
        words = command(replica)
        assert ("--scheduling-policy" in words) == (replica.served_name == "middle")
        assert replica.priorities == (OWN if replica.served_name == "middle" else ())
        if replica.served_name == "middle":
            assert replica.forecast.ttft_s == ttft_s_of("chat", replica) < ttft_s_of("batch", replica)
    times_s = {row.name: row.ttft_s for row in plan.desired.workloads}
    assert times_s["chat"] is not None
    assert times_s["batch"] is not None
    assert times_s["chat"] < times_s["batch"]
    assert list(priority_problems(plan.desired)) == []


def test_plans_without_different_priorities_say_nothing_of_them() -> None:
    text = _plan(chat=workload("middle"), tags=workload("middle")).model_dump_json()
    assert "scheduling_policy" not in text
    assert "ttft_by_class_s" not in text
    assert "priorities" not in text


def test_a_priority_of_its_own_counts_more_than_the_class() -> None:
    plan = _plan(one=workload("middle", priority=7), two=workload("middle", priority=5))
    assert [item.priority for item in plan.desired.routes[0].priorities] == [0, 2]


def test_the_policy_cannot_be_set_beside_the_plan() -> None:
    models = {"small": {"source": "Qwen/Qwen3-0.6B", "extra_args": {"scheduling-policy": "fcfs"}}}
    with pytest.raises(SpecError, match="scheduling-policy is decided by the plan"):
        fleet(models=models, workloads={"small": workload("small")})


def test_the_router_sets_priorities_only_where_every_engine_takes_them() -> None:
    plan = _mixed()
    new = next(replica for replica in plan.desired.replicas if replica.served_name == "middle")
    old = new.model_copy(update={"name": "middle-9", "args": new.args.model_copy(update={"scheduling_policy": "fcfs"}), "priorities": ()})
    assert routes_for([new])[0].priorities == OWN
    assert routes_for([new, old])[0].priorities == ()
    assert routes_for([], ["middle"])[0].priorities == ()


def test_what_engines_would_refuse_is_found() -> None:
    desired = _mixed().desired
    replicas = tuple(
        item.model_copy(update={"args": item.args.model_copy(update={"scheduling_policy": "fcfs"})}) for item in desired.replicas
    )
    found = list(priority_problems(desired.model_copy(update={"replicas": replicas})))
    assert any("sets priorities, which middle-0 refuses" in problem for problem in found)
    assert any("has 2 priorities, and its scheduling policy is fcfs" in problem for problem in found)
    stranger = (OWN[0].model_copy(update={"workload": "other"}), OWN[0], OWN[0])
    routes = tuple(item.model_copy(update={"priorities": stranger if item.served_name == "middle" else ()}) for item in desired.routes)
    assert any("workload batch has 2 priorities" in problem for problem in priority_problems(desired.model_copy(update={"routes": routes})))


def test_another_priority_restarts_nothing() -> None:
    plan = _mixed()
    urgent = workload("middle", "3/s", **{"class": "interactive"})
    later = _plan(
        as_applied(plan),
        chat=urgent,
        batch=workload("middle", "1/s", priority=30, **{"class": "background"}),
        other=workload("small"),
    )
    assert [action.kind for action in later.actions] == ["set_routes"]


def test_in_a_burst_the_less_urgent_requests_wait() -> None:
    plan = _mixed()
    world = planned_world(plan, builtin().gpu, builtin().model)
    requests = declared_requests(plan, 120.0, 1, seed=1, scale={"chat": 25.0})
    assert {request.priority for request in requests} == {0, 100}
    records = simulate(world.engines, world.gpus, requests, world.routes).records
    plain = tuple(replace(request, priority=0) for request in requests)
    alike = simulate(world.engines, world.gpus, plain, world.routes).records
    assert _p95_s(records, "chat") < _p95_s(alike, "chat")
    assert _p95_s(records, "batch") > _p95_s(alike, "batch")
    assert workload_requests(plan, ()) == ()


def _p95_s(records: tuple[RequestRecord, ...], name: str) -> float:
    times_s = sorted(record.ttft_s for record in records if record.workload == name and record.ttft_s is not None)
    return times_s[int(0.95 * len(times_s))]


SHARES = [0.1, 0.3, 0.5, 0.8]


def _engine(share: float, output_tokens: float) -> tuple[SimulatedEngine, RequestMix]:
    architecture, gpu = builtin().model("meta-llama/Meta-Llama-3.1-8B"), builtin().gpu("H100-SXM-80GB")
    settings = settings_on(gpu, EngineSettings(engine_version="0.32.0", max_model_len=8192, max_num_batched_tokens=2048))
    step = predict(architecture, gpu, settings)
    mix = RequestMix(1500, output_tokens, 5000, 3 * output_tokens, classes=(QueueClass(0.0, share), QueueClass(share, 1.0)))
    config = engine_config(architecture, settings, 40 << 30, by_priority=True)
    return SimulatedEngine("e", config, step, "g", 1), mix


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("output_tokens", [20.0, 200.0])
def test_the_forecast_of_each_priority_is_no_better_than_the_simulation(share: float, output_tokens: float) -> None:
    engine, mix = _engine(share, output_tokens)
    settings = EngineSettings(engine_version="0.32.0", max_model_len=8192, max_num_batched_tokens=2048, max_num_seqs=256)
    slo = Slo(1.0, 0.05, (1.0, 10.0))
    rate_rps = capacity_rps(engine.step_time, mix, slo, 1.0, settings)
    load = forecast(engine.step_time, mix, rate_rps, 1.0, settings, 0.95)
    assert load is not None
    plain = replace(mix, classes=())
    loads = [
        OfferedLoad("urgent", "m", rate_rps * share, plain, 8192, 0),
        OfferedLoad("patient", "m", rate_rps * (1 - share), plain, 8192, 100),
    ]
    records = simulate([engine], [SimulatedGpu("g", (("g", 1.0),))], offered_requests(loads, 400.0, 1), {"m": (("e", 1),)}).records
    assert _p95_s(records, "urgent") <= load.ttft_by_class_s[0]
    assert _p95_s(records, "patient") <= load.ttft_by_class_s[1]


@given(st.floats(0.01, 0.99), st.floats(0.05, 0.95))
def test_no_priority_waits_less_than_a_more_urgent_one(share: float, part: float) -> None:
    engine, mix = _engine(share, 100.0)
    settings = EngineSettings(engine_version="0.32.0", max_model_len=8192, max_num_batched_tokens=2048, max_num_seqs=256)
    plain = replace(mix, classes=())
    rate_rps = part * capacity_rps(engine.step_time, plain, Slo(10.0, 1.0), 1.0, settings)
    both, alike = (forecast(engine.step_time, item, rate_rps, 1.0, settings) for item in (mix, plain))
    assert both is not None
    assert alike is not None
    urgent_s, patient_s = both.ttft_by_class_s
    assert urgent_s <= alike.ttft_s <= patient_s
    assert both.ttft_s == urgent_s
    assert replace(both, ttft_s=0.0, ttft_by_class_s=()) == replace(alike, ttft_s=0.0)
