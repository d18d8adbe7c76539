"""What is not served names the constraint that binds."""

from __future__ import annotations

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
    assert text.startswith("min_replicas asks for 3 replicas and 2 found room")
    assert "lower min_replicas" in text


def test_too_much_demand_says_what_one_replica_carries_and_who_else_is_there() -> None:
    one = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"}}
    text = reason("large", pools=one, workloads={"small": workload("small", priority=9), "large": workload("large", "500/s", priority=1)})
    assert text.startswith("the GPUs are used up: one replica on 1 GPU of pool h100 carries at most ")
    assert "500 are asked for, and it may use 1 GPU, which also serve small; add nodes" in text


def test_neighbours_that_are_ruled_out_are_named() -> None:
    one = {"h100": {"gpu": "H100", "nodes": 1, "gpus_per_node": 1, "price": "3 USD/h"}}
    apart = {"small": workload("small", priority=9, not_with=["large"]), "large": workload("large", priority=1)}
    assert "not those of small (not_with)" in reason("large", pools=one, workloads=apart)


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
