"""KV arithmetic of models that mix attention with recurrent states, of chunks and of pipelines."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import builtin
from profiles.memory.kv import (
    kv_block_tokens,
    kv_blocks,
    kv_bytes_for_tokens,
    kv_bytes_per_block,
    kv_bytes_per_token,
    kv_pool_tokens,
    max_concurrency,
    min_kv_bytes,
    request_blocks,
    state_bytes_per_layer,
)
from profiles.model_parts import Recurrent
from profiles.settings import EngineSettings

FIXTURE = (Path(__file__).parent / "fixtures" / "kv_vllm_functions.txt").read_text(encoding="utf-8")
LLAMA = builtin().model("meta-llama/Llama-3.1-8B")
# The layer list behind the fixture: 12 attention layers with 2 KV heads of 256, 36 gated-delta layers.
GATED_DELTA = Recurrent("gated_delta", 36, key_heads=16, value_heads=32, key_dim=128, value_dim=128, conv_kernel=4, state_dtype="float32")
HYBRID = replace(LLAMA, layers=48, kv_heads=2, head_dim=256, recurrent=GATED_DELTA)
LONG = EngineSettings(max_model_len=32768)
GIB_8 = 8 << 30


def test_states_and_blocks_are_those_of_vllm() -> None:
    assert f"mamba state bytes/layer {state_bytes_per_layer(HYBRID, LONG)}\n" in FIXTURE
    assert f"attention block for hybrid {kv_block_tokens(HYBRID, LONG)} page {kv_bytes_per_block(HYBRID, LONG) // 12}\n" in FIXTURE
    blocks, tokens = kv_blocks(HYBRID, LONG, GIB_8), kv_pool_tokens(HYBRID, LONG, GIB_8)
    line = f"blocks={blocks} bytes/block={kv_bytes_per_block(HYBRID, LONG)} tokens={tokens} conc={max_concurrency(HYBRID, LONG, GIB_8):.3f}"
    assert f"GDN hybrid 3:1 48 layers 8GiB L32768: mem={GIB_8} groups=4 layers/group=[12, 12, 12, 12] {line}" in FIXTURE


def test_an_aligned_copy_takes_one_block_more_per_group_of_states() -> None:
    aligned = replace(LONG, mamba_cache_mode="align")
    assert min_kv_bytes(HYBRID, aligned) - min_kv_bytes(HYBRID, LONG) == 3 * kv_bytes_per_block(HYBRID, LONG)


def test_states_are_divided_over_the_ranks() -> None:
    halves = state_bytes_per_layer(HYBRID, replace(LONG, tensor_parallel_size=2))
    assert halves * 2 == state_bytes_per_layer(HYBRID, LONG)
    # Mamba-2 repeats its groups when the ranks do not divide them.
    mamba = replace(HYBRID, recurrent=replace(GATED_DELTA, kind="mamba2", key_heads=1))
    assert state_bytes_per_layer(mamba, replace(LONG, tensor_parallel_size=2)) * 2 > state_bytes_per_layer(mamba, LONG)


def test_every_catalogued_hybrid_has_blocks_no_smaller_than_its_states() -> None:
    hybrids = [model for name in builtin().model_names if (model := builtin().model(name)).recurrent]
    assert len(hybrids) >= 5
    for model in hybrids:
        settings = EngineSettings(dtype="auto", max_model_len=8192)
        assert kv_block_tokens(model, settings) % 16 == 0
        page_bytes = kv_block_tokens(model, settings) * kv_bytes_per_token(model, settings) // model.attention_layers
        assert page_bytes >= state_bytes_per_layer(model, settings) > page_bytes - 16 * page_bytes // kv_block_tokens(model, settings)


def test_a_chunk_needs_no_block_for_its_edge() -> None:
    sliding = replace(LLAMA, sliding_layers=24, sliding_window_tokens=8192)
    chunked = replace(sliding, chunked=True)
    # ceil((8192 + 2048) / 16) against ceil((8191 + 2048) / 16) + 1 in each of the three groups
    assert request_blocks(sliding, LONG).of(32768) - request_blocks(chunked, LONG).of(32768) == 3
    assert request_blocks(chunked, LONG).of(32768) == 2048 + 3 * 640


def test_two_steps_in_flight_keep_more_of_a_window() -> None:
    sliding = replace(LLAMA, sliding_layers=32, sliding_window_tokens=4096)
    flying = replace(LONG, async_scheduling=True)
    assert request_blocks(sliding, flying).of(32768) - request_blocks(sliding, LONG).of(32768) == 2048 // 16
    assert min_kv_bytes(LLAMA, flying) == min_kv_bytes(LLAMA, LONG)


def test_a_pipeline_divides_the_layers_and_the_largest_stage_counts() -> None:
    # Llama-3.1-8B in two stages: 67,207 blocks of 16 tokens in 65.63 GiB (logged)
    halves = replace(LONG, pipeline_parallel_size=2)
    assert kv_bytes_per_block(LLAMA, halves) == kv_bytes_per_block(LLAMA, LONG) // 2 == 1 << 20
    thirds = replace(LONG, pipeline_parallel_size=3)
    assert kv_bytes_per_block(LLAMA, thirds) == 11 * 16 * 4096


@given(length=st.integers(1, 32768), requests=st.integers(1, 64))
def test_a_pool_for_many_requests_holds_their_states(length: int, requests: int) -> None:
    settings = replace(LONG, max_model_len=length)
    pool_bytes = kv_bytes_for_tokens(HYBRID, settings, requests * length, request_tokens=float(length))
    held = requests * 3
    assert kv_blocks(HYBRID, settings, pool_bytes) > held
    assert pool_bytes >= min_kv_bytes(HYBRID, settings)


@pytest.mark.parametrize("tokens", [1, 16, 17, 1056, 1057, 32768])
def test_counting_blocks_is_monotone(tokens: int) -> None:
    counter = request_blocks(HYBRID, LONG)
    assert counter.of(tokens) <= counter.of(tokens + 1)
