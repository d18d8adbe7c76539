"""Candidates: what they promise follows from the profiles; what is impossible says why."""

from __future__ import annotations

import math
from typing import Any

import yaml

from planner.check import check
from planner.plan import Refusal, State
from planner.problem import Problem
from planner.sizing.blueprint import Blueprint, build
from planner.sizing.candidates import Candidate
from planner.sizing.groups import service_groups
from profiles.catalogue import builtin
from profiles.memory.kv import kv_bytes_for_tokens
from tests.fleets import fleet, fleet_dict, workload
from tests.planner.spec.fleet_files import load
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

QUANTILE = 0.99


def candidates_of(**changes: object) -> tuple[Candidate, ...]:
    return build(fleet(**changes), State()).candidates


def test_every_candidate_meets_its_slo_at_its_capacity() -> None:
    """Invariant 13."""
    found = candidates_of()
    assert found
    for candidate in found:
        load = candidate.forecast(candidate.capacity_rps, QUANTILE)
        assert load is not None
        assert load.ttft_s <= candidate.group.slo.ttft_s
        assert load.tpot_s <= candidate.group.slo.tpot_s


def test_every_candidate_fits_its_gpu() -> None:
    for candidate in candidates_of():
        assert candidate.ledger.total_mib <= candidate.site.memory_mib(candidate.mig)


def test_shared_shapes_of_one_model_cover_its_demand_exactly() -> None:
    problem: Problem = build(fleet(), State()).problem
    for shape in problem.shapes:
        if shape.mode == "time_shared":
            demand = problem.demands[shape.demand]
            count = round(demand.peak_microrps / shape.capacity_microrps)
            assert count * shape.capacity_microrps >= demand.peak_microrps


def test_a_replica_bears_itself_and_is_active_at_least_as_much_as_it_would_be_alone() -> None:
    for candidate in candidates_of():
        assert max(candidate.active_permille) <= 1000 * candidate.limit.active_limit
        assert all(active >= alone for active, alone in zip(candidate.active_permille, candidate.compute_permille, strict=True))


def test_a_model_too_large_for_a_gpu_says_how_much_is_missing() -> None:
    models = {"huge": {"source": "meta-llama/Meta-Llama-3.1-405B", "max_model_len": 4096}}
    blueprint = build(fleet(models=models, workloads={"huge": workload("huge")}), State())
    assert blueprint.candidates == ()
    reasons = {(item.mode, item.gpus): item.reason for item in every_refusal(blueprint)}
    assert "MiB are usable" in reasons["exclusive", 1]


def test_an_slo_nobody_can_meet_says_what_is_reached() -> None:
    workloads = {"middle": workload("middle", slo={"tpot_p95": "1ms"})}
    blueprint = build(fleet(workloads=workloads), State())
    assert blueprint.candidates == ()
    assert all("the goal is TTFT 2000 ms, TPOT 1.0 ms" in item.reason for item in every_refusal(blueprint))


def test_the_kv_pool_of_a_sliding_window_model_holds_the_short_requests_it_serves() -> None:
    """Short requests lie within the window and fill blocks in every layer group, unlike what a pool's tokens at max_model_len suggest."""
    models = {"windowed": {"source": "google/gemma-2-9b", "max_model_len": 8192, "max_num_seqs": 2048, "max_num_batched_tokens": 2048}}
    demand = {"rate": "200/s", "input_tokens": 200, "output_tokens": 200}
    pools = {"l40s": {"gpu": "L40S", "nodes": 1, "gpus_per_node": 1, "price": "1 USD/h"}}
    blueprint = build(fleet(pools=pools, models=models, workloads={"w": {**workload("windowed"), "demand": demand}}), State())
    assert blueprint.candidates
    for candidate in blueprint.candidates:
        load = candidate.forecast(candidate.capacity_rps, QUANTILE)
        assert load is not None
        architecture, settings = candidate.group.model.architecture, candidate.settings
        assert kv_bytes_for_tokens(architecture, settings, math.ceil(load.kv_tokens_p99), 400) <= candidate.kv_bytes


def test_a_host_too_small_for_an_engine_is_the_reason() -> None:
    pools = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 8, "price": "3 USD/h", "host_cores": 8}}
    blueprint = build(fleet(pools=pools), State())
    assert not any(candidate.gpus == 1 for candidate in blueprint.candidates)
    assert {item.reason for item in every_refusal(blueprint) if item.gpus == 1} == {
        "an engine takes 3 host cores, its GPUs' part of the node is 1; raise host_cores"
    }


def test_shared_replicas_are_split_as_often_as_min_replicas_asks() -> None:
    found = candidates_of(workloads={"small": workload("small", "3/s", min_replicas=5)})
    assert {round(3 / candidate.capacity_rps) for candidate in found if candidate.mode == "time_shared"} == {5, 6, 7}


def test_many_small_shared_replicas_are_offered_when_memory_is_short() -> None:
    """What a large share of the demand needs of KV cache does not fit an L4; many small shares do."""
    pools = {"l4": {"gpu": "L4", "nodes": 1, "gpus_per_node": 8, "price": "1 USD/h"}}
    models = {"small": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048}}
    demand = {"rate": "100/s", "input_tokens": 1000, "output_tokens": 500}
    slow = {"small": {**workload("small"), "class": "background", "demand": demand}}
    blueprint = build(fleet(pools=pools, models=models, workloads=slow), State())
    assert any(candidate.mode == "time_shared" for candidate in blueprint.candidates)


def test_an_slo_that_only_idle_replicas_meet_is_not_bought_by_the_hundred() -> None:
    demand = {"rate": "5/s", "input_tokens": 1500, "output_tokens": 50}
    busy = {"middle": {**workload("middle", slo={"tpot_p95": "8.9ms", "ttft_p95": "5s"}), "demand": demand}}
    rare = {"middle": {**busy["middle"], "demand": {**demand, "rate": "1/d"}}}
    assert any("as long as fewer than 0.01 of the requests meet another one" in item.reason for item in every_refusal(build_one(busy)))
    assert build_one(rare).candidates


def every_refusal(blueprint: Blueprint) -> list[Refusal]:
    return [refusal for refusals in blueprint.refusals.values() for refusal in refusals]


def build_one(workloads: dict[str, Any]) -> Blueprint:
    return build(fleet(workloads=workloads), State())


def test_the_order_of_workloads_in_the_file_leaves_every_digit_of_a_group_alone() -> None:
    served = {name: workload("middle", rate) for name, rate in (("w0", "0.1/s"), ("w1", "0.2/s"), ("w2", "0.3/s"))}
    there, back = (fleet_dict(workloads={name: served[name] for name in order}) for order in (("w0", "w1", "w2"), ("w2", "w1", "w0")))
    groups = [service_groups(load(yaml.safe_dump(written, sort_keys=False))) for written in (there, back)]
    assert groups[0] == groups[1]


def test_an_old_version_has_no_candidates_in_mig_instances() -> None:
    whole = {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 1}
    pools = {"whole": whole, "cut": {**whole, "mig": "repartition"}}

    def built(version: str) -> Blueprint:
        models = {"small": {**fleet_dict()["models"]["small"], "engine_version": version}}
        return build(fleet(pools=pools, models=models, workloads={"small": workload("small")}), State())

    old = built("0.20.0")
    assert {candidate.site.pool for candidate in old.candidates} == {"whole"}
    assert {refusal.mode for refusal in old.refusals["small"]} == {"mig"}
    assert all("crashes when its device is named by UUID" in refusal.reason for refusal in old.refusals["small"])
    assert {candidate.site.pool for candidate in built("0.21.0").candidates} == {"whole", "cut"}


def test_a_layout_of_an_older_driver_has_the_memory_that_it_gives() -> None:
    pool = {"gpu": "GB200", "nodes": 1, "gpus_per_node": 1, "price": "1 USD/h", "mig": "fixed", "mig_layout": ["1g.24gb", "1g.24gb"]}
    models = {"small": {"source": "Qwen/Qwen2.5-0.5B-Instruct", "max_model_len": 2048}}
    plan = plan_fleet(fleet(pools={"p": pool}, models=models, workloads={"small": workload("small")}), State()).plan
    (replica,) = plan.desired.replicas
    assert replica.mig is not None
    assert replica.mig.profile == "1g.24gb"
    # 20 GiB of the slice, less its part of 1 GiB of headroom (an eighth), where 1g.23gb of newer drivers has 22
    assert replica.ledger.total_mib == 20480 - 1024 // 8
    assert check(plan, builtin().gpu, architecture_of) == ()
