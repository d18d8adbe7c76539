"""Splits by the length of prompts, from the fleet file to plans that are checked, rendered and simulated."""

from __future__ import annotations

import re
from typing import Any

import pytest

from planner.check import check
from planner.demand.parted import parted
from planner.demand.traces import TraceRequest
from planner.explain.cost_floor import least_microusd_per_h
from planner.plan import Plan, State, as_applied, plan_from_json, to_json
from planner.problem import MICRO
from planner.sizing.blueprint import build
from planner.spec import Fleet
from profiles.catalogue import builtin
from renderers.needs import NO_SPLIT_PROMPTS
from renderers.vllm import command
from tests.fleets import fleet, fleet_dict
from ullage.planning.plan import plan_fleet
from ullage.traffic.requests import declared_requests, tagged
from ullage.traffic.simulate import simulated
from ullage.views.plan.plan_text import plan_text

POOLS = {
    "h100": {"gpu": "H100-SXM-80GB", "nodes": 4, "gpus_per_node": 8, "price": "3 USD/h"},
    "l4": {"gpu": "L4", "nodes": 2, "gpus_per_node": 8, "price": "0.7 USD/h"},
}
LONG_TAIL = {"mean": 1000, "p99": 14000}


def _fleet(rate: str = "30/s", prompts: object = LONG_TAIL, **changes: Any) -> Fleet:
    demand = {"rate": rate, "input_tokens": prompts, "output_tokens": {"mean": 200, "p99": 800}}
    return fleet(
        pools=POOLS,
        models={"chat": {"source": "meta-llama/Meta-Llama-3.1-8B", "max_model_len": 65536}},
        workloads={"web": {"model": "chat", "demand": demand, **changes}},
    )


def _plan(rate: str = "30/s", prompts: object = LONG_TAIL, state: State | None = None, **changes: Any) -> Plan:
    return plan_fleet(_fleet(rate, prompts, **{"split": "prompt_length", **changes}), state or State()).plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return _plan()


def _problems(plan: Plan, state: State | None = None) -> tuple[str, ...]:
    return check(plan, builtin().gpu, builtin().model, state)


def test_a_split_that_pays_is_made_and_says_what_it_saves(plan: Plan) -> None:
    (split,) = plan.desired.prompt_splits
    assert split.longer is not None
    assert split.split_usd_per_h is not None
    assert 0 < split.split_usd_per_h < split.unsplit_usd_per_h
    whole = plan_fleet(_fleet(), State()).plan
    assert plan.desired.cost_usd_per_h < whole.desired.cost_usd_per_h
    assert f"prompts of more than {split.longer.over_tokens} tokens" in split.reason
    assert f"{split.split_usd_per_h:.2f} USD/h with a split and {split.unsplit_usd_per_h:.2f} without" in split.reason
    rows = {row.name: row for row in plan.desired.workloads}
    assert {name: row.served_name for name, row in rows.items()} == {"web": "chat", "web-long": "chat-long"}
    assert sum(row.rate_rps for row in rows.values()) == pytest.approx(30.0)
    assert sum(row.rate_rps * row.input_tokens for row in rows.values()) == pytest.approx(30_000.0)
    assert split.reason in plan_text(plan)
    assert plan_from_json(to_json(plan), "plan") == plan


def test_longer_requests_have_a_route_of_their_own(plan: Plan) -> None:
    routes = {route.served_name: route for route in plan.desired.routes}
    rule = routes["chat"].longer
    assert rule is not None
    assert (rule.served_name, rule.over_bytes) == ("chat-long", 4 * rule.over_tokens)
    assert routes["chat-long"].longer is None
    for replica in plan.desired.replicas:
        long = replica.served_name == "chat-long"
        words = command(replica)
        at = words.index("--served-model-name") + 1
        assert words[at : at + 2] == (("chat-long", "chat") if long else ("chat", "--host"))
        assert replica.args.max_model_len == 65536
    assert f"longer than {rule.over_bytes} bytes, or of unknown length: chat-long" in plan_text(plan)
    assert list(NO_SPLIT_PROMPTS.lacking(plan.desired))


def test_a_split_that_does_not_pay_is_not_made() -> None:
    plan = _plan("5/s", {"mean": 2000, "p99": 20000})
    (split,) = plan.desired.prompt_splits
    assert split.longer is None
    assert split.reason.startswith("a split does not pay: ")
    assert re.search(r": \d+\.\d\d USD/h with a split and \d+\.\d\d without, for prompts of more than \d+ tokens", split.reason)
    whole = plan_fleet(_fleet("5/s", {"mean": 2000, "p99": 20000}), State()).plan
    assert plan.desired.model_copy(update={"prompt_splits": (), "input_hashes": whole.desired.input_hashes}) == whole.desired
    assert not list(NO_SPLIT_PROMPTS.lacking(plan.desired))


def test_prompts_of_one_length_are_not_split() -> None:
    (split,) = _plan("1/s", 300).desired.prompt_splits
    assert (split.longer, split.reason) == (None, "its prompts have one length")


def test_a_part_without_any_way_to_be_served_is_no_split() -> None:
    (split,) = _plan("5/s", {"mean": 2000, "p99": 20000}, slo={"ttft_p95": "1s"}).desired.prompt_splits
    assert split.longer is None
    assert "leave a part that no replica serves within its goals" in split.reason


def test_longer_prompts_may_have_a_goal_of_their_own() -> None:
    plan = _plan("5/s", {"mean": 2000, "p99": 20000}, slo={"ttft_p95": "1s", "long_ttft_p95": "10s"})
    rows = {row.name: row.ttft_slo_s for row in plan.desired.workloads}
    assert rows == {"web": 1.0, "web-long": 10.0}
    (split,) = plan.desired.prompt_splits
    assert split.reason.endswith("; the TTFT goal of longer prompts is 10 s with a split, 1 s without")


def test_verified_plans_are_compared_as_they_are_confirmed() -> None:
    """Sizing is on the safe side, most of all for long tails: a split that pays by it alone need not pay in the end."""
    whole = plan_fleet(_fleet(), State(), verify=True).plan
    plan = plan_fleet(_fleet(split="prompt_length"), State(), verify=True).plan
    (split,) = plan.desired.prompt_splits
    assert split.longer is None
    assert (split.unsplit_usd_per_h, plan.desired.cost_usd_per_h) == (whole.desired.cost_usd_per_h,) * 2
    assert _problems(plan) == ()
    # and planned again it stays as it runs
    assert plan_fleet(_fleet(split="prompt_length"), as_applied(plan), verify=True).plan.actions == ()


def test_a_verified_split_keeps_its_goals() -> None:
    slo = {"ttft_p95": "1s", "long_ttft_p95": "10s"}
    prompts = {"mean": 2000, "p99": 20000}
    plan = plan_fleet(_fleet("30/s", prompts, slo=slo, split="prompt_length"), State(), verify=True).plan
    whole = plan_fleet(_fleet("30/s", prompts, slo={"ttft_p95": "1s"}), State(), verify=True).plan
    assert plan.desired.prompt_splits[0].longer is not None
    assert plan.desired.cost_usd_per_h < whole.desired.cost_usd_per_h
    assert all(row.simulated and not row.best_effort and not row.unserved_rps for row in plan.desired.workloads)
    assert _problems(plan) == ()


def test_a_plan_without_splits_has_no_word_of_them() -> None:
    text = to_json(plan_fleet(fleet(), State()).plan)
    assert not [word for word in ("longer", "prompt_splits", "also_served_as") if f'"{word}' in text]


def test_the_same_fleet_gives_the_same_bytes(plan: Plan) -> None:
    assert to_json(_plan()) == to_json(plan)


def test_rules_follow_both_parts() -> None:
    written = fleet_dict(workloads={**fleet_dict()["workloads"]})
    demand = {"rate": "1/s", "input_tokens": {"mean": 100, "p99": 900}, "output_tokens": 50}
    written["workloads"]["small"] = {"model": "small", "demand": demand, "split": "prompt_length", "not_with": ["middle"]}
    written["workloads"]["large"]["not_with"] = ["small"]
    whole = fleet(workloads=written["workloads"], policy={"disruption_budget": {"min_available": {"small": 1}, "protected": ["small"]}})
    small = next(workload for workload in whole.workloads if workload.name == "small")
    both = parted(whole, "small", small.splits[0])
    by_name = {workload.name: workload for workload in both.workloads}
    assert by_name["large"].not_with == ("small", "small-long")
    assert by_name["small-long"].not_with == ("middle",)
    assert both.policy.disruption_budget.min_available == {"small": 1, "small-long": 1}
    assert both.policy.disruption_budget.protected == ("small", "small-long")


@pytest.mark.parametrize("rate", ["0.5/s", "5/s", "30/s"])
@pytest.mark.parametrize("prompts", [300, LONG_TAIL, {"mean": 4000, "p99": 9000}])
def test_no_plan_that_serves_everything_costs_less_than_the_floor(rate: str, prompts: object) -> None:
    whole = _fleet(rate, prompts)
    plan = plan_fleet(whole, State()).plan
    if not any(row.unserved_rps for row in plan.desired.workloads):
        assert least_microusd_per_h(build(whole, State())) <= plan.desired.cost_usd_per_h * MICRO + 1


def test_changes_to_a_split_and_back_lose_nobody(plan: Plan) -> None:
    """Until a replica for longer requests is ready whoever serves the model takes all; no step routes to nobody."""
    before = as_applied(_plan(split="none"))
    there = plan_fleet(_fleet(split="prompt_length"), before).plan
    assert _problems(there, before) == ()
    back = plan_fleet(_fleet(), as_applied(there)).plan
    assert _problems(back, as_applied(there)) == ()


@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        ("routes", {"longer": None}, "its route does not send them"),
        ("routes", {"over_bytes": 7}, "bytes are not 7 bytes"),
        ("routes", {"served_name": "chat"}, "tells lengths apart itself"),
        ("routes", {"served_name": "nobody"}, "which has no replica"),
        ("replicas", {"longer_of": None}, "its engine also answers to chat, by its rule to nothing"),
        ("args", {"also_served_as": ()}, "does not answer to chat"),
        ("args", {"max_model_len": 4096}, "a request that comes to the wrong ones may fail"),
        ("prompt_splits", {"longer": None}, "the plan says of no workload that it is split there"),
    ],
)
def test_the_checker_sees_lengths_that_nobody_or_the_wrong_ones_take(plan: Plan, field: str, change: dict[str, Any], words: str) -> None:
    found = _problems(plan.model_copy(update={"desired": _changed(plan, field, change)}))
    assert any(words in problem for problem in found), found
    assert _problems(plan) == ()


def _changed(plan: Plan, field: str, change: dict[str, Any]) -> Any:
    desired = plan.desired
    if field == "prompt_splits":
        return desired.model_copy(update={field: (desired.prompt_splits[0].model_copy(update=change),)})
    if field == "routes":
        first = desired.routes[0]
        assert first.longer is not None
        update = change if "longer" in change else {"longer": first.longer.model_copy(update=change)}
        return desired.model_copy(update={field: (first.model_copy(update=update), *desired.routes[1:])})
    replicas = tuple(
        item
        if item.longer_of is None
        else item.model_copy(update={"args": item.args.model_copy(update=change)} if field == "args" else change)
        for item in desired.replicas
    )
    return desired.model_copy(update={"replicas": replicas})


def test_simulated_requests_go_where_the_router_would_send_them(plan: Plan) -> None:
    rule = plan.desired.routes[0].longer
    assert rule is not None
    trace = [TraceRequest(0.5 * i, tokens, 20, "anyone") for i, tokens in enumerate((10, rule.over_tokens, rule.over_tokens + 1, 40_000))]
    requests = tagged(plan, trace, {})
    assert [request.served_name for request in requests] == ["chat"] * 4
    assert [request.workload for request in requests] == ["web", "web", "web-long", "web-long"]
    rows = {row.workload: row for row in simulated(plan, requests).summary.workloads}
    assert {name: row.requests for name, row in rows.items()} == {"web": 2, "web-long": 2}
    used = {replica.served_name for replica in plan.desired.replicas}
    assert used == {"chat", "chat-long"}


def test_declared_requests_are_as_long_as_their_part(plan: Plan) -> None:
    rule = plan.desired.routes[0].longer
    assert rule is not None
    requests = declared_requests(plan, 60.0, 1, 0)
    assert {request.served_name for request in requests} == {"chat"}
    for request in requests:
        assert (request.input_tokens > rule.over_tokens) == (request.workload == "web-long")
        assert request.input_tokens + request.output_tokens <= 65536
    assert all(record is not None for record in simulated(plan, requests).summary.workloads)
