"""An ordinary plan on a CPU device, from the fleet file to real engines behind Envoy and back to nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from planner.plan import WORKLOAD_HEADER, Replica
from profiles.catalogue import architecture_from_path, builtin
from profiles.gpu_types import settings_on
from profiles.memory.kv import kv_blocks, kv_pool_tokens
from profiles.settings import EngineSettings
from profiles.sources import engine_metrics
from profiles.sources.source import Context
from tests.e2e.engines import completion, fetch, guarded, post
from tests.e2e.tiny_fleet import NAMES, living, planned
from tests.ullage.commands import ullage

pytestmark = pytest.mark.vllm


def check_pool(replica: Replica) -> None:
    """The engine has made of its memory what the plan was made for."""
    args = replica.args
    settings = EngineSettings(
        max_model_len=args.max_model_len, max_num_seqs=args.max_num_seqs, max_num_batched_tokens=args.max_num_batched_tokens
    )
    settings = settings_on(builtin().gpu("cpu"), settings)
    architecture = architecture_from_path(Path(args.model))
    page = fetch(f"http://{args.host}:{args.port}/metrics")
    (found,) = engine_metrics.parse("metrics", page, Context(gpu="cpu", engine_version="0.32.0")).starts
    assert found.kv_bytes == args.kv_cache_memory_bytes
    assert found.kv_blocks == kv_blocks(architecture, settings, args.kv_cache_memory_bytes)
    assert found.kv_tokens == kv_pool_tokens(architecture, settings, args.kv_cache_memory_bytes)


def test_three_models_on_two_devices_answer_through_envoy(place: Path, models: Path) -> None:
    plan = planned(models, *NAMES, patient="qwen")
    assert [sorted(gpu.replicas) for gpu in plan.desired.gpus if gpu.replicas] == [["gemma-0"], ["llama-0", "qwen-0"]]

    applied = ullage("apply", "plan.json", "-y", "--engine", "vllm")
    assert applied.code == 0, applied.err
    status = ullage("status")
    assert (status.code, status.out.splitlines()[-1]) == (0, "no drift: what runs is what the state says")
    assert status.out.count("  ready  ") == 3

    router = plan.desired.router
    for name in NAMES:
        answer = post(f"http://{router.host}:{router.port}/v1/completions", completion(name, "one two three", 7))
        assert (answer["model"], answer["usage"]["completion_tokens"]) == (name, 7)
    # the router sets a priority, which an engine refuses unless it looks at it
    body = {**completion("qwen", "one two three", 7), "priority": -5}
    answer = post(f"http://{router.host}:{router.port}/v1/completions", body, {WORKLOAD_HEADER: "patient"})
    assert answer["usage"]["completion_tokens"] == 7
    qwen = next(replica for replica in plan.desired.replicas if replica.name == "qwen-0")
    assert [(item.workload, item.priority) for item in qwen.priorities] == [("patient", 50), ("qwen", 0)]
    for replica in plan.desired.replicas:
        check_pool(replica)

    assert len(living(place / ".ullage")) == 4
    gone = ullage("destroy", "-y")
    assert (gone.code, gone.out.splitlines()[-1]) == (0, "no process is left")
    assert living(place / ".ullage") == {}


def test_an_encoder_is_planned_started_and_asked_through_envoy(place: Path, models: Path) -> None:
    plan = planned(models, "bert")
    (replica,) = plan.desired.replicas
    assert (replica.args.kv_cache_memory_bytes, replica.args.runner) == (0, "pooling")

    applied = ullage("apply", "plan.json", "-y", "--engine", "vllm")
    assert applied.code == 0, applied.err
    router = plan.desired.router
    answer = post(f"http://{router.host}:{router.port}/v1/embeddings", {"model": "bert", "input": [[5, 6, 7], [8, 9]]})
    assert [len(row["embedding"]) for row in answer["data"]] == [128, 128]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (5, 0)
    ranked: dict[str, object] = {"model": "bert", "query": "one", "documents": ["two", "three"]}
    assert len(post(f"http://{router.host}:{router.port}/v1/rerank", ranked)["results"]) == 2
    assert ullage("destroy", "-y").code == 0
    assert living(place / ".ullage") == {}


def test_the_rendered_scripts_start_and_stop_the_engine(place: Path, models: Path) -> None:
    plan = planned(models, "llama")
    assert ullage("render", "plan.json", "--to", "vllm", "-o", "deploy").code == 0
    (folder,) = [path for path in (place / "deploy").iterdir() if path.is_dir()]
    bash = shutil.which("bash")
    assert bash is not None
    with guarded((bash, str(folder / "stop.sh"))):
        try:
            subprocess.run([bash, folder / "start.sh"], check=True, timeout=600)
            (replica,) = plan.desired.replicas
            served = json.loads(fetch(f"http://{replica.host}:{replica.args.port}/v1/models"))["data"]
            assert [row["id"] for row in served] == ["llama"]
            check_pool(replica)
        finally:
            subprocess.run([bash, folder / "stop.sh"], check=True, timeout=200)
    with pytest.raises(OSError, match="refused"):
        fetch(f"http://{replica.host}:{replica.args.port}/v1/models")
