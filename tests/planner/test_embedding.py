"""task: embed, from the fleet file to a plan that the checker believes, its commands and its simulation."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from planner.check import check
from planner.demand.traces import TraceRequest
from planner.plan import Plan, State, plan_from_json, to_json
from planner.simulation.plan_input import workload_requests, workload_slos
from planner.spec import SpecError
from profiles.catalogue import builtin
from renderers.vllm.replica_start import command
from tests.fleets import fleet, workload
from ullage.checking import architecture_of
from ullage.planning.plan import plan_fleet

MODELS: dict[str, Any] = {
    "vectors": {"source": "BAAI/bge-m3", "task": "embed"},
    "scores": {"source": "Qwen/Qwen3-Reranker-0.6B", "task": "embed", "max_model_len": 4096},
    "small": {"source": "Qwen/Qwen3-0.6B", "max_model_len": 2048},
}
DEMAND = {"rate": "5/s", "input_tokens": {"mean": 500, "p99": 3000}}
WORKLOADS: dict[str, Any] = {
    "search": {"model": "vectors", "demand": DEMAND},
    "rank": {"model": "scores", "demand": {**DEMAND, "output_tokens": 0}},
    "chat": workload("small"),
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_fleet(fleet(models=MODELS, workloads=WORKLOADS), State()).plan


def _refused(models: dict[str, Any] | None = None, workloads: dict[str, Any] | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        fleet(models={**MODELS, **(models or {})}, workloads={**WORKLOADS, **(workloads or {})})
    return str(caught.value)


def test_all_live_on_one_gpu_and_the_checker_agrees(plan: Plan) -> None:
    desired = plan.desired
    assert sorted(item.served_name for item in desired.replicas) == ["scores", "small", "vectors"]
    assert desired.gpus_used == 1
    assert check(plan, builtin().gpu, architecture_of) == ()
    assert plan_from_json(to_json(plan), "plan.json") == plan


def test_an_encoder_holds_no_kv_cache_and_a_pooled_decoder_that_of_its_prompts(plan: Plan) -> None:
    replicas = {item.served_name: item for item in plan.desired.replicas}
    assert (replicas["vectors"].args.kv_cache_memory_bytes, replicas["vectors"].ledger.kv_mib) == (0, 0)
    assert replicas["vectors"].forecast.kv_fraction == 0
    # one prompt of 4,096 tokens: 28 layers of 2 x 8 x 128 x 2 bytes
    assert replicas["scores"].args.kv_cache_memory_bytes >= 4096 * 28 * 4096


def test_nothing_is_generated_so_there_is_no_goal_for_it(plan: Plan) -> None:
    search = next(item for item in plan.desired.workloads if item.name == "search")
    assert (search.tpot_slo_s, search.tpot_s, search.output_tokens) == (None, 0.0, 0.0)
    assert search.ttft_s is not None
    assert 0 < search.ttft_s <= search.ttft_slo_s
    assert workload_slos(plan)["search"] == (2.0, math.inf)


def test_commands_carry_the_flags_of_pooling_models(plan: Plan) -> None:
    words = {item.served_name: command(item) for item in plan.desired.replicas}
    assert ("--runner" in words["small"], "--hf-overrides" in words["vectors"]) == (False, False)
    for name in ("vectors", "scores"):
        assert words[name][words[name].index("--runner") + 1] == "pooling"
    assert "--kv-cache-memory-bytes" not in words["vectors"]
    assert "--kv-cache-memory-bytes" in words["scores"]
    overrides = json.loads(words["scores"][words["scores"].index("--hf-overrides") + 1])
    # what vLLM's documentation of Qwen3-Reranker gives
    assert overrides["architectures"] == ["Qwen3ForSequenceClassification"]
    assert overrides["classifier_from_token"] == ["no", "yes"]


def test_a_prompt_is_read_in_one_step(plan: Plan) -> None:
    args = next(item for item in plan.desired.replicas if item.served_name == "vectors").args
    assert (args.max_model_len, args.max_num_batched_tokens) == (8192, 8192)


def test_requests_of_a_trace_generate_nothing(plan: Plan) -> None:
    requests = workload_requests(plan, [TraceRequest(0.0, 10, 50, "search", 0), TraceRequest(1.0, 10, 50, "chat", 0)])
    assert [item.output_tokens for item in requests] == [1, 50]


@pytest.mark.parametrize(
    ("models", "workloads", "expected"),
    [
        (
            {"vectors": {"source": "BAAI/bge-m3"}},
            {},
            "models.vectors.task: BAAI/bge-m3 makes embeddings or scores and writes no text; write",
        ),
        ({}, {"search": {"model": "vectors", "demand": {**DEMAND, "output_tokens": 5}}}, "output_tokens: model vectors generates nothing"),
        ({}, {"chat": {"model": "small", "demand": {**DEMAND, "output_tokens": 0}}}, "output_tokens: missing or 0; model small generates"),
        (
            {},
            {"search": {**WORKLOADS["search"], "slo": {"tpot_p95": "50ms"}}},
            "slo.tpot_p95: model vectors generates nothing (task: embed)",
        ),
        (
            {},
            {"search": {"model": "vectors", "demand": {"rate": "1/s", "input_tokens": 9000}}},
            "prompts of 9000 tokens (p99) are longer than",
        ),
        (
            {"vectors": {**MODELS["vectors"], "max_num_batched_tokens": 2048}},
            {},
            "models.vectors.max_num_batched_tokens: 2048 tokens are less than max_model_len 8192: a prompt that is embedded is read in one",
        ),
        (
            {"vectors": {**MODELS["vectors"], "choices": {"max_num_batched_tokens": [512]}}},
            {},
            "choices.max_num_batched_tokens[0]: 512 tokens",
        ),
        ({"vectors": {**MODELS["vectors"], "kv_cache_dtype": "fp8"}}, {}, "kv_cache_dtype: BAAI/bge-m3 is an encoder and has no KV cache"),
        ({"vectors": {**MODELS["vectors"], "stream_interval": 4}}, {}, "stream_interval: nothing is streamed by a model with task: embed"),
        ({"vectors": {**MODELS["vectors"], "adapters": {"a": {"source": "x/y", "rank": 8}}}}, {}, "adapters: adapters are planned for"),
        (
            {"vectors": {**MODELS["vectors"], "extra_args": {"runner": "generate"}}},
            {},
            "extra_args.runner: --runner is decided by the plan",
        ),
    ],
)
def test_what_cannot_be_said_of_such_a_model_is_refused(models: dict[str, Any], workloads: dict[str, Any], expected: str) -> None:
    assert expected in _refused(models, workloads)


def test_a_goal_that_is_too_tight_is_told_without_tpot() -> None:
    tight = {"search": {**WORKLOADS["search"], "slo": {"ttft_p95": "1ms"}}}
    found = plan_fleet(fleet(models=MODELS, workloads=tight), State()).plan.desired.workloads[0]
    assert found.unserved_rps == 5
    assert "TPOT" not in (found.unserved_reason or "")


def _edited(plan: Plan, served_name: str, **changes: object) -> Plan:
    replicas = tuple(
        item.model_copy(update={"args": item.args.model_copy(update=changes)}) if item.served_name == served_name else item
        for item in plan.desired.replicas
    )
    return plan.model_copy(update={"desired": plan.desired.model_copy(update={"replicas": replicas})})


@pytest.mark.parametrize(
    ("served_name", "changes", "expected"),
    [
        ("vectors", {"runner": None}, "args.runner is missing, BAAI/bge-m3 makes vectors or scores and needs pooling"),
        ("scores", {"runner": None}, "the ledger says activation_mib"),
        ("scores", {"hf_overrides": None}, "args.hf_overrides are not those that Qwen/Qwen3-Reranker-0.6B needs"),
        ("vectors", {"hf_overrides": "{}"}, "args.hf_overrides are not those that BAAI/bge-m3 needs"),
        ("vectors", {"max_num_batched_tokens": 4096}, "args.max_num_batched_tokens 4096 do not hold a prompt of 8192 tokens"),
        ("vectors", {"kv_cache_memory_bytes": 1 << 30}, "the ledger says kv_mib"),
        ("small", {"kv_cache_memory_bytes": 0}, "a KV pool of 0 bytes cannot hold one request"),
    ],
)
def test_the_checker_finds_what_was_edited(plan: Plan, served_name: str, changes: dict[str, object], expected: str) -> None:
    found = check(_edited(plan, served_name, **changes), builtin().gpu, architecture_of)
    assert any(expected in problem for problem in found), found
