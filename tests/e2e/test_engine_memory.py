"""What a real engine makes of its KV cache is what profiles predict, to the block and the token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from profiles.catalogue import architecture_from_path
from profiles.memory.kv import kv_blocks, kv_pool_tokens, max_concurrency
from profiles.settings import EngineSettings
from profiles.sources import engine_metrics, vllm_log
from profiles.sources.source import Context
from profiles.speculation import speculating
from profiles.store.measurements import StartPoint
from tests.e2e.engines import BLOCK_TOKENS, KV_BYTES, Engine, running

pytestmark = pytest.mark.vllm

CONTEXT = Context(gpu="h100")
SETTINGS = EngineSettings(max_model_len=2048, max_num_seqs=16, max_num_batched_tokens=2048, enforce_eager=True, block_size=BLOCK_TOKENS)


def from_log(engine: Engine) -> StartPoint:
    (point,) = vllm_log.parse(engine.log.name, engine.log.read_bytes(), CONTEXT).starts
    return point


def from_metrics(engine: Engine) -> StartPoint:
    (point,) = engine_metrics.parse("metrics", engine.metrics(), CONTEXT).starts
    return point


def test_the_pool_is_the_predicted_one(engine: Engine) -> None:
    architecture = architecture_from_path(engine.model / "config.json")
    logged, scraped = from_log(engine), from_metrics(engine)
    assert scraped.kv_bytes == KV_BYTES
    assert scraped.kv_blocks == kv_blocks(architecture, SETTINGS, KV_BYTES)
    assert scraped.kv_tokens == logged.kv_tokens == kv_pool_tokens(architecture, SETTINGS, KV_BYTES)
    assert scraped.max_concurrency == pytest.approx(max_concurrency(architecture, SETTINGS, KV_BYTES))
    assert logged.max_concurrency == pytest.approx(max_concurrency(architecture, SETTINGS, KV_BYTES), abs=0.005)
    assert scraped.block_size == BLOCK_TOKENS


def test_a_draft_model_keeps_its_keys_and_values_in_the_same_pool(vllm: Path, models: Path, tmp_path: Path) -> None:
    config = json.dumps({"method": "draft_model", "model": str(models / "tiny-qwen3"), "num_speculative_tokens": 3})
    architecture = speculating(architecture_from_path(models / "tiny-llama"), config, lambda name: architecture_from_path(Path(name)))
    with running(vllm, models / "tiny-llama", tmp_path, "speculating", speculative_config=config) as server:
        scraped = from_metrics(server)
        assert scraped.kv_blocks == kv_blocks(architecture, SETTINGS, KV_BYTES)
        assert scraped.kv_tokens == kv_pool_tokens(architecture, SETTINGS, KV_BYTES)
        assert server.complete("one two three", 9)["usage"]["completion_tokens"] == 9


def test_the_log_tells_model_version_and_settings(engine: Engine) -> None:
    point = from_log(engine)
    assert (point.model, point.provenance.engine_version, point.dtype) == (str(engine.model), "0.32.0", "bfloat16")
    assert (point.max_model_len, point.max_num_seqs, point.max_num_batched_tokens, point.enforce_eager) == (2048, 16, 2048, True)


def test_it_answers_with_as_many_tokens_as_were_asked_for(engine: Engine) -> None:
    assert engine.complete("one two three", 9)["usage"]["completion_tokens"] == 9
    usage = engine.complete([5] * 40, 3)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (40, 3)
