from __future__ import annotations

import pytest

from planner.demand.traces import TraceRequest
from planner.plan import Plan
from planner.simulation.configuration import engine_config
from planner.simulation.plan_input import PlannedWorld, planned_world, workload_requests, workload_slos
from planner.simulation.traffic_metrics import summarise
from planner.simulation.virtual_time import simulate
from profiles.catalogue import builtin
from profiles.latency.steptime import step_time
from profiles.memory.kv import kv_bytes_per_block, min_kv_bytes
from profiles.models import Architecture
from profiles.settings import EngineSettings
from tests.plans import mig_plan, tensor_parallel_plan, time_shared_plan


def architecture(name: str) -> Architecture:
    # the shared plans name a Mistral that the catalogue does not list
    return builtin().model(name.replace("Mistral-7B-v0.1", "Mistral-7B-v0.3"))


def world(plan: Plan) -> PlannedWorld:
    return planned_world(plan, builtin().gpu, architecture)


def test_time_shared_engines_share_the_key_of_their_gpu() -> None:
    planned = world(time_shared_plan())
    assert {item.name: item.gpu_key for item in planned.engines} == {
        "llama-8b-0": "h100-0/gpu0",
        "llama-8b-1": "h100-0/gpu1",
        "mistral-7b-0": "h100-0/gpu1",
        "qwen3-8b-0": "h100-0/gpu0",
    }
    assert [(gpu.name, gpu.parts) for gpu in planned.gpus] == [
        ("h100-0/gpu0", (("h100-0/gpu0", 1.0),)),
        ("h100-0/gpu1", (("h100-0/gpu1", 1.0),)),
    ]
    assert planned.routes["llama-8b"] == (("llama-8b-0", 500), ("llama-8b-1", 500))
    mistral = next(item for item in planned.engines if item.name == "mistral-7b-0")
    assert (mistral.config.max_num_seqs, mistral.kv_mib) == (64, 8192)


def test_engines_get_the_step_time_and_blocks_of_their_profile() -> None:
    engine = world(time_shared_plan()).engines[0]
    model, gpu = builtin().model("meta-llama/Meta-Llama-3.1-8B"), builtin().gpu("H100-SXM-80GB")
    assert engine.step_time == step_time(model, gpu, EngineSettings(max_num_seqs=64))
    # Llama 8B in 16-bit: 2 * 32 layers * 8 heads * 128 * 2 bytes = 128 KiB per token, 2 MiB per block of 16
    assert engine.config.kv_blocks == 8 * 1024 // 2


def test_mig_slices_are_compute_of_their_own() -> None:
    planned = world(mig_plan())
    keys = [item.gpu_key for item in planned.engines]
    assert keys == ["h100-0/gpu0/4g.40gb@0", "h100-0/gpu0/3g.40gb@4"]
    assert planned.gpus[0].parts == ((keys[0], 4 / 7), (keys[1], 3 / 7))
    whole = world(time_shared_plan()).engines[0].step_time
    assert planned.engines[0].step_time.base_s > whole.base_s


def test_a_tensor_parallel_block_is_one_compute_on_all_its_gpus() -> None:
    planned = world(tensor_parallel_plan())
    assert [item.gpu_key for item in planned.engines] == ["h100-0/gpu0+1", "h100-0/gpu2"]
    assert [gpu.parts[0][0] for gpu in planned.gpus] == ["h100-0/gpu0+1", "h100-0/gpu0+1", "h100-0/gpu2"]


@pytest.mark.parametrize("plan", [time_shared_plan(), mig_plan(), tensor_parallel_plan()])
def test_a_light_load_meets_every_goal(plan: Plan) -> None:
    tenants = [workload.name for workload in plan.desired.workloads]
    requests = workload_requests(plan, [TraceRequest(index * 0.5, 200, 50, tenants[index % len(tenants)]) for index in range(60)])
    planned = world(plan)
    result = simulate(planned.engines, planned.gpus, requests, planned.routes, step_quantile=0.5)
    summary = summarise(result.records, workload_slos(plan))
    assert (summary.total.requests, summary.total.errors, summary.total.attained) == (60, 0, 60)
    assert {gpu.gpu for gpu in result.gpus if gpu.busy_fraction} == {gpu.name for gpu in planned.gpus}


def test_requests_keep_their_cached_prefix_and_find_their_model() -> None:
    (found,) = workload_requests(mig_plan(), [TraceRequest(1.5, 300, 20, "qwen3-8b-chat", 128)])
    assert (found.served_name, found.workload, found.arrival_s, found.cached_prefix_tokens) == ("qwen3-8b", "qwen3-8b-chat", 1.5, 128)


def test_a_request_of_an_unknown_workload() -> None:
    with pytest.raises(
        ValueError, match=r"at 1.5 s is of workload 'nobody', which the plan does not have \(llama-8b-chat, qwen3-8b-chat\)"
    ):
        workload_requests(mig_plan(), [TraceRequest(1.5, 300, 20, "nobody")])


def test_a_replica_on_a_gpu_that_is_not_there() -> None:
    plan = mig_plan()
    lost = plan.model_copy(update={"desired": plan.desired.model_copy(update={"gpus": ()})})
    with pytest.raises(ValueError, match=r"replica llama-8b-0: GPUs \[0\] of node h100-0 are not in the plan"):
        world(lost)


@pytest.mark.parametrize("max_model_len", [1000, 4096, 32768, 40000])
@pytest.mark.parametrize("name", ["google/gemma-3-27b-it", "openai/gpt-oss-20b", "Qwen/Qwen3-8B"])
def test_the_least_pool_holds_one_request_of_full_length(name: str, max_model_len: int) -> None:
    model, settings = builtin().model(name), EngineSettings(max_model_len=max_model_len)
    config = engine_config(model, settings, min_kv_bytes(model, settings))
    assert config.usable_blocks == -(-max_model_len // 16)
    assert (config.max_model_len, config.max_num_seqs, config.max_num_batched_tokens) == (max_model_len, 256, 2048)


def test_a_pool_below_two_blocks_is_refused() -> None:
    model, settings = builtin().model("Qwen/Qwen3-8B"), EngineSettings()
    with pytest.raises(ValueError, match="kv_blocks is 1"):
        engine_config(model, settings, kv_bytes_per_block(model, settings))
