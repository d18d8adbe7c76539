"""Reasons in a plan: limits, ways, refusals, full rows; conflicts and one more GPU by solving again."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.explain.conflicts import Member, _irreducible
from planner.plan import Desired, Explanation, State
from planner.sizing.blueprint import build
from tests.fleets import fleet, workload
from ullage.planning.plan import plan_fleet

ONE = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"}}


def planned(*, explain: bool = False, **changes: Any) -> Desired:
    return plan_fleet(fleet(**changes), State(), explain=explain).plan.desired


def reasons(desired: Desired) -> Explanation:
    assert desired.explanation is not None
    return desired.explanation


def test_every_model_has_its_limit_and_the_chosen_way() -> None:
    desired = planned()
    models = {model.served_name: model for model in reasons(desired).models}
    assert set(models) == {"small", "middle", "large"}
    for name, model in models.items():
        assert model.limit in {"ttft", "tpot", "throughput", "memory", "kv_cache"}
        assert "of pool h100" in model.limit_reason
        chosen = [way for way in model.ways if way.chosen]
        replicas = [replica for replica in desired.replicas if replica.served_name == name]
        assert {(way.pool, way.gpus) for way in chosen} == {(replica.pool, len(replica.gpus)) for replica in replicas}
        assert [way.usd_per_h for way in model.ways] == sorted(way.usd_per_h for way in model.ways)


def test_rows_are_those_of_the_residents() -> None:
    desired = planned()
    [row] = reasons(desired).gpus
    used_mib = sum(replica.ledger.total_mib for replica in desired.replicas)
    gpu = desired.gpus[row.gpu]
    assert abs(row.memory_fraction - used_mib / (gpu.memory_mib - gpu.headroom_mib)) < 1e-3
    assert row.active_fraction <= 1.0


def test_an_impossible_model_names_every_refusal_with_numbers() -> None:
    models = {"huge": {"source": "meta-llama/Meta-Llama-3.1-405B", "max_model_len": 4096}}
    desired = planned(models=models, workloads={"huge": workload("huge")}, explain=True)
    [model] = reasons(desired).models
    assert (model.limit, model.ways) == ("nothing", ())
    assert model.refusals
    assert all("MiB" in refusal.reason or "GPU" in refusal.reason for refusal in model.refusals)
    assert reasons(desired).conflicts == ()


def test_one_more_gpu_serves_what_is_short_and_says_at_what_cost() -> None:
    desired = planned(pools=ONE, workloads={"large": workload("large", "30/s")})
    short_rps = desired.workloads[0].unserved_rps
    assert short_rps > 0
    [item] = reasons(desired).one_more
    assert (item.pool, item.unit, item.gpus) == ("h100", "gpu", 1)
    assert 0 < item.served_rps["large"] <= short_rps + 1e-6
    assert item.cost_usd_per_h == 6.0


def test_with_paid_nodes_it_is_a_whole_node() -> None:
    pools = {"h100": {**ONE["h100"], "gpus_per_node": 2, "ownership": "rentable", "max_nodes": 1}}
    [item] = reasons(planned(pools=pools, workloads={"large": workload("large", "90/s")})).one_more
    assert (item.unit, item.gpus, item.cost_usd_per_h) == ("node", 2, 12.0)


def test_nothing_is_asked_when_all_is_served() -> None:
    desired = planned()
    assert (reasons(desired).one_more, reasons(desired).conflicts, desired.certificate.cost_band) == ((), (), None)


def test_a_conflict_names_who_keeps_whom_out_and_not_who_does_not() -> None:
    apart = {
        "small": workload("small", priority=9, not_with=["large"]),
        "middle": workload("middle", "0.2/s", priority=9),
        "large": workload("large", priority=1),
    }
    desired = planned(pools=ONE, workloads=apart, explain=True)
    [conflict] = reasons(desired).conflicts
    assert (conflict.served_name, conflict.proven) == ("large", True)
    text = "; ".join(conflict.members)
    assert "large asks for 1 requests/s on 1 GPU of h100" in text
    assert "small asks for" in text
    assert "may not share a GPU (not_with)" in text
    assert "middle asks for" not in text


def test_a_conflict_names_the_distance_of_teams() -> None:
    teams = {"small": workload("small", priority=9, team="red"), "large": workload("large", priority=1, team="blue")}
    [conflict] = reasons(planned(pools=ONE, workloads=teams, policy={"isolate_teams": "true"}, explain=True)).conflicts
    assert conflict.members[0].startswith("large asks for")
    assert "no GPU is shared between teams (policy.isolate_teams)" in conflict.members
    assert any(member.startswith("small asks for") for member in conflict.members)


def test_the_cost_band_encloses_nothing_dearer_than_the_plan() -> None:
    desired = planned(explain=True)
    band = desired.certificate.cost_band
    assert band is not None
    assert band.p10_usd_per_h <= band.p90_usd_per_h <= desired.cost_usd_per_h


@given(st.sets(st.integers(0, 15), min_size=1))
@settings(max_examples=50)
def test_invariant_15_the_set_found_is_in_conflict_and_every_member_is_needed(needed: set[int]) -> None:
    members = [Member("demand", i) for i in range(16)]
    wanted = {member for member in members if member.demand in needed}
    assert set(_irreducible(lambda chosen: wanted <= set(chosen), (), (), members)) == wanted


def test_candidates_at_p90_carry_less_than_at_p10() -> None:
    low, high = (build(fleet(), State(), quantile) for quantile in (0.1, 0.9))
    best = [max(item.capacity_rps for item in blueprint.candidates if item.mode == "exclusive") for blueprint in (low, high)]
    assert best[0] > best[1]
