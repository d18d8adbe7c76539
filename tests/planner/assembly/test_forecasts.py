"""What is not served names the constraint that binds."""

from __future__ import annotations

import re

from planner.plan import State, WorkloadForecast
from tests.fleets import fleet, workload
from ullage.planning.plan import plan_fleet


def rows(**changes: object) -> dict[str, WorkloadForecast]:
    return {row.name: row for row in plan_fleet(fleet(**changes), State()).plan.desired.workloads}


def reason(name: str, **changes: object) -> str:
    row = rows(**changes)[name]
    assert row.unserved_rps > 0
    assert row.unserved_reason
    return row.unserved_reason


def test_a_served_workload_has_no_reason() -> None:
    assert {row.unserved_reason for row in rows().values()} == {None}


def test_missing_replicas_are_not_called_missing_capacity() -> None:
    text = reason("small", workloads={"small": workload("small", min_replicas=3)})
    assert text.startswith("min_replicas asks for 3 replicas and there is room for 2")
    assert "lower min_replicas" in text


ONE_GPU = {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"}
ONE = {"h100": ONE_GPU}


def test_too_much_demand_says_what_one_replica_carries_and_who_else_is_there() -> None:
    text = reason("large", pools=ONE, workloads={"small": workload("small", priority=9), "large": workload("large", "500/s", priority=1)})
    assert text.startswith("the GPUs are used up: one replica on 1 GPU of pool h100 carries at most ")
    assert text.endswith(
        "the demand is 500 requests/s, and it may use 1 GPU, where small also runs; add nodes, relax slo or lower the demand"
    )


def test_neighbours_that_are_ruled_out_are_named() -> None:
    apart = {"small": workload("small", priority=9, not_with=["large"]), "large": workload("large", priority=1)}
    text = reason("large", pools=ONE, workloads=apart)
    assert text.endswith("; on 1 GPU it may not share a GPU with small (not_with); drop not_with or add nodes")


def test_activity_is_named_with_the_memory_that_stays_free() -> None:
    text = reason("small", pools=ONE, policy={"max_active_residents": 2})
    assert re.search(
        r"on 1 GPU activity is the limit: residents active (\d+) % of the time together are there, a replica is (\d+) %, "
        r"policy\.max_active_residents allows 200 % \((\d\d\.\d) GiB free\); raise policy\.max_active_residents or add nodes$",
        text,
    )
    # the lever is right: with three all are served
    assert {row.unserved_rps for row in rows(pools=ONE, policy={"max_active_residents": 3}).values()} == {0.0}


def test_gpus_that_are_full_for_one_reason_are_counted_together() -> None:
    two = {"h100": {**ONE_GPU, "gpus_per_node": 2}}
    names = ("a", "b", "c", "d", "e")
    models = {name: {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048} for name in names}
    loads = {name: workload(name, f"{number}/s") for number, name in enumerate(names, start=1)}
    found = rows(pools=two, models=models, workloads=loads, policy={"max_active_residents": 2})
    [short] = [row for row in found.values() if row.unserved_rps]
    assert "; on 2 GPUs (for one) activity is the limit: residents active " in (short.unserved_reason or "")


def test_a_policy_without_sharing_is_named() -> None:
    text = reason("small", pools=ONE, policy={"max_active_residents": 1})
    assert text.endswith(
        "on 1 GPU large runs alone, because policy.max_active_residents is 1; raise policy.max_active_residents or add nodes"
    )


def test_neighbours_that_would_be_too_active_are_named_with_whose_slo_it_is() -> None:
    loads = {"small": workload("small", "20/s"), "middle": workload("middle", "8/s", priority=8), "large": workload("large", "10/s")}
    text = reason("middle", pools=ONE, workloads=loads)
    assert (
        "on 1 GPU the neighbours' activity is the limit: residents active 200 % of the time together are there, a replica is 100 %" in text
    )
    assert "and large would miss the SLO beyond 200 % of at most 2 residents (" in text
    assert text.endswith("relax slo of large or add nodes")


def test_a_workload_whose_slo_allows_no_sharing_is_named_with_its_latency_and_goal() -> None:
    loads = {
        "small": workload("small", slo={"ttft_p95": "60ms", "tpot_p95": "6ms"}),
        "middle": workload("middle", slo={"ttft_p95": "100ms", "tpot_p95": "15ms"}, priority=8),
    }
    text = reason("middle", pools=ONE, workloads=loads)
    assert (
        "on 1 GPU it cannot share a GPU with small: beside neighbours it would be too slow: unloaded and at 1/2 of the GPU its p99 is "
        in text
    )
    assert text.endswith("the goal is TTFT 100 ms, TPOT 15.0 ms; relax slo of middle or add nodes")


def test_memory_is_named_with_what_a_replica_takes_and_what_is_free() -> None:
    models = {
        "first": {"source": "Qwen/Qwen3-14B", "max_model_len": 4096},
        "second": {"source": "Qwen/Qwen3-14B", "max_model_len": 32768},
        "third": {"source": "Qwen/Qwen3-8B", "max_model_len": 32768},
    }
    loads = {name: workload(name, "0.1/s", **{"class": "background"}) for name in models}
    found = rows(pools=ONE, models=models, workloads=loads)
    [short] = [row for row in found.values() if row.unserved_rps]
    assert re.search(
        r"on 1 GPU memory is the limit: a replica takes (\d+\.\d) GiB, (\d+\.\d) GiB free beside [a-z]+, [a-z]+; "
        r"lower max_model_len, quantise or add nodes$",
        short.unserved_reason or "",
    )


def test_host_cores_that_are_used_up_are_named() -> None:
    text = reason("small", pools={"h100": {**ONE_GPU, "host_cores": 5}})
    assert "on 1 GPU host cores are the limit: a replica takes 3, 2 of 5 are left (" in text
    assert text.endswith("; raise host_cores or add nodes")


def test_free_gpus_that_pin_leaves_out_are_named() -> None:
    text = reason("small", pools={"a": ONE_GPU, "b": ONE_GPU}, workloads={"small": workload("small", "200/s", pin=["a"])})
    assert text.endswith("it may use 1 GPU; pin excludes 1 GPU of pool b, which is free; widen pin or add nodes")


def test_gpus_that_are_left_over_by_block_size_are_named() -> None:
    text = reason(
        "wide",
        pools={"h100": {**ONE_GPU, "gpus_per_node": 3}},
        models={"wide": {"source": "meta-llama/Llama-3.1-70B", "max_model_len": 4096, "tensor_parallel": [2]}},
        workloads={"wide": workload("wide", "400/s", **{"class": "background"})},
    )
    assert (
        "on 1 GPU nothing runs there, but a replica takes an aligned block of 2 GPUs of one node; allow a smaller tensor_parallel" in text
    )


def test_a_model_that_fits_no_gpu_says_by_how_much_and_what_would_help() -> None:
    models = {"huge": {"source": "meta-llama/Meta-Llama-3.1-405B", "max_model_len": 4096}}
    text = reason("huge", models=models, workloads={"huge": workload("huge")})
    assert re.match(r"no replica of it is possible: h100, exclusive on 1 GPU.*: needs \d+ MiB per GPU \(weights \d+ MiB, ", text)
    assert text.endswith(
        "; quantise it, lower max_model_len, allow a larger tensor_parallel or use larger GPUs (`ullage fit` shows what would fit)"
    )


def test_a_goal_that_no_replica_meets_is_said_with_the_latency() -> None:
    text = reason("large", workloads={"large": workload("large", slo={"tpot_p95": "1ms"})})
    assert "the goal is TTFT 2000 ms, TPOT 1.0 ms" in text
    assert text.endswith("; relax slo")


def test_a_small_host_is_named() -> None:
    pools = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 2, "price": "3 USD/h", "host_cores": 2}}
    assert "raise host_cores" in reason("small", pools=pools, workloads={"small": workload("small")})


def test_a_policy_that_forbids_sharing_in_a_pool_that_only_shares_is_named() -> None:
    pools = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h", "sharing": ["time_shared"]}}
    assert "policy.max_active_residents" in reason("small", pools=pools, policy={"max_active_residents": 1})


def test_baselines_are_not_said_to_lack_room_for_what_can_run_nowhere() -> None:
    models = {"huge": {"source": "meta-llama/Meta-Llama-3.1-405B", "max_model_len": 4096}}
    plan = plan_fleet(fleet(models=models, workloads={"huge": workload("huge")}), State()).plan
    assert {baseline.fits for baseline in plan.desired.certificate.baselines.values()} == {True}


def test_a_million_requests_per_second_are_planned_in_a_moment() -> None:
    plan = plan_fleet(fleet(workloads={"small": workload("small", "1000000/s")}), State()).plan
    assert plan.desired.workloads[0].unserved_rps > 0
    assert {baseline.fits for baseline in plan.desired.certificate.baselines.values()} == {False}
