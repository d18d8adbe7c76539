"""Invariant 40: replicas that share a GPU by MPS have threads and memory bandwidth of their own, and are of one team."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.check import check
from planner.plan import Plan, State, as_applied
from planner.transitions.change import change
from profiles.catalogue import builtin
from tests.fleets import fleet, fleet_dict
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet
from ullage.views.plan.plan_text import plan_text

POOL = {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 8, "price": "3 USD/h", "sharing": ["exclusive", "mps"]}
SMALL = ("Qwen/Qwen3-0.6B", "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen3-1.7B", "meta-llama/Llama-3.2-3B")


def written(rate: str = "8/s", **changes: Any) -> dict[str, Any]:
    """Four small models that are asked as often."""
    names = [f"m{index}" for index in range(len(SMALL))]
    demand = {"rate": rate, "input_tokens": {"mean": 300, "p99": 1500}, "output_tokens": {"mean": 120, "p99": 500}}
    return {
        "pools": {"h100": POOL},
        "models": {name: {"source": source, "max_model_len": 4096} for name, source in zip(names, SMALL, strict=True)},
        "workloads": {name: {"model": name, "class": "interactive", "demand": demand} for name in names},
        **changes,
    }


def planned(state: State | None = None, **changes: Any) -> Plan:
    return plan_fleet(fleet(**{**written(), **changes}), state or State()).plan


def edited(plan: Plan, name: str, **changes: Any) -> Plan:
    """The plan after somebody edited a replica in its file."""
    document = plan.model_dump(mode="json")
    replica = next(item for item in document["desired"]["replicas"] if item["name"] == name)
    for field, value in changes.items():
        place = replica if field in replica else replica["args"] if field in replica["args"] else replica["forecast"]
        place[field] = value
    return Plan.model_validate(document)


def faults(plan: Plan) -> tuple[str, ...]:
    return check(plan, builtin().gpu, architecture_of, State())


def test_small_models_share_one_gpu_and_each_has_its_threads() -> None:
    plan = planned()
    assert plan.desired.gpus_used == 1
    assert {replica.mode for replica in plan.desired.replicas} == {"mps"}
    assert sum(replica.threads for replica in plan.desired.replicas) <= 100
    assert all(replica.threads == replica.args.active_thread_percentage for replica in plan.desired.replicas)
    assert 0 < sum(replica.forecast.bandwidth_fraction for replica in plan.desired.replicas) <= 1
    assert faults(plan) == ()
    text = plan_text(plan)
    assert "MPS  interference assumed" in text
    assert f"{plan.desired.replicas[0].threads} % of threads  m0-0" in text


def test_what_was_applied_is_left_alone() -> None:
    plan = planned()
    again = planned(as_applied(plan))
    assert again.actions == ()
    assert again.desired == plan.desired


def test_other_threads_are_another_engine() -> None:
    """A running engine's percentage cannot change: it stops first where both have no room."""
    plan = planned()
    more = edited(plan, "m0-0", active_thread_percentage=plan.desired.replicas[0].threads + 10)
    way = change(as_applied(plan), more.desired, with_copies=False)
    kinds = [(action.kind, getattr(action, "replica", "")) for action in way.actions]
    assert kinds.index(("stop", "m0-0")) < kinds.index(("start", "m0-0"))
    assert {name for kind, name in kinds if kind == "start"} == {"m0-0"}


def test_engines_too_old_for_uuids_have_no_threads_of_their_own() -> None:
    models = {name: {**model, "engine_version": "0.20.0"} for name, model in written()["models"].items()}
    plan = planned(models=models)
    assert {replica.mode for replica in plan.desired.replicas} == {"exclusive"}


def test_teams_never_share_a_gpu_by_mps() -> None:
    """Also where the policy lets them share GPUs: a fault of one engine ends all."""
    workloads = {name: {**item, "team": f"t{index % 2}"} for index, (name, item) in enumerate(written()["workloads"].items())}
    plan = planned(workloads=workloads)
    assert plan.desired.gpus_used == 2
    teams = {model.served_name: model.team for model in plan.desired.rules.models}
    names = {replica.name: replica.served_name for replica in plan.desired.replicas}
    for gpu in plan.desired.gpus:
        assert len({teams[names[name]] for name in gpu.replicas}) <= 1
    assert set(teams.values()) == {"t0", "t1"}
    together = planned()
    document = together.model_dump(mode="json")
    for index, model in enumerate(document["desired"]["rules"]["models"]):
        model["team"] = f"t{index % 2}"
    assert any("by MPS, where a fault of one ends both" in fault for fault in faults(Plan.model_validate(document)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"active_thread_percentage": 100}, "% of its threads together"),
        ({"bandwidth_fraction": 0.99}, "of its memory bandwidth together"),
        ({"mode": "time_shared"}, "m0-0 is time_shared, with"),
        ({"max_residents": 2}, "residents, but they are sized for 2"),
    ],
)
def test_the_checker_finds_what_does_not_fit(changes: dict[str, Any], said: str) -> None:
    assert any(said in fault for fault in faults(edited(planned(), "m0-0", **changes)))


def test_what_does_not_fit_is_explained_by_threads() -> None:
    pool = {**POOL, "gpus_per_node": 1, "sharing": ["mps"]}
    plan = planned(**written("60/s", pools={"h100": pool}))
    reasons = " ".join(row.unserved_reason or "" for row in plan.desired.workloads)
    assert "threads under MPS are the limit: a replica takes 10 %, m0, m1, m2 100 %" in reasons


def test_models_too_slow_with_few_threads_are_refused_once() -> None:
    """Of eleven percentages that are too few one is told, the most; none where some are enough."""
    pools = {"h100": {**POOL, "sharing": ["mps"]}}
    workloads = {name: {**item, "slo": {"tpot_p95": "3ms"}} for name, item in written()["workloads"].items()}
    plan = planned(pools=pools, workloads=workloads)
    assert plan.desired.explanation is not None
    for model in plan.desired.explanation.models:
        refused = [item for item in model.refusals if item.mode == "mps"]
        assert len(refused) <= 1
        assert all("with 90 % of the threads" in item.reason for item in refused)


rates = st.sampled_from(["0.3/s", "2/s", "9/s", "30/s"])


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(rates, min_size=4, max_size=4), st.sampled_from([["mps"], ["exclusive", "mps"], ["mps", "time_shared"]]), st.booleans())
def test_threads_and_bandwidth_of_a_gpu_are_never_given_twice(asked: list[str], sharing: list[str], teams: bool) -> None:
    """Invariant 40."""
    base = fleet_dict(**written())
    for index, (rate, item) in enumerate(zip(asked, base["workloads"].values(), strict=True)):
        item["demand"] = {**item["demand"], "rate": rate}
        item["team"] = f"t{index % 2}" if teams else "t"
    plan = planned(workloads=base["workloads"], pools={"h100": {**POOL, "sharing": sharing}})
    team = {model.served_name: model.team for model in plan.desired.rules.models}
    assert len(set(team.values())) == 1 + teams
    for gpu in plan.desired.gpus:
        here = [item for item in plan.desired.replicas if item.name in gpu.replicas and item.mode == "mps"]
        assert sum(item.threads for item in here) <= 100
        assert len(here) < 2 or sum(item.forecast.bandwidth_fraction for item in here) <= 1 + 1e-9
        assert len({team[item.served_name] for item in here}) <= 1
