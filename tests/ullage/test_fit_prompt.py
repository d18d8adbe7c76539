"""`ullage fit PLAN --prompt-tokens N`: where a prompt fits, how long it is read, whom it delays."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from planner.plan import plan_from_json
from planner.simulation.plan_input import replica_settings
from profiles.catalogue import builtin
from profiles.latency.prediction import predict
from profiles.latency.steptime import StepTime, attended_pairs
from profiles.settings import EngineSettings
from profiles.store.measurements import Measurements
from tests.plans import mig_plan
from tests.ullage.commands import ullage, write_plan
from ullage.planning.prompt import prefill_s


def asked(tokens: int, plan: str = "plan.json") -> dict[str, dict[str, Any]]:
    return {item["replica"]: item for item in json.loads(ullage("fit", plan, "--prompt-tokens", tokens, "--json").out)["replicas"]}


def test_a_prompt_is_read_in_chunks_that_attend_to_those_before() -> None:
    step = StepTime(0.01, 0.001, 1.0, (), "", per_sequence_s=0.002, per_pair_s=1e-6)
    # 2048, 2048 and 904 tokens: three steps, 5000 tokens, and every token attends to those before it and itself
    expected_s = 3 * 0.012 + 5000 * 0.001 + 5000 * 5001 / 2 * 1e-6
    assert prefill_s(step, EngineSettings(max_num_batched_tokens=2048), 5000) == pytest.approx(expected_s)


def test_blocks_times_and_delays_are_those_of_the_plan(work: Path) -> None:
    found = asked(1000)
    plan = plan_from_json((work / "plan.json").read_text(encoding="utf-8"), "plan.json")
    [large] = [replica for replica in plan.desired.replicas if replica.name == "large-0"]
    gpu, model = builtin().gpu("H100-SXM-80GB"), builtin().model(large.catalogue_model)
    step = predict(model, gpu, replica_settings(large, gpu), None, Measurements())
    alone_s = step.step_s(1000, 0.0, 1.0, attended_pairs(1000))
    answer = found["large-0"]
    # 1000 tokens and one of answer in blocks of 16
    assert (answer["fits"], answer["blocks"]) == (True, math.ceil(1001 / 16))
    assert answer["prefill_alone_s"] == pytest.approx(alone_s)
    # neighbours cost 10 % until they are measured, and the plan is sized for steps at p90 of their spread
    busy_s = alone_s * 1.10 * step.quantile(0.9)
    assert answer["delay_s"] == pytest.approx(busy_s)
    assert answer["prefill_s"] == pytest.approx(busy_s * large.active_at_worst)
    assert answer["neighbours"] == ["middle-0", "small-0"]


def test_what_is_longer_than_max_model_len_is_said(work: Path) -> None:
    result = ullage("fit", "plan.json", "--prompt-tokens", "3000")
    assert result.code == 0
    assert result.out.startswith("a prompt of 3000 tokens fits 2 of 3 replicas\n")
    assert (
        "  small-0: does not fit: 3000 tokens and one of answer are more than max_model_len 2048; raise it and plan again\n" in result.out
    )
    none = ullage("fit", "plan.json", "--prompt-tokens", "100000")
    assert none.code == 2
    assert none.out.startswith("a prompt of 100000 tokens fits 0 of 3 replicas\n")
    # the limit itself leaves no room for an answer
    assert (asked(2047)["small-0"]["fits"], asked(2048)["small-0"]["fits"]) == (True, False)


def test_a_pool_that_is_too_small_is_said(work: Path) -> None:
    document = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    [small] = [item for item in document["desired"]["replicas"] if item["name"] == "small-0"]
    # Qwen3-0.6B: 28 layers of 8 heads of 128 elements, keys and values, 2 bytes: 112 KiB per token; 11 blocks of 16 tokens
    small["args"]["kv_cache_memory_bytes"] = 11 * 16 * 28 * 8 * 128 * 2 * 2
    (work / "small.json").write_text(json.dumps(document), encoding="utf-8")
    answer = asked(1000, "small.json")["small-0"]
    assert (answer["fits"], answer["blocks"], answer["pool_blocks"]) == (False, 63, 10)
    assert answer["reason"].startswith("it takes 63 blocks, the KV pool has 10; ")


def test_a_slice_of_its_own_delays_nobody(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "mig.json", mig_plan())
    answer = asked(4000, str(plan))["llama-8b-0"]
    assert (answer["fits"], answer["neighbours"], answer["delay_s"], answer["share_fraction"]) == (True, [], None, 1.0)
    assert "    delays no other replica\n" in ullage("fit", plan, "--prompt-tokens", 4000).out


def test_models_and_a_prompt_are_two_questions() -> None:
    result = ullage("fit", "qwen3-8b", "llama-3.1-8b", "--prompt-tokens", "100")
    assert (result.code, result.err) == (1, "error: --prompt-tokens needs one plan file, but 2 names are given\n")
