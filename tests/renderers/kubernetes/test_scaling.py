from __future__ import annotations

from typing import Any

import pytest

from planner.plan import ModelRules, Plan
from renderers.manifest import RenderError
from tests.plans import plan_of, replica
from tests.renderers.kubernetes.kube_checks import base_of, check, one, render


def _plan(min_replicas: int = 0) -> Plan:
    alone: dict[str, Any] = {"mode": "exclusive", "max_residents": 1, "active_limit": 1.0, "active_at_worst": 1}
    plan = plan_of(
        tuple(replica(f"m-{index}", "m", gpus=(index,), args={"port": 8100 + index}, **alone) for index in range(3)), gpu_count=3
    )
    rules = plan.desired.rules.model_copy(update={"models": (ModelRules(served_name="m", min_replicas=min_replicas),)})
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"rules": rules})})


def test_replicas_beyond_the_first_start_when_those_before_are_full() -> None:
    objects = base_of(_plan(), scaling="keda")
    for found in objects:
        check(found)
    scaled = [each for each in objects if each["kind"] == "ScaledObject"]
    assert [each["metadata"]["name"] for each in scaled] == ["m-1", "m-2"]
    # Each replica is planned to hold 4.2 requests.
    assert [each["spec"]["triggers"][0]["metadata"]["activationThreshold"] for each in scaled] == ["4.200", "8.400"]
    assert {(each["spec"]["minReplicaCount"], each["spec"]["maxReplicaCount"]) for each in scaled} == {(0, 1)}
    assert ["replicas" in one(objects, "Deployment", f"m-{index}")["spec"] for index in range(3)] == [True, False, False]


def test_as_many_run_as_the_fleet_file_asks_for_and_nobody_is_scaled_unasked() -> None:
    assert [each["metadata"]["name"] for each in base_of(_plan(2), scaling="keda") if each["kind"] == "ScaledObject"] == ["m-2"]
    assert [each for each in base_of(_plan()) if each["kind"] == "ScaledObject"] == []


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(RenderError, match="--set prometheus="):
        render(_plan(), scaling="keda", prometheus="localhost")


def test_routes_to_single_replicas_would_send_to_stopped_ones() -> None:
    with pytest.raises(RenderError, match=r"--set scaling=keda: .*use --set routing=groups"):
        render(_plan(), scaling="keda", routing="replicas")


def test_only_requests_of_its_own_namespace_count() -> None:
    (scaled, _) = [each for each in base_of(_plan(), scaling="keda", namespace="llm") if each["kind"] == "ScaledObject"]
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    chosen = '{namespace="llm", model_name="m"}'
    assert query == f"sum(vllm:num_requests_running{chosen}) + sum(vllm:num_requests_waiting{chosen})"
