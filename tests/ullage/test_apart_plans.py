"""Workloads of one model that get on with each other share its replicas; those that do not get replicas of their own."""

from __future__ import annotations

from typing import Any

import pytest

from planner.check.priorities import priority_problems
from planner.plan import Plan, State, as_applied
from planner.routes import routes_for
from renderers.needs import NOBODY_APART
from renderers.vllm import command
from tests.fleets import fleet, workload
from ullage.planning.own_replicas import apart
from ullage.planning.plan import plan_fleet
from ullage.views.plan.plan_text import plan_text

MODEL = {"source": "meta-llama/Meta-Llama-3.1-8B", "max_model_len": 16384, "tensor_parallel": [1]}
POOL = {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 4, "price": "3 USD/h"}


def _workload(rate: str, latency_class: str, inputs: int, outputs: int, **changes: Any) -> dict[str, Any]:
    demand = {"rate": rate, "input_tokens": inputs, "output_tokens": outputs}
    return {"model": "m", "class": latency_class, "demand": demand, **changes}


def _plan(state: State | None = None, goal: str = "15ms", **more: Any) -> Plan:
    """Short answers in little time, beside prompts of 8,000 tokens that can wait."""
    chat = _workload("8/s", "interactive", 300, 100, slo={"tpot_p95": goal})
    workloads = {"chat": chat, "batch": _workload("2/s", "background", 8000, 400), **more}
    spec = fleet(pools={"h100": POOL}, models={"m": MODEL}, workloads=workloads)
    return plan_fleet(spec, state or State()).plan


def test_who_would_slow_others_down_too_much_gets_replicas_of_its_own() -> None:
    plan = _plan()
    (told,) = plan.desired.apart_workloads
    assert (told.workloads, told.served_name, told.priority) == (("batch",), "m-priority-0", 0)
    assert (told.apart_lost_rps, told.apart_usd_per_h) < (told.shared_lost_rps, told.shared_usd_per_h)
    routes = {route.served_name: route for route in plan.desired.routes}
    assert [rule.workload for rule in routes["m"].apart] == ["batch"]
    own = [item for item in plan.desired.replicas if item.served_name == "m-priority-0"]
    assert own
    for replica in own:
        words = command(replica)
        at = words.index("--served-model-name")
        assert words[at + 1 : at + 3] == ("m-priority-0", "m")
        assert "--scheduling-policy" not in words
    assert {row.name: row.served_name for row in plan.desired.workloads} == {"batch": "m-priority-0", "chat": "m"}
    assert list(priority_problems(plan.desired)) == []
    text = plan_text(plan)
    assert "batch (priority 0 of m), as m-priority-0: " in text
    assert "    of batch: m-priority-0" in text


def test_planned_again_nothing_changes() -> None:
    plan = _plan()
    again = _plan(as_applied(plan))
    assert again.actions == ()
    assert again.desired == plan.desired


def test_those_that_get_on_share_and_plans_say_nothing() -> None:
    text = _plan(goal="100ms", batch=_workload("1/s", "background", 800, 100)).model_dump_json()
    assert "apart" not in text
    assert '"scheduling_policy":"priority"' in text


def test_requests_are_sent_apart_only_while_there_is_a_replica_for_them() -> None:
    replicas = _plan().desired.replicas
    shared = [item for item in replicas if item.served_name == "m"]
    assert routes_for(shared, ["m", "m-priority-0"])[0].apart == ()
    assert [rule.served_name for rule in routes_for(replicas)[0].apart] == ["m-priority-0"]


def test_routers_that_do_not_look_at_headers_are_refused_with_what_to_do() -> None:
    (told,) = NOBODY_APART.lacking(_plan().desired)
    assert told.startswith("routes.m.apart: requests of batch go to replicas of their own")
    assert "isolate: true" in NOBODY_APART.otherwise


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"routes": ()}, "its route does not send them"),
        ({"replicas": "deaf"}, "whose engine does not answer to m"),
    ],
)
def test_what_is_wrong_with_them_is_found(change: dict[str, Any], message: str) -> None:
    desired = _plan().desired
    if change.get("replicas") == "deaf":
        replicas = tuple(item.model_copy(update={"args": item.args.model_copy(update={"also_served_as": ()})}) for item in desired.replicas)
        change = {"replicas": replicas}
    assert any(message in problem for problem in priority_problems(desired.model_copy(update=change)))


def test_whoever_keeps_away_from_the_model_keeps_away_from_all_of_its_replicas() -> None:
    spec = fleet(
        pools={"h100": POOL},
        models={"m": MODEL, "other": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048}},
        workloads={
            "chat": _workload("1/s", "interactive", 300, 100),
            "batch": _workload("1/s", "background", 300, 100),
            "away": workload("other", not_with=["m"]),
        },
    )
    divided = apart(spec, "m")
    assert {item.name: item.not_with for item in divided.workloads}["away"] == ("m", "m-priority-0")
    assert {item.served_name for item in divided.workloads} == {"m", "m-priority-0", "other"}
